"""Alerts over the exporter's output for simulated machines: each fires in its scenario only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.kubelet import CORE, PodResource, kubelet_server
from tests.support.promtool import alerts_fired, alerts_firing, annotations, check, identifies
from tests.support.rule_frames import (
    STEP,
    Frames,
    reports,
    simulate,
    stdin_exporter,
    with_failed_scrapes,
)
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")

FRAMES_PER_HOUR = 240

ONSET = 40
"""Frame at which a fault begins."""

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
"""Alerts that fire at times in seconds after the onset of a fault; the last until the end."""

TOLERATED = (
    "churn",
    "error-groups",
    "garbage",
    "nan",
    "nulls",
    "same-tags",
    "latency-spikes",
)
"""Faults that the exporter tolerates, and latency spikes without a baseline."""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Return the frames of a healthy machine that trains."""
    return simulate(tmp_path_factory.mktemp("healthy"), FRAMES_PER_HOUR, *BUSY)


def check_alerts(
    folder: Path, healthy: Frames, faulty: Frames, expectations: Mapping[int, tuple[str, ...]]
) -> None:
    """Check which alerts fire at times after the onset, in seconds.

    At the end, the alerts of the last time fire, and no others have fired before.
    """
    last = list(expectations.values())[-1]
    end = (len(faulty) - 1) * STEP
    expected = [
        alerts_firing(ONSET * STEP + after, *names) for after, names in expectations.items()
    ]
    expected += [alerts_firing(end, *last), alerts_fired(end, *last)]
    check(folder, {"healthy:9415": healthy, "faulty:9415": faulty}, *expected)


@pytest.mark.parametrize("scenario", ["idle", "inference", "training", "compile", "mixed"])
def test_normal_operation_fires_no_alert(scenario: str, tmp_path: Path, healthy: Frames) -> None:
    """An hour of each scenario, with failed scrapes and a restart of the exporter."""
    faulty = simulate(tmp_path, FRAMES_PER_HOUR, "--scenario", scenario, restart_at=RESTART)
    check_alerts(tmp_path, healthy, with_failed_scrapes(faulty, *MISSED), {1: ()})


@pytest.mark.parametrize("fault", TOLERATED)
def test_tolerated_faults_fire_no_alert(fault: str, tmp_path: Path, healthy: Frames) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(f"- {{at: {ONSET * STEP}s, fault: {fault}, for: 1h}}")
    lines = reports(160, *BUSY, "--script", str(script))
    with stdin_exporter(tmp_path) as exporter:
        faulty = exporter.feed(lines)
    check_alerts(tmp_path, healthy, faulty, {1: ()})


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_fires_its_alert(fault: str, tmp_path: Path, healthy: Frames) -> None:
    """The alert fires after its time and until the end, even if scrapes fail, and no other does."""
    faulty = simulate(tmp_path, FRAMES_PER_HOUR, *BUSY, "--faults", f"{fault}@{ONSET}")
    check_alerts(tmp_path, healthy, faulty, FAULTS[fault])
    check_alerts(tmp_path, healthy, with_failed_scrapes(faulty, *MISSED), FAULTS[fault])
    for name in list(FAULTS[fault].values())[-1]:
        found = annotations(tmp_path, {"faulty:9415": faulty}, name, (FRAMES_PER_HOUR - 1) * STEP)
        assert identifies(found, "i-01d8f565651a7e0ff (faulty:9415)")


@pytest.mark.parametrize("fault", FAULTS)
def test_restart_does_not_delay_an_alert(fault: str, tmp_path: Path, healthy: Frames) -> None:
    """The exporter and its counters restart while an alert is pending, and two scrapes fail."""
    flags = (*BUSY, "--faults", f"{fault}@{ONSET}")
    faulty = simulate(tmp_path, FRAMES_PER_HOUR, *flags, restart_at=RESTART)
    check_alerts(tmp_path, healthy, faulty, FAULTS[fault])


def test_errors_from_before_the_start_do_not_count(tmp_path: Path, healthy: Frames) -> None:
    report = reports(2 * FRAMES_PER_HOUR, *BUSY, "--faults", "ecc-level")[FRAMES_PER_HOUR]
    with stdin_exporter(tmp_path) as exporter:
        before = exporter.feed([report] * ONSET)
    with stdin_exporter(tmp_path) as exporter:
        faulty = [*before, None, None, *exporter.feed([report] * ONSET)]
    assert any(value > 0 for name, value in (faulty[0] or {}).items() if "_uncorrected" in name)
    check_alerts(tmp_path, healthy, faulty, {1: ()})


