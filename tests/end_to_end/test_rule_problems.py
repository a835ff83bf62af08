"""Recorded problems over the exporter's output: Fleet's table names the machine and its worst one.

A target without a problem is beside every faulty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.facts.problems import BY_REASON
from neuron_exporter.simulator.faults import FAULTS as SIMULATED_FAULTS
from tests.support import dashboards
from tests.support.endpoint import cloudwatch_endpoint, reject
from tests.support.exporter import running_exporter, simulated
from tests.support.promtool import Target, check
from tests.support.rule_frames import (
    STEP,
    Frame,
    Frames,
    scrape,
    simulate,
    stdin_exporter,
    with_failed_scrapes,
)
from tests.support.rule_frames import reports as simulated_reports
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")

ONSET = 40
"""Frame at which a fault begins."""

COUNT = ONSET + 120
"""Frames of a machine, 40 minutes."""

BUSY = ("--scenario", "training")
HEALTHY, FAULTY, LARGE = Target("healthy:9415"), Target("faulty:9415"), Target("large:9415")
MACHINE = 'instance_id="i-01d8f565651a7e0ff",instance_type="inf2.xlarge"'
MACHINES = {LARGE: 'instance_id="i-0573880b851a7e0ff",instance_type="inf2.24xlarge"'}
"""Labels of targets whose machine is not MACHINE."""

TABLE = "Machines, worst first"
NO_VARIABLES = dict.fromkeys(("cluster", "job", "type"), ".*")

FAULTS: Mapping[str, Mapping[int, str]] = {
    "ecc-tally": {440: "uncorrected_ecc"},
    "ecc-level": {440: "uncorrected_ecc"},
    "hang": {15: "", 90: "stalled", 270: "stalled", 420: "hung"},
    "execution-errors": {60: "failing"},
    "memory-filling": {600: "memory_full"},
}
"""Worst problem at times in seconds after the onset of a fault; the last until the end."""

TOLERATED = (
    *("churn", "error-groups", "garbage", "half-line", "huge-line", "latency-spikes", "nan"),
    *("nulls", "runtime-exit", "same-tags"),
)
ELSEWHERE = {
    *("crash", "stall", "stderr-flood", "short-first-period", "whole-first-period", "lost-device"),
    *("hardware-errors", "device-reset", "driver-reload", "unhealthy-device"),
}
"""Faults of the process, of its first report or of the driver's files, and those with a test of
their own."""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Return the frames of a healthy machine that trains."""
    return simulate(tmp_path_factory.mktemp("healthy"), COUNT, *BUSY)


def fleet_query(letter: str) -> str:
    """Return a query of Fleet's table of machines."""
    document = dashboards.load(dashboards.FOLDER / "fleet.json")
    (target,) = (
        each for each in dashboards.find_panel(document, TABLE).targets if each["refId"] == letter
    )
    return dashboards.resolve(target["expr"], NO_VARIABLES)


def table(at: float, worst: Mapping[Target, str]) -> dict[str, Any]:
    """Return an expectation: at a time in seconds, the table has these machines and problems.

    Args:
        worst: reasons by target; an empty one is a machine without a problem.
    """
    return {
        "expr": fleet_query("A"),
        "eval_time": f"{at:.0f}s",
        "exp_samples": [
            {
                "labels": f'{{job="{each.job}",instance="{each.instance}",'
                f'cluster="{each.cluster}",{MACHINES.get(each, MACHINE)}}}'.replace(
                    ',cluster=""', ""
                ),
                "value": BY_REASON[reason].rank if reason else 0,
            }
            for each, reason in worst.items()
        ],
    }


def never_recorded(until: float) -> dict[str, Any]:
    """Return an expectation: no machine has had a problem up to a time in seconds."""
    expression = f"count_over_time(instance:neuron_problem:rank[{until:.0f}s])"
    return {"expr": expression, "eval_time": f"{until:.0f}s", "exp_samples": []}


def equal_to(expression: str, at: float, value: float) -> dict[str, Any]:
    """Return an expectation: an expression without labels has this value at a time."""
    samples = [{"labels": "{}", "value": value}]
    return {"expr": expression, "eval_time": f"{at:.0f}s", "exp_samples": samples}


END = (COUNT - 1) * STEP


def test_every_fault_of_the_simulator_is_judged() -> None:
    assert {*FAULTS, *TOLERATED} | ELSEWHERE == SIMULATED_FAULTS.keys()


