"""The alerts, over what the exporter shows of simulated machines: each in its own scenario only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.kubelet import CORE, Given, kubelet
from tests.support.promtool import alerts_fired, alerts_firing, annotations, check, is_told
from tests.support.rule_frames import STEP, Frames, fed, recorded, reports, without
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")

HOUR = 240
"""Frames of an hour."""

ONSET = 40
"""The frame with which a fault begins."""

MISSED = (ONSET + 7, ONSET + 60, ONSET + 85, ONSET + 105)
RESTART = ONSET + 14
BUSY = ("--scenario", "training")

ECC = {
    1: (),
    440: ("NeuronUncorrectedEcc",),
    2900: ("NeuronCorrectedEccRising", "NeuronUncorrectedEcc"),
}
FAULTS: dict[str, Mapping[int, tuple[str, ...]]] = {
    "hang": {1140: (), 1290: ("NeuronHang",)},
    "execution-errors": {285: (), 450: ("NeuronErrorRatio", "NeuronTimeouts")},
    "memory-filling": {500: (), 990: ("NeuronDeviceMemoryFull",)},
    "ecc-tally": ECC,
    "ecc-level": ECC,
}
"""Which alerts fire so many seconds after a fault began, and still at the end."""

HARMLESS = (
    "churn",
    "error-groups",
    "garbage",
    "nan",
    "nulls",
    "same-tags",
    "latency-spikes",
)
"""Faults that the exporter copes with, and spikes that have no past to be compared with."""


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """A machine that trains, and beside which another is ill."""
    return recorded(tmp_path_factory.mktemp("well"), HOUR, *BUSY)


def judge(folder: Path, well: Frames, ill: Frames, when: Mapping[int, tuple[str, ...]]) -> None:
    """What fires so long after the onset; at the end, what fired last, and nothing else before."""
    last = list(when.values())[-1]
    end = (len(ill) - 1) * STEP
    expected = [alerts_firing(ONSET * STEP + after, *names) for after, names in when.items()]
    expected += [alerts_firing(end, *last), alerts_fired(end, *last)]
    check(folder, {"well:9415": well, "ill:9415": ill}, *expected)


@pytest.mark.parametrize("scenario", ["idle", "inference", "training", "compile", "mixed"])
def test_what_goes_on_every_day_is_no_alert(scenario: str, tmp_path: Path, well: Frames) -> None:
    """An hour of each scenario, with scrapes that are missed and with a restart of the exporter,
    fires nothing."""
    ill = recorded(tmp_path, HOUR, "--scenario", scenario, restart_at=RESTART)
    judge(tmp_path, well, without(ill, *MISSED), {1: ()})


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_the_exporter_copes_with_is_no_alert(fault: str, tmp_path: Path, well: Frames) -> None:
    """Lines, groups and readings that cannot be used, runtimes that come and go: all is quiet."""
    script = tmp_path / "script.yaml"
    script.write_text(f"- {{at: {ONSET * STEP}s, fault: {fault}, for: 1h}}")
    lines = reports(160, *BUSY, "--script", str(script))
    with fed(tmp_path) as exporter:
        ill = exporter.feed(lines)
    judge(tmp_path, well, ill, {1: ()})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fires_its_alert_in_its_time(fault: str, tmp_path: Path, well: Frames) -> None:
    """It does not fire before its time, fires after it, and goes on while the fault does; no other
    alert does, and none on the machine that is well. Scrapes that are missed change nothing."""
    ill = recorded(tmp_path, HOUR, *BUSY, "--faults", f"{fault}@{ONSET}")
    judge(tmp_path, well, ill, FAULTS[fault])
    judge(tmp_path, well, without(ill, *MISSED), FAULTS[fault])
    for name in list(FAULTS[fault].values())[-1]:
        told = annotations(tmp_path, {"ill:9415": ill}, name, (HOUR - 1) * STEP)
        assert is_told(told, "i-01d8f565651a7e0ff (ill:9415)")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_restart_neither_hides_nor_delays_a_fault(
    fault: str, tmp_path: Path, well: Frames
) -> None:
    """The exporter begins anew while an alert waits for its time: counters begin anew, too, and two
    scrapes are missed."""
    flags = (*BUSY, "--faults", f"{fault}@{ONSET}")
    ill = recorded(tmp_path, HOUR, *flags, restart_at=RESTART)
    judge(tmp_path, well, ill, FAULTS[fault])


def test_an_old_count_of_errors_is_no_new_error(tmp_path: Path, well: Frames) -> None:
    """Errors that a device had when the exporter began are none that happened now, however often it
    begins anew."""
    lines = reports(2 * HOUR, *BUSY, "--faults", "ecc-level")[HOUR]
    with fed(tmp_path) as exporter:
        before = exporter.feed([lines] * ONSET)
    with fed(tmp_path) as exporter:
        ill = [*before, None, None, *exporter.feed([lines] * ONSET)]
    assert any(value > 0 for name, value in (ill[0] or {}).items() if "_uncorrected" in name)
    judge(tmp_path, well, ill, {1: ()})


SAME = {
    "instance:neuroncore_utilization:avg": "avg(neuroncore_utilization_ratio)",
    "sum(workload:neuron_executions:rate5m)": "instance:neuron_executions:rate5m",
    "avg(workload:neuroncore_utilization:avg)": "instance:neuroncore_utilization:avg",
    "instance:neuron_executions_failed:ratio_rate5m": (
        "avg(workload:neuron_executions_failed:ratio_rate5m)"
    ),
}
"""What has one value where every core has as many runtimes as the others, and nothing fails."""


def test_recorded_views_agree(tmp_path: Path, well: Frames) -> None:
    """What workloads do adds up to what their machine does, and cores are counted once each."""
    expected = [
        {
            "expr": f"abs(sum({one}) - sum({other})) < bool 0.000001",
            "eval_time": "30m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for one, other in SAME.items()
    ]
    check(tmp_path, {"well:9415": well}, *expected)


def hanging(line: bytes) -> bytes:
    """A report in which the first runtime is as busy as before, and completes nothing."""
    report = json.loads(line)
    runtime = report["neuron_runtime_data"][0]["report"]["execution_stats"]
    runtime["execution_summary"] = dict.fromkeys(runtime["execution_summary"], 0)
    return json.dumps(report).encode() + b"\n"


def test_one_workload_that_hangs_among_others_is_told(tmp_path: Path, well: Frames) -> None:
    """By its tag, though the machine's other executions end."""
    lines = reports(HOUR, *BUSY, "--runtimes", "2")
    lines[ONSET:] = [hanging(line) for line in lines[ONSET:]]
    with fed(tmp_path) as exporter:
        ill = exporter.feed(lines)
    for frames in (ill, without(ill, *MISSED)):
        judge(tmp_path, well, frames, FAULTS["hang"])
    told = annotations(tmp_path, {"ill:9415": ill}, "NeuronHang", HOUR * STEP - STEP)
    assert len(told) == 1
    assert "NeuronCores of resnet50 on i-" in told[0]["summary"]


