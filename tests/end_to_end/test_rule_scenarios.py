"""Alerts over the exporter's output for simulated machines: each fires in its scenario only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.promql_alarms import check_alarms, check_with_alarms
from tests.support.promtool import alerts_fired, alerts_firing, annotations, check, identifies
from tests.support.rule_frames import (
    STEP,
    Frames,
    reports,
    simulate,
    stdin_exporter,
    with_failed_scrapes,
)
from tests.support.rule_scenarios import (
    BUSY,
    FRAMES_PER_HOUR,
    MISSED,
    ONSET,
    check_alerts,
    healthy_hour,
)

pytestmark = pytest.mark.usefixtures("needs_prometheus")

RESTART = ONSET + 14

ECC = {
    1: (),
    440: ("NeuronUncorrectedEcc",),
    2900: ("NeuronCorrectedEccRising", "NeuronUncorrectedEcc"),
}
FAULTS: dict[str, Mapping[int, tuple[str, ...]]] = {
    "hang": {285: (), 450: ("NeuronHangSuspected",), 1020: ("NeuronHang",)},
    "execution-errors": {285: (), 450: ("NeuronErrorRatio", "NeuronTimeouts")},
    "memory-filling": {500: (), 990: ("NeuronDeviceMemoryFull",)},
    "ecc-tally": ECC,
    "ecc-level": ECC,
}
"""Alerts that fire at times in seconds after the onset of a fault; the last until the end."""

AFTER_RESTART = {
    **FAULTS,
    "hang": {285: (), 720: ("NeuronHangSuspected",), 1290: ("NeuronHang",)},
}
"""The same if the exporter, which measures the gap between executions, restarts soon after."""

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
    """Return an hour of a healthy machine."""
    return healthy_hour(tmp_path_factory.mktemp("healthy"))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Frames]:
    """Return an hour of a machine with each fault."""
    return {
        fault: simulate(
            tmp_path_factory.mktemp(fault),
            FRAMES_PER_HOUR,
            *BUSY,
            *("--faults", f"{fault}@{ONSET}"),
        )
        for fault in FAULTS
    }


@pytest.mark.parametrize(
    "scenario", ["idle", "inference", "training", "compile", "mixed", "long-executions"]
)
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
def test_fault_fires_its_alert(
    fault: str, tmp_path: Path, healthy: Frames, faulty: Mapping[str, Frames]
) -> None:
    """The alert fires after its time and until the end, even if scrapes fail, and no other does."""
    frames = faulty[fault]
    check_alerts(tmp_path, healthy, frames, FAULTS[fault], MISSED)
    for name in list(FAULTS[fault].values())[-1]:
        found = annotations(tmp_path, {"faulty:9415": frames}, name, (FRAMES_PER_HOUR - 1) * STEP)
        assert identifies(found, "i-01d8f565651a7e0ff (faulty:9415)")


MINUTE = 60


@pytest.mark.parametrize("fault", FAULTS)
def test_alarms_with_points_of_every_minute(
    fault: str, tmp_path: Path, healthy: Frames, faulty: Mapping[str, Frames]
) -> None:
    """With the default of `otlp.interval`, an alarm is at most two minutes later."""
    machines = {"healthy:9415": healthy, "faulty:9415": faulty[fault]}
    every = {name: frames[:: MINUTE // STEP] for name, frames in machines.items()}
    ever = {name for names in FAULTS[fault].values() for name in names}
    end = FRAMES_PER_HOUR * STEP - MINUTE
    at, names = list(FAULTS[fault].items())[-1]
    check_alarms(
        tmp_path,
        every,
        alerts_fired(ONSET * STEP),
        alerts_firing(ONSET * STEP + at + 2 * MINUTE, *names),
        alerts_firing(end, *names),
        alerts_fired(end, *ever),
        step=MINUTE,
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_restart_does_not_delay_an_alert(fault: str, tmp_path: Path, healthy: Frames) -> None:
    """The exporter and its counters restart while an alert is pending, and two scrapes fail."""
    flags = (*BUSY, "--faults", f"{fault}@{ONSET}")
    faulty = simulate(tmp_path, FRAMES_PER_HOUR, *flags, restart_at=RESTART)
    check_alerts(tmp_path, healthy, faulty, AFTER_RESTART[fault])


def test_lost_device_fires_its_alert(tmp_path: Path, healthy: Frames) -> None:
    """The runtimes of the device exit, so that neither a hang nor a failure shows it."""
    machine = ("--instance-type", "inf2.24xlarge", *BUSY, "--faults", f"lost-device@{ONSET}")
    expected = {300: (), 450: ("NeuronDeviceMissing",)}
    faulty = simulate(tmp_path, 120, *machine)
    check_alerts(tmp_path, healthy, faulty, expected, MISSED)
    restarted = simulate(tmp_path, 120, *machine, restart_at=RESTART)
    check_alerts(tmp_path, healthy, restarted, expected)


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


BASELINE = 640
"""Frames before the latency rises, nearly three hours."""


def test_latency_is_compared_with_its_baseline(tmp_path: Path) -> None:
    """A periodic load fires nothing; lasting spikes do after ten minutes, even if scrapes fail."""
    script = tmp_path / "script.yaml"
    script.write_text(f"- {{at: {BASELINE * STEP}s, fault: latency-spikes, for: 1h}}")
    count = BASELINE + 80
    frames = simulate(tmp_path, count, "--scenario", "inference", "--script", str(script))
    check_with_alarms(
        tmp_path,
        {"faulty:9415": with_failed_scrapes(frames, BASELINE + 20, BASELINE + 50)},
        alerts_fired(BASELINE * STEP + 570),
        alerts_firing(BASELINE * STEP + 960, "NeuronLatencyHigh"),
        alerts_fired((count - 1) * STEP, "NeuronLatencyHigh"),
    )


def fail_group(line: bytes, name: str) -> bytes:
    """Return a report in which a group of the machine has an error and no values."""
    report = json.loads(line)
    period = report["system_data"][name]["period"]
    report["system_data"][name] = {"period": period, "error": "simulated: unreadable"}
    return json.dumps(report).encode() + b"\n"


def test_failing_group_fires_an_alert_while_memory_errors_are_unseen(
    tmp_path: Path, healthy: Frames
) -> None:
    """The device has errors from the start, but the group with their counters fails."""
    lines = reports(FRAMES_PER_HOUR, *BUSY, "--faults", f"ecc-tally@{ONSET}")
    lines[ONSET:] = [fail_group(line, "neuron_hw_counters") for line in lines[ONSET:]]
    with stdin_exporter(tmp_path) as exporter:
        faulty = exporter.feed(lines)
    expected = {870: (), 1290: ("NeuronGroupFailing",)}
    check_alerts(tmp_path, healthy, faulty, expected, MISSED)
    found = annotations(
        tmp_path, {"faulty:9415": faulty}, "NeuronGroupFailing", FRAMES_PER_HOUR * STEP - STEP
    )
    assert [each["summary"] for each in found] == [
        "neuron-monitor cannot read neuron_hw_counters on faulty:9415."
    ]
