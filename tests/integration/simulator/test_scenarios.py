"""Scenarios and hardware generations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from neuron_exporter.model import Machine as Identity
from neuron_exporter.report import decode
from neuron_exporter.simulator.hardware import SIMULATED_TYPES, hardware
from neuron_exporter.simulator.processes import ProcessKind
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests import captures
from tests.support.reports import Harness
from tests.support.simulated import SMALL, Report, busy, completed, memory, reports, runtimes


def cpu(report: Report) -> float:
    """Return the used percentage of the host's CPUs."""
    shares: Mapping[str, float] = report["system_data"]["vcpu_usage"]["average_usage"]
    return shares["user"] + shares["system"]


def host_memory(report: Report) -> float:
    """Return the used share of the host's memory."""
    info = report["system_data"]["memory_info"]
    return float(info["memory_used_bytes"]) / float(info["memory_total_bytes"])


def test_idle() -> None:
    """Runtimes have memory allocated, but no core is busy and nothing completes."""
    for report in reports(8, "--scenario", "idle", "--runtimes", "3", *SMALL)[1:]:
        assert set(busy(report).values()) == {0.0}
        assert min(memory(report).values()) > 0
        assert completed(report) == 0
        assert cpu(report) < 10


def test_inference() -> None:
    """Cores are nearly idle at times and nearly fully used at others."""
    shares = [
        share
        for report in reports(80, "--scenario", "inference")
        for share in busy(report).values()
    ]
    assert min(shares) < 15
    assert max(shares) > 75


def test_training() -> None:
    """All cores are equally busy and pause together for two of sixty reports."""
    many = reports(61, "--scenario", "training", "--runtimes", "32")
    means = [sum(busy(report).values()) / 32 for report in many]
    pauses = [number for number, mean in enumerate(means) if mean < 15]
    assert pauses == [58, 59]
    assert all(90 < mean < 97 for number, mean in enumerate(means) if number not in pauses)
    latencies = [
        runtime["report"]["execution_stats"]["latency_stats"]["device_latency"]["p50"]
        for number, runtime in runtimes(many)
        if number not in (0, *pauses)
    ]
    assert min(latencies) > 0.1


def test_long_executions() -> None:
    """Executions of six and ten minutes, between which the cores stay busy."""
    harness = Harness()
    gaps: dict[str, set[float]] = {"resnet50": set(), "bert-base": set()}
    flags = ("--scenario", "long-executions", "--runtimes", "2", *SMALL)
    for report in reports(360, *flags)[1:]:
        samples = harness.samples(report)
        assert min(busy(report).values()) > 80
        for (tag,), gap in samples.values("neuron_execution_gap_seconds").items():
            gaps[tag].add(gap)
    longest = {"resnet50": 360, "bert-base": 600}
    for (tag,), gap in samples.values("neuron_execution_gap_max_seconds").items():
        assert gap == pytest.approx(longest[tag], abs=5)
        assert max(gaps[tag]) < longest[tag]
    assert samples.value("execution_status_total", "resnet50", "completed") == 5
    assert samples.value("execution_status_total", "bert-base", "completed") == 3


def test_compile() -> None:
    """The host's CPUs and memory are in use, the cores are idle."""
    for report in reports(8, "--scenario", "compile", "--runtimes", "2", *SMALL)[1:]:
        assert cpu(report) > 80
        assert host_memory(report) > 0.5
        assert set(busy(report).values()) == {0.0}
        assert completed(report) == 0


def test_mixed() -> None:
    """Some cores train, others serve, and some executions fail."""
    many = reports(60, "--scenario", "mixed", "--runtimes", "3")
    kinds = {at: sum(busy(report)[at] for report in many[1:]) / 59 for at in (0, 31)}
    assert kinds[0] < 80
    assert kinds[31] > 85
    failed = [
        runtime["report"]["execution_stats"]["error_summary"]["numerical"]
        for _, runtime in runtimes(many)
    ]
    assert 0 < sum(map(bool, failed)) < len(failed) / 5
    assert ProcessKind.TRAINING in SCENARIOS["mixed"].kinds


@pytest.mark.parametrize("count", [1, 4, 100])
@pytest.mark.parametrize("scenario", ["training", "mixed"])
@pytest.mark.parametrize("instance_type", ["inf1.xlarge", "inf2.24xlarge", "trn2.48xlarge"])
def test_capacity_is_not_exceeded(instance_type: str, scenario: str, count: int) -> None:
    """Memory and utilization stay within the machine's capacity (helpers add up to 5 %)."""
    flags = ("--instance-type", instance_type, "--scenario", scenario, "--runtimes", str(count))
    for report in reports(11, *flags)[::5]:
        assert max(memory(report).values()) <= hardware(instance_type).core_memory
        assert host_memory(report) < 1
        assert max(busy(report).values()) < 105


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_collected_utilization(scenario: str) -> None:
    """The exporter collects the utilization that the simulator reports."""
    harness, flags = Harness(), ("--scenario", scenario, "--instance-type", "trn2.48xlarge")
    for report in reports(4, *flags, "--runtimes", "6"):
        samples = harness.samples(report, machine=Identity(instance_type="trn2.48xlarge"))
    shown = samples.values("neuroncore_utilization_ratio")
    expected = {core: min(1, share / 100) for core, share in busy(report).items()}
    assert {int(core): share for (core,), share in shown.items()} == pytest.approx(expected)
    assert len(shown) == 64


