"""Alerts on the exporter itself, over scrapes of exporters in various states."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.exporter_states import HARDWARE, OLDEST, STATES, crash_loop, own_samples
from tests.support.promql_alarms import check_with_alarms
from tests.support.promtool import alerts_fired, alerts_firing, annotations, check, identifies
from tests.support.rule_frames import (
    STEP,
    Frame,
    Frames,
    reports,
    stdin_exporter,
    with_failed_scrapes,
)
from tests.support.rule_scenarios import BUSY

pytestmark = pytest.mark.usefixtures("needs_prometheus")

EXPECTED: dict[str, Mapping[int, tuple[str, ...]]] = {
    "missing_program": {240: (), 600: ("NeuronSourceDown",)},
    "no_driver": {240: (), 600: ("NeuronSourceDown",)},
    "crash": {240: (), 660: ("NeuronSourceDown",)},
    "stall": {240: (), 660: ("NeuronSourceDown",)},
    "paused": {3540: (), 4080: ("NeuronSourcePaused",)},
    "unauthorized": {570: (), 1020: ("NeuronPublishFailing",)},
    "rejected": {-30: (), 60: ("NeuronPublishLoss",)},
    "over_budget": {870: (), 1260: ("NeuronOverBudget",)},
    "config_rejected": {870: (), 1260: ("NeuronConfigRefused",)},
    "web_config_rejected": {870: (), 1260: ("NeuronWebConfigRefused",)},
    "spool_in_memory": {870: (), 1260: ("NeuronSpoolInMemory",)},
}
"""Alerts that fire at times in seconds after the onset of a state."""

BEFORE, AFTER = 20, 300
"""Frames before and after the onset of a state."""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Frame]]:
    """Return the scrapes of all states, which mostly wait and therefore run in parallel."""
    folders = {name: tmp_path_factory.mktemp(name) for name in STATES}
    with ThreadPoolExecutor(len(STATES)) as pool:
        futures = {name: pool.submit(run, folders[name]) for name, run in STATES.items()}
        return {name: future.result() for name, future in futures.items()}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Return the frames of a machine that trains."""
    with stdin_exporter(tmp_path_factory.mktemp("healthy")) as exporter:
        return exporter.feed(reports(BEFORE + AFTER, *BUSY))


def extend(state: Frame, machine: list[Frame]) -> list[Frame]:
    """Return frames of an exporter that stays in a state, with the hardware of `machine`.

    Repeating one scrape of the hardware would look like a hang.
    """
    if HARDWARE not in str(state):
        return [state] * len(machine)
    own = own_samples(state)
    return [dict(each.items() - own_samples(each).items()) | own for each in machine]


@pytest.mark.parametrize("name", STATES)
def test_state_fires_its_alert(
    name: str, states: Mapping[str, list[Frame]], healthy: list[Frame], tmp_path: Path
) -> None:
    """The alert fires after its time and not before, even if scrapes fail, and no other does."""
    first, last = states[name][0], states[name][-1]
    faulty: Frames = extend(first, healthy[:BEFORE]) + extend(last, healthy[BEFORE:])
    failed = [BEFORE + 10, BEFORE + 30, BEFORE + 31, BEFORE + 200]
    onset = BEFORE * STEP if len(states[name]) > 1 else 0
    expectations = EXPECTED[name]
    names = list(expectations.values())[-1]
    expected = [alerts_firing(onset + after, *fire) for after, fire in expectations.items()]
    # A loss stays visible for an hour.
    ends = onset + 3500 if name == "rejected" else (len(faulty) - 1) * STEP
    expected += [alerts_firing(ends, *names), alerts_fired(ends, *names)]
    check(tmp_path, {"healthy:9415": healthy, "faulty:9415": faulty}, *expected)
    missed = with_failed_scrapes(faulty, *failed)
    check_with_alarms(tmp_path, {"healthy:9415": healthy, "faulty:9415": missed}, *expected)
    (alert,) = names
    at = onset + list(expectations)[-1]
    assert identifies(annotations(tmp_path, {"faulty:9415": faulty}, alert, at), "faulty:9415")
    if len(states[name]) > 1 and name != "rejected":
        short = list(faulty)
        short[BEFORE + 6 :] = extend(first, healthy[BEFORE + 6 :])
        check_with_alarms(
            tmp_path, {"healthy:9415": healthy, "faulty:9415": short}, alerts_fired(4500)
        )


def test_crash_loop(healthy: list[Frame], tmp_path: Path) -> None:
    """neuron-monitor reports between two crashes, so that nothing but its restarts shows them."""
    crashes = crash_loop(tmp_path, 6)
    frames: Frames = [
        *extend(crashes[0], healthy[:BEFORE]),
        *extend_each(crashes, healthy[BEFORE:]),
    ]
    check_with_alarms(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": with_failed_scrapes(frames, BEFORE + 3)},
        alerts_fired(BEFORE * STEP),
        alerts_firing((BEFORE + 12) * STEP + 90, "NeuronCrashLoop"),
        alerts_firing((len(frames) - 1) * STEP),
        alerts_fired((len(frames) - 1) * STEP, "NeuronCrashLoop"),
    )
    (found,) = annotations(
        tmp_path, {"faulty:9415": frames}, "NeuronCrashLoop", (BEFORE + 12) * STEP + 90
    )
    assert found["summary"] == "neuron-monitor on faulty:9415 restarts again and again (exited)."
    once: Frames = [
        *extend(crashes[0], healthy[:BEFORE]),
        *extend(crashes[2], healthy[BEFORE:]),
    ]
    check_with_alarms(tmp_path, {"healthy:9415": healthy, "faulty:9415": once}, alerts_fired(4500))