PAST = 640
"""Frames before latency rises: a little less than three hours."""


def test_latency_is_compared_with_its_own_past(tmp_path: Path) -> None:
    """p99 of a load that rises and falls fires nothing; spikes that go on do, after ten minutes,
    though scrapes are missed."""
    script = tmp_path / "script.yaml"
    script.write_text(f"- {{at: {PAST * STEP}s, fault: latency-spikes, for: 1h}}")
    count = PAST + 80
    frames = recorded(tmp_path, count, "--scenario", "inference", "--script", str(script))
    check(
        tmp_path,
        {"ill:9415": without(frames, PAST + 20, PAST + 50)},
        alerts_fired(PAST * STEP + 570),
        alerts_firing(PAST * STEP + 960, "NeuronLatencyHigh"),
        alerts_fired((count - 1) * STEP, "NeuronLatencyHigh"),
    )


def held(folder: Path, count: int, scenario: str) -> Frames:
    """A machine whose cores a pod has, as a kubelet tells it."""
    with (
        kubelet(folder, Given("train", CORE, [0, 1])) as played,
        fed(folder, NEURON_EXPORTER_KUBELET_SOCKET=str(played.socket)) as exporter,
    ):
        wait_for(lambda: played.asked)
        lines = reports(count, "--scenario", scenario)
        exporter.feed(lines[:1])
        exporter.exporter.wait_for_value("neuroncore_allocated", 1, neuroncore="0")
        return exporter.feed(lines[1:])


def test_cores_that_are_held_and_idle_are_told(tmp_path: Path, well: Frames) -> None:
    """After half an hour, by pod, with the number of its cores, also where scrapes are missed; not
    where nobody tells who holds what, nor where they work."""
    (tmp_path / "idle").mkdir()
    idle = held(tmp_path / "idle", 160, "idle")
    check(
        tmp_path,
        {"well:9415": well, "ill:9415": without(idle, 30, 90)},
        alerts_fired(1770),
        alerts_firing(1900, "NeuronAllocatedIdle"),
        alerts_fired(2300, "NeuronAllocatedIdle"),
        {
            "expr": "sum by (namespace, pod) (holder:neuroncores_allocated_idle:count5m)",
            "eval_time": "1900s",
            "exp_samples": [{"labels": '{namespace="ml",pod="train"}', "value": 2}],
        },
    )
    (tmp_path / "busy").mkdir()
    busy = held(tmp_path / "busy", 160, "training")
    check(tmp_path, {"well:9415": well, "ill:9415": busy}, alerts_fired(2300))