# Generations


@pytest.mark.parametrize("instance_type", ["trn2.48xlarge", "trn2u.48xlarge"])
def test_trn2_physical_cores(instance_type: str) -> None:
    """A logical core's utilization is the mean of its two physical cores."""
    report = reports(2, "--instance-type", instance_type)[1]
    info = report["neuron_hardware_info"]
    assert info["neuron_device_type"] == "trainium2"
    assert info["neuron_device_memory_size"] == 96 * 2**30
    assert (info["neuroncore_per_device_count"], info["logical_neuroncore_config"]) == (4, 2)
    names = set()
    for _, runtime in runtimes([report]):
        listed = runtime["report"]["neuroncore_counters"]["neuroncores_in_use"]
        assert list(listed) == sorted(map(str, range(64)))
        for core, counters in listed.items():
            physical = {
                name: each["neuroncore_utilization"] for name, each in counters["v3d"].items()
            }
            assert set(physical) == {f"nc_v3.{2 * int(core)}", f"nc_v3.{2 * int(core) + 1}"}
            assert all(0 <= share <= 100 for share in physical.values())
            mean = sum(physical.values()) / 2
            assert mean == pytest.approx(counters["neuroncore_utilization"])
            names |= physical.keys()
    assert len(names) == 128


def test_trn2_matches_the_documentation() -> None:
    """Hardware, pods and physical cores have the format of the documented example."""
    path = captures.FOLDER / "doc_2.21-2.32_trn2n_LNC2_with_k8s.ndjson"
    if not path.exists():
        pytest.skip(captures.MISSING)
    documented = json.loads(captures.lines(path)[0])
    (report,) = reports(1, "--instance-type", "trn2.48xlarge", "--kubernetes")
    assert report["neuron_hardware_info"] == documented["neuron_hardware_info"]
    for section in ("neuroncores_k8s_info", "neurondevices_k8s_info"):
        ours, theirs = (each["neuron_k8s_info"][section]["0"] for each in (report, documented))
        assert list(ours) == list(theirs)
    assert list(report["neuron_k8s_info"]) == list(documented["neuron_k8s_info"])
    physical = [
        list(runtime["report"]["neuroncore_counters"]["neuroncores_in_use"]["1"]["v3d"])
        for _, runtime in (*runtimes([report]), *runtimes([documented]))
    ]
    assert physical == [["nc_v3.2", "nc_v3.3"]] * len(physical)


@pytest.mark.parametrize("instance_type", ["inf1.6xlarge", "inf2.24xlarge", "trn1.32xlarge"])
def test_older_machines_have_no_physical_cores(instance_type: str) -> None:
    report = reports(2, "--instance-type", instance_type)[1]
    assert report["neuron_hardware_info"].get("logical_neuroncore_config", 1) == 1
    assert "v3d" not in json.dumps(report["neuron_runtime_data"])


@pytest.mark.parametrize("instance_type", SIMULATED_TYPES)
def test_ultraserver_id(instance_type: str) -> None:
    """Only a trn2u reports an UltraServer."""
    (report,) = reports(1, "--instance-type", instance_type)
    info = decode(json.dumps(report).encode()).report.instance_info
    assert info is not None
    assert bool(info.ultraserver_id) is (instance_type == "trn2u.48xlarge")
    assert ("ultraserver_id" in report["instance_info"]) is bool(info.ultraserver_id)


def test_kubernetes() -> None:
    """--kubernetes adds the pods of cores and devices in the documented format."""
    flags = ("--instance-type", "trn2.48xlarge", "--runtimes", "3")
    (report,) = reports(1, *flags, "--kubernetes")
    info: dict[str, Any] = report["neuron_k8s_info"]
    assert list(info) == [
        *("period", "neuroncores_k8s_info", "neurondevices_k8s_info", "error"),
    ]
    cores, devices = info["neuroncores_k8s_info"], info["neurondevices_k8s_info"]
    assert list(cores) == sorted(map(str, range(64)))
    assert list(devices) == sorted(map(str, range(16)))
    for core, owner in cores.items():
        assert set(owner) == {"pod_name", "namespace", "container_name"}
        assert isinstance(owner["container_name"], list)
        if int(core) % 4 == 0:
            assert devices[str(int(core) // 4)] == owner
    assert len({owner["pod_name"] for owner in cores.values()}) == 3
    assert decode(json.dumps(report).encode()).invalid_fields == ()
    assert "neuron_k8s_info" not in reports(1, *flags)[0]