@pytest.mark.parametrize("scenario", ["idle", "inference", "training", "compile", "mixed"])
def test_normal_operation_has_no_problem(scenario: str, tmp_path: Path) -> None:
    """An hour of each scenario, training with its checkpoints, with failed scrapes."""
    frames = simulate(tmp_path, 240, "--scenario", scenario)
    missed = with_failed_scrapes(frames, 30, 90, 150)
    check(tmp_path, {FAULTY: missed}, never_recorded(239 * STEP), table(239 * STEP, {FAULTY: ""}))


@pytest.mark.parametrize("fault", TOLERATED)
def test_tolerated_faults_are_no_problem(fault: str, tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(f"- {{at: {ONSET * STEP}s, fault: {fault}, for: 1h}}")
    with stdin_exporter(tmp_path) as exporter:
        frames = exporter.feed(simulated_reports(COUNT, *BUSY, "--script", str(script)))
    check(tmp_path, {FAULTY: frames}, never_recorded(END))


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_the_machines_problem(fault: str, tmp_path: Path, healthy: Frames) -> None:
    """The table shows it in time and until the end, even if scrapes fail, since its begin."""
    faulty = simulate(tmp_path, COUNT, *BUSY, "--faults", f"{fault}@{ONSET}")
    onset = ONSET * STEP
    times = {onset + after: reason for after, reason in FAULTS[fault].items()}
    last = list(FAULTS[fault].values())[-1]
    expected = [
        table(at, {HEALTHY: "", FAULTY: reason}) for at, reason in ({**times, END: last}).items()
    ]
    began = f'instance:neuron_problem:since{{reason="{last}"}}'
    latest = max(times) + STEP
    expected += [
        equal_to(f"max({began}) > bool {onset} < bool {latest}", END, 1),
        equal_to(f"max({began} == bool {began} offset 5m)", END, 1),
    ]
    for frames in (faulty, with_failed_scrapes(faulty, ONSET + 62, ONSET + 85)):
        check(tmp_path, {HEALTHY: healthy, FAULTY: frames}, *expected)


def test_lost_device(tmp_path: Path, healthy: Frames) -> None:
    flags = ("--instance-type", "inf2.24xlarge", *BUSY, "--faults", f"lost-device@{ONSET}")
    frames = simulate(tmp_path, ONSET + 40, *flags)
    check(
        tmp_path,
        {HEALTHY: healthy, LARGE: frames},
        table((ONSET - 1) * STEP, {HEALTHY: "", LARGE: ""}),
        table(ONSET * STEP + 180, {HEALTHY: "", LARGE: "device_missing"}),
        table((ONSET + 39) * STEP, {HEALTHY: "", LARGE: "device_missing"}),
    )


def test_machine_that_is_well_again_has_no_problem(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(f"- {{at: {ONSET * STEP}s, fault: hang, for: 10m}}")
    frames = simulate(tmp_path, COUNT, *BUSY, "--script", str(script))
    onset = ONSET * STEP
    check(
        tmp_path,
        {FAULTY: frames},
        table(onset + 570, {FAULTY: "hung"}),
        table(onset + 660, {FAULTY: ""}),
        table(END, {FAULTY: ""}),
    )


def test_two_clusters_with_equal_addresses(tmp_path: Path, healthy: Frames) -> None:
    faulty = simulate(tmp_path, COUNT, *BUSY, "--faults", f"hang@{ONSET}")
    one, other = FAULTY._replace(cluster="east"), FAULTY._replace(cluster="west")
    check(tmp_path, {one: healthy, other: faulty}, table(END, {one: "", other: "hung"}))


# Exporters


def test_exporter_that_is_down(tmp_path: Path, healthy: Frames) -> None:
    """The table names the machine that the target was, and another target without a machine."""
    gone: Frames = [*healthy[:ONSET], *[None] * 60]
    check(
        tmp_path,
        {HEALTHY: healthy, FAULTY: gone},
        table(ONSET * STEP + 30, {HEALTHY: "", FAULTY: ""}),
        table(ONSET * STEP + 90, {HEALTHY: "", FAULTY: "exporter_down"}),
        table((ONSET + 59) * STEP, {HEALTHY: "", FAULTY: "exporter_down"}),
    )
    check(tmp_path, {HEALTHY: healthy, FAULTY: [None] * COUNT}, *unnamed(END, "exporter_down"))


def test_target_that_discovery_no_longer_lists(tmp_path: Path, healthy: Frames) -> None:
    removed: Frames = [*healthy[:ONSET], *[{}] * 60]
    at = (ONSET + 59) * STEP
    check(tmp_path, {HEALTHY: healthy, FAULTY: removed}, table(at, {HEALTHY: ""}))


def unnamed(at: float, reason: str) -> list[dict[str, Any]]:
    """Return expectations: the faulty target has a problem, and its machine is unknown."""
    rank = BY_REASON[reason].rank
    labels = 'job="neuron",instance="faulty:9415"'
    samples = [{"labels": f"{{{labels}}}", "value": rank}]
    return [
        {"expr": f"({fleet_query('A')}) > 0", "eval_time": f"{at:.0f}s", "exp_samples": samples}
    ]


def test_missing_program(tmp_path: Path, healthy: Frames) -> None:
    """The machine keeps its name if its exporter has reported before."""
    with running_exporter(tmp_path, {"source": {"command": ["/nonexistent"]}}) as exporter:
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        down = scrape(exporter)
    at = ONSET * STEP
    check(
        tmp_path,
        {HEALTHY: healthy, FAULTY: [*healthy[:ONSET], *[down] * 60]},
        table(at + 180, {HEALTHY: "", FAULTY: "source_down"}),
    )
    check(tmp_path, {HEALTHY: healthy, FAULTY: [down] * 60}, *unnamed(at, "source_down"))


def test_crash_loop(tmp_path: Path, healthy: Frames) -> None:
    """Three restarts are one, and two are none; with reports between crashes, the source is not
    down."""
    source = simulated("--instance-type", "inf2.xlarge", *BUSY, "--faults", "crash@2")
    with running_exporter(tmp_path, {"source": source}) as exporter:
        seen: list[Frame] = []
        for restarts in range(1, 5):
            exporter.wait_for_value(
                "neuron_exporter_source_restarts_total", restarts, reason="exited"
            )
            seen.append(own_samples(scrape(exporter)) | {"neuron_exporter_up": 1.0})
    crashing = [
        {**(each or {}), **seen[min(number // 8, 3)]} for number, each in enumerate(healthy[ONSET:])
    ]
    at = ONSET * STEP
    check(
        tmp_path,
        {HEALTHY: healthy, FAULTY: [*healthy[:ONSET], *crashing]},
        table(at + 210, {HEALTHY: "", FAULTY: ""}),
        table(at + 330, {HEALTHY: "", FAULTY: "crash_loop"}),
    )


def own_samples(frame: Frame) -> Frame:
    """Return the samples of the exporter itself."""
    return {name: value for name, value in frame.items() if name.startswith("neuron_exporter_")}


def test_failing_sink(tmp_path: Path, healthy: Frames) -> None:
    """A sink that waits for its first window does not fail; one that is denied access does, after
    two minutes."""
    with cloudwatch_endpoint() as endpoint:
        endpoint.answer = reject(403, "AccessDenied")
        settings = {
            "enabled": True,
            "endpoint_url": endpoint.url,
            "region": "us-east-1",
            "flush_interval": "1s",
        }
        source = simulated("--instance-type", "inf2.xlarge", *BUSY)
        with running_exporter(
            tmp_path,
            {"source": source, "cloudwatch": settings},
            environment={"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
        ) as exporter:

            def failed() -> Frame | None:
                shown = own_samples(scrape(exporter))
                return shown if "sink_errors_total" in str(shown) else None

            failing = wait_for(failed)
    waiting = {name: value for name, value in failing.items() if "sink_errors" not in name}
    frames = [
        *healthy[:ONSET],
        *({**(each or {}), **waiting} for each in healthy[ONSET : ONSET + 12]),
        *({**(each or {}), **failing} for each in healthy[ONSET + 12 :]),
    ]
    at = ONSET * STEP
    check(
        tmp_path,
        {HEALTHY: healthy, FAULTY: frames},
        table(at + 270, {HEALTHY: "", FAULTY: ""}),
        table(at + 390, {HEALTHY: "", FAULTY: "sink_failing"}),
    )


def test_table_says_that_rules_are_missing(tmp_path: Path) -> None:
    """Without an exporter, the table is not a table of healthy machines."""
    check(tmp_path, {Target("a:1", job="other"): [{}] * 10}, equal_to(fleet_query("A"), 60, 1000))
