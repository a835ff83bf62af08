"""PromQL alarms in the situations of the alert rules.

The tests of the alert rules run once more, over the series that OTLP delivers and with the alarms
in place of the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.grafana import (
    test_device_rules,
    test_execution_rules,
    test_exporter_rules,
    test_fleet_rules,
    test_job_rules,
)
from tests.support import promtool
from tests.support.promql_alarms import AlarmsInPlaceOfAlerts, adopt
from tests.support.promtool import Machines, alerts_fired, alerts_firing
from tests.support.rule_frames import STEP, Frame, Frames

pytestmark = pytest.mark.usefixtures("needs_prometheus")

MODULES = (
    test_device_rules,
    test_execution_rules,
    test_exporter_rules,
    test_fleet_rules,
    test_job_rules,
)

OTHERS = {
    "test_device_is_suspect_until_the_machine_reboots": "NeuronDeviceSuspect is no alarm",
    "test_device_stays_suspect_if_the_exporter_returns_elsewhere": "the same",
    "test_device_of_a_replaced_machine_is_not_suspect": "the same",
    "test_fleet_unseen_over_a_weekend": "silence is no sign without scrapes",
    "test_one_of_two_clusters_unseen": "the same",
    "test_versions_of_a_fleet": "there are no jobs; all exporters of a cluster are one fleet",
    "test_hang_that_the_next_exporter_does_not_see": "instance_id alone identifies a machine",
    "test_hang_of_another_exporter_of_the_machine": "the same",
    "test_fault_is_a_problem_of_the_machine": "recorded series",
    "test_recorded_series_are_per_cluster": "the same",
    "test_dashboard_counts_shared_cores_once": "the same",
    "test_table_has_one_row_for_each_machine": "the same",
}
"""Tests that do not apply, with the reason."""

ONE_MACHINE = ("test_hang_outlives_the_exporter_at_another_address_execution_rules",)
"""Tests in which targets with the same instance_id are one machine."""

globals().update(adopt(MODULES, OTHERS))


@pytest.fixture(autouse=True)
def alarms(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AlarmsInPlaceOfAlerts]:
    """Replace the alert rules, and see that the test is about alarms."""
    replacement = AlarmsInPlaceOfAlerts(
        tmp_path, monkeypatch, keep_ids=request.node.originalname in ONE_MACHINE
    )
    replacement.patch(*MODULES)
    yield replacement
    assert replacement.checked


UP, DOWN = ({"neuron_exporter_up": value} for value in (1.0, 0.0))
COUNT = 120


def check(alarms: AlarmsInPlaceOfAlerts, folder: Path, machines: Machines, *names: str) -> None:
    """Check that these alarms and no others are in ALARM at the end, and have been."""
    end = (COUNT - 1) * STEP
    alarms.checked += 2
    expected = alerts_firing(end, *names), alerts_fired(end, *names)
    promtool.check(folder, machines, *expected)


@pytest.mark.parametrize(("down", "names"), [(1, []), (2, ["NeuronFleetUnseen"])])
def test_fleet_whose_sources_are_down(
    down: int, names: list[str], tmp_path: Path, alarms: AlarmsInPlaceOfAlerts
) -> None:
    """One of three machines that fail can wait; a silent one is not counted."""
    frames: list[list[Frame]] = [[*[UP] * 20, *[DOWN] * 100]] * down + [[UP] * COUNT] * (3 - down)
    silent: Frames = [*[UP] * 20, *[None] * 100]
    machines = {f"{number}:9415": each for number, each in enumerate([*frames, silent])}
    check(alarms, tmp_path, machines, *names, "NeuronSourceDown")


def test_silent_machines(tmp_path: Path, alarms: AlarmsInPlaceOfAlerts) -> None:
    """A machine that was busy when it became silent has an alarm, an idle one does not."""
    busy: Frame = {**UP, "neuroncores_in_use": 2.0}
    idle: Frame = {**UP, "neuroncores_in_use": 0.0}
    silent: Frames = [None] * 100
    machines: dict[str, Frames] = {"a": [*[busy] * 20, *silent], "b": [*[idle] * 20, *silent]}
    check(alarms, tmp_path, machines, "NeuronMachineVanished")


def test_busy_machine_whose_source_fails_has_not_vanished(
    tmp_path: Path, alarms: AlarmsInPlaceOfAlerts
) -> None:
    frames: Frames = [*[{**UP, "neuroncores_in_use": 2.0}] * 20, *[DOWN] * 100]
    check(alarms, tmp_path, {"a": frames, "b": [UP] * COUNT}, "NeuronSourceDown")


def test_versions(tmp_path: Path, alarms: AlarmsInPlaceOfAlerts) -> None:
    """A rollout that stopped halfway is an alarm after six hours."""
    step, count = 240, 8 * 15
    one, other = ({f'neuron_driver_info{{version="{each}"}}': 1.0, **UP} for each in "12")
    machines: Machines = {"a": [one] * count, "b": [other] * count}
    end = (count - 1) * step
    expected = alerts_fired(5 * 3600), alerts_firing(end, "NeuronVersionsDiffer")
    alarms.checked += 2
    promtool.check(tmp_path, machines, *expected, step=step)