def extend_each(states: list[Frame], machine: list[Frame]) -> list[Frame]:
    """Return the frames of a machine whose exporter passes through states, two frames each."""
    current = [states[min(number // 2, len(states) - 1)] for number in range(len(machine))]
    return [extend(state, [each])[0] for state, each in zip(current, machine, strict=True)]


# Machines and exporters that disappear


def test_exporter_down(healthy: list[Frame], tmp_path: Path) -> None:
    """The alert fires after five minutes without an answer, not after a restart of two minutes."""
    gone: Frames = [*healthy[:BEFORE], *[None] * 60]
    check(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": gone},
        alerts_fired(BEFORE * STEP + 270),
        alerts_firing(BEFORE * STEP + 360, "NeuronExporterDown"),
        alerts_fired((BEFORE + 59) * STEP, "NeuronExporterDown"),
    )
    back: Frames = [*healthy[:BEFORE], *[None] * 8, *healthy[:100]]
    check(tmp_path, {"healthy:9415": healthy, "faulty:9415": back}, alerts_fired(1800))


def with_instance_id(frames: list[Frame], instance_id: str) -> list[Frame]:
    """Return the frames as those of another machine."""
    current = next(
        name.partition('instance_id="')[2].partition('"')[0]
        for name in frames[-1]
        if "instance_id=" in name
    )
    return [
        {name.replace(current, instance_id): value for name, value in each.items()}
        for each in frames
    ]


def test_machine_vanished(healthy: list[Frame], tmp_path: Path) -> None:
    """The alert fires ten minutes after a busy machine disappears.

    It does not fire for a drained machine, nor if the exporter returns at another address.
    """
    other = with_instance_id(healthy, "i-other")
    vanished: Frames = [*other[:BEFORE], *[{}] * 80]
    check_with_alarms(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": vanished},
        alerts_fired(BEFORE * STEP + 540),
        alerts_firing(BEFORE * STEP + 690, "NeuronMachineVanished"),
        alerts_fired((BEFORE + 79) * STEP, "NeuronMachineVanished"),
        is_one_machine=True,
    )
    with stdin_exporter(tmp_path) as exporter:
        idle = with_instance_id(exporter.feed(reports(BEFORE, "--scenario", "idle")), "i-idle")
    drained: Frames = [*idle, *[{}] * 80]
    check_with_alarms(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": drained},
        alerts_fired(1400),
        is_one_machine=True,
    )
    moved: Frames = [{}] * (BEFORE + 4) + other[:80]
    check_with_alarms(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": vanished, "moved:9415": moved},
        alerts_fired((BEFORE + 79) * STEP),
        is_one_machine=True,
    )


def test_fleet_unseen(
    healthy: list[Frame], states: Mapping[str, list[Frame]], tmp_path: Path
) -> None:
    """The alert fires if fewer than half of the machines report, not if the fleet is empty."""
    gone: Frames = [*healthy[:BEFORE], *[None] * 60]
    failed_source: Frames = [*healthy[:BEFORE], *[states["crash"][-1]] * 60]
    fleet: dict[str, Frames] = {"a:9415": healthy, "b:9415": gone, "c:9415": failed_source}
    every = ("NeuronExporterDown", "NeuronFleetUnseen", "NeuronSourceDown")
    check(
        tmp_path,
        fleet,
        alerts_firing(BEFORE * STEP + 570, "NeuronExporterDown", "NeuronSourceDown"),
        alerts_firing(BEFORE * STEP + 890, *every),
    )
    check(
        tmp_path,
        {"b:9415": gone},
        alerts_firing(BEFORE * STEP + 890, "NeuronExporterDown", "NeuronFleetUnseen"),
    )
    with stdin_exporter(tmp_path) as exporter:
        idle = exporter.feed(reports(BEFORE, "--scenario", "idle"))
    check(tmp_path, {"b:9415": [*idle, *[{}] * 80]}, alerts_fired(1400))


# The spool

COARSE_STEP = 240
"""Interval of frames in seconds, so that a day has few of them."""


def test_backlog_of_a_day(states: Mapping[str, list[Frame]], tmp_path: Path) -> None:
    waiting = own_samples(states["unauthorized"][-1])
    assert waiting[OLDEST] > 0
    assert states["unauthorized"][0].get(OLDEST) == 0
    # promtool's clock starts at 0, so the request is as old as the frames.
    waiting[OLDEST] = 1.0
    check_with_alarms(
        tmp_path,
        {"faulty:9415": [waiting] * 400},
        alerts_fired(23 * 3600, "NeuronPublishFailing"),
        alerts_firing(25 * 3600, "NeuronPublishFailing", "NeuronSpoolFilling"),
        step=COARSE_STEP,
    )