EQUAL = {
    "instance:neuroncore_utilization:avg": "avg(neuroncore_utilization_ratio)",
    "sum(workload:neuron_executions:rate5m)": "instance:neuron_executions:rate5m",
    "avg(workload:neuroncore_utilization:avg)": "instance:neuroncore_utilization:avg",
    "instance:neuron_executions_failed:ratio_rate5m": (
        "avg(workload:neuron_executions_failed:ratio_rate5m)"
    ),
}
"""Pairs of equal values, if all cores have the same number of runtimes and nothing fails."""


def test_recorded_series_agree(tmp_path: Path, healthy: Frames) -> None:
    """Workloads add up to their machine, and each core counts once."""
    expected = [
        {
            "expr": f"abs(sum({one}) - sum({other})) < bool 0.000001",
            "eval_time": "30m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for one, other in EQUAL.items()
    ]
    check(tmp_path, {"healthy:9415": healthy}, *expected)


def hang_first_runtime(line: bytes) -> bytes:
    """Return a report in which the first runtime stays busy but completes nothing."""
    report = json.loads(line)
    runtime = report["neuron_runtime_data"][0]["report"]["execution_stats"]
    runtime["execution_summary"] = dict.fromkeys(runtime["execution_summary"], 0)
    return json.dumps(report).encode() + b"\n"


def test_one_hanging_workload_among_others(tmp_path: Path, healthy: Frames) -> None:
    """A workload is judged by its tag, although the machine's other executions end."""
    lines = reports(FRAMES_PER_HOUR, *BUSY, "--runtimes", "2")
    lines[ONSET:] = [hang_first_runtime(line) for line in lines[ONSET:]]
    with stdin_exporter(tmp_path) as exporter:
        faulty = exporter.feed(lines)
    for frames in (faulty, with_failed_scrapes(faulty, *MISSED)):
        check_alerts(tmp_path, healthy, frames, FAULTS["hang"])
    found = annotations(
        tmp_path, {"faulty:9415": faulty}, "NeuronHang", FRAMES_PER_HOUR * STEP - STEP
    )
    assert len(found) == 1
    assert "NeuronCores of resnet50 on i-" in found[0]["summary"]


BASELINE = 640
"""Frames before the latency rises, nearly three hours."""


def test_latency_is_compared_with_its_baseline(tmp_path: Path) -> None:
    """A periodic load fires nothing; lasting spikes do after ten minutes, even if scrapes fail."""
    script = tmp_path / "script.yaml"
    script.write_text(f"- {{at: {BASELINE * STEP}s, fault: latency-spikes, for: 1h}}")
    count = BASELINE + 80
    frames = simulate(tmp_path, count, "--scenario", "inference", "--script", str(script))
    check(
        tmp_path,
        {"faulty:9415": with_failed_scrapes(frames, BASELINE + 20, BASELINE + 50)},
        alerts_fired(BASELINE * STEP + 570),
        alerts_firing(BASELINE * STEP + 960, "NeuronLatencyHigh"),
        alerts_fired((count - 1) * STEP, "NeuronLatencyHigh"),
    )


def simulate_allocated(folder: Path, count: int, scenario: str) -> Frames:
    """Return the frames of a machine whose cores a kubelet has allocated to a pod."""
    with (
        kubelet_server(folder, PodResource("train", CORE, [0, 1])) as kubelet,
        stdin_exporter(folder, NEURON_EXPORTER_KUBELET_SOCKET=str(kubelet.socket)) as exporter,
    ):
        wait_for(lambda: kubelet.calls)
        lines = reports(count, "--scenario", scenario)
        exporter.feed(lines[:1])
        exporter.exporter.wait_for_value("neuroncore_allocated", 1, neuroncore="0")
        return exporter.feed(lines[1:])


def test_idle_allocated_cores(tmp_path: Path, healthy: Frames) -> None:
    """The alert fires after half an hour, even if scrapes fail; not for busy cores or without a
    kubelet."""
    (tmp_path / "idle").mkdir()
    idle = simulate_allocated(tmp_path / "idle", 160, "idle")
    check(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": with_failed_scrapes(idle, 30, 90)},
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
    busy = simulate_allocated(tmp_path / "busy", 160, "training")
    check(tmp_path, {"healthy:9415": healthy, "faulty:9415": busy}, alerts_fired(2300))
