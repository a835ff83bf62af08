"""PromQL alarms in situations in which they differ from the alert rules.

Where they do not, the tests of the alert rules check both.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.promql_alarms import check_alarms
from tests.support.promtool import Machines, alerts_fired, alerts_firing
from tests.support.rule_frames import STEP, Frame, Frames

pytestmark = pytest.mark.usefixtures("needs_prometheus")

UP, DOWN = ({"neuron_exporter_up": value} for value in (1.0, 0.0))
COUNT = 120


def check(folder: Path, machines: Machines, *names: str) -> None:
    """Check that these alarms and no others are in ALARM at the end, and have been."""
    end = (COUNT - 1) * STEP
    check_alarms(folder, machines, alerts_firing(end, *names), alerts_fired(end, *names))


@pytest.mark.parametrize(("down", "names"), [(1, []), (2, ["NeuronFleetUnseen"])])
def test_fleet_whose_sources_are_down(down: int, names: list[str], tmp_path: Path) -> None:
    """One of three machines that fail can wait; a silent one is not counted."""
    frames: list[list[Frame]] = [[*[UP] * 20, *[DOWN] * 100]] * down + [[UP] * COUNT] * (3 - down)
    silent: Frames = [*[UP] * 20, *[None] * 100]
    machines = {f"{number}:9415": each for number, each in enumerate([*frames, silent])}
    check(tmp_path, machines, *names, "NeuronSourceDown")


def test_silent_machines(tmp_path: Path) -> None:
    """A machine that was busy when it became silent has an alarm, an idle one does not."""
    busy: Frame = {**UP, "neuroncores_in_use": 2.0}
    idle: Frame = {**UP, "neuroncores_in_use": 0.0}
    silent: Frames = [None] * 100
    machines: dict[str, Frames] = {"a": [*[busy] * 20, *silent], "b": [*[idle] * 20, *silent]}
    check(tmp_path, machines, "NeuronMachineVanished")


def test_busy_machine_whose_source_fails_has_not_vanished(tmp_path: Path) -> None:
    frames: Frames = [*[{**UP, "neuroncores_in_use": 2.0}] * 20, *[DOWN] * 100]
    check(tmp_path, {"a": frames, "b": [UP] * COUNT}, "NeuronSourceDown")


def test_versions(tmp_path: Path) -> None:
    """A rollout that stopped halfway is an alarm after six hours."""
    step, count = 240, 8 * 15
    one, other = ({f'neuron_driver_info{{version="{each}"}}': 1.0, **UP} for each in "12")
    machines: Machines = {"a": [one] * count, "b": [other] * count}
    end = (count - 1) * step
    expected = alerts_fired(5 * 3600), alerts_firing(end, "NeuronVersionsDiffer")
    check_alarms(tmp_path, machines, *expected, step=step)
