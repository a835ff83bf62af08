"""Judgements on runtimes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from neuron_exporter.doctor.acceptance.judgement import Result
from tests.support.evidence import evidence_of, judge, result
from tests.support.reports import HARDWARE, cores, executions, group, memory, report, runtime

HELD, CONTRADICTED, NOT_SEEN = Result.HELD, Result.CONTRADICTED, Result.NOT_SEEN


@pytest.mark.parametrize(
    "name",
    [
        "listed-cores",
        "core-utilization",
        "physical-cores",
        "memory-sums",
        "memory-fits",
        "execution-tallies",
        "latency",
        "cpu-shares",
        "runtime-pids",
    ],
)
def test_idle_machine_decides_nothing(name: str) -> None:
    assert result(name, evidence_of(report(), report())) is NOT_SEEN


def test_runtimes_list_all_cores() -> None:
    all_ = runtime(neuroncore_counters=cores(_0=50, _1=0, _2=0, _3=0))
    assert judge("listed-cores", evidence_of(report(all_))) == (HELD, "1 listing of all 4 cores")
    own = runtime(neuroncore_counters=cores(_0=50, _1=0))
    found = judge("listed-cores", evidence_of(report(all_, own)))
    assert found == (
        CONTRADICTED,
        "entries of runtimes list fewer or more cores: 2 of 4 (1)",
    )


@pytest.mark.parametrize(
    ("percents", "expected"),
    [((60, 40), HELD), ((100.2,), HELD), ((60, 60), CONTRADICTED), ((120,), CONTRADICTED)],
)
def test_busy_cores(percents: tuple[float, ...], expected: Result) -> None:
    runtimes = [runtime(neuroncore_counters=cores(_0=0, _1=each)) for each in percents]
    found = judge("core-utilization", evidence_of(report(*runtimes)))
    assert found.result is expected
    assert "core 1" in found.evidence


def test_failed_groups_and_runtimes_are_no_evidence() -> None:
    failed = cores(_0=400)
    failed["error"] = "failed"
    evidence = evidence_of(
        report(runtime(neuroncore_counters=failed)),
        report(runtime(error="failed", neuroncore_counters=cores(_0=400))),
    )
    assert result("core-utilization", evidence) is NOT_SEEN


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("nc_v3.2", "nc_v3.3"), HELD),
        (("nc_v3.0", "nc_v3.1"), CONTRADICTED),
        (("nc_v3.2",), CONTRADICTED),
        (("first", "second"), CONTRADICTED),
    ],
)
def test_physical_cores(names: tuple[str, ...], expected: Result) -> None:
    """With LNC 2, core 1 has the physical cores 2 and 3."""
    used = cores(_1=10)
    used["neuroncores_in_use"]["1"]["v3d"] = {name: {"neuroncore_utilization": 1} for name in names}
    hardware = {**HARDWARE, "logical_neuroncore_config": 2}
    document = report(runtime(neuroncore_counters=used), neuron_hardware_info=hardware)
    assert result("physical-cores", evidence_of(document)) is expected


def test_sums_of_memory() -> None:
    used = memory({"0": {"tensors": 5, "constants": 6}})
    assert result("memory-sums", evidence_of(report(runtime(memory_used=used)))) is HELD
    used["neuron_runtime_used_bytes"]["neuron_device"] += 100
    found = judge("memory-sums", evidence_of(report(runtime(memory_used=used))))
    assert found.evidence == (
        "1 sum compared: neuron_device differs from the sum of its categories (1)"
    )


@pytest.mark.parametrize(("size", "expected"), [(100, HELD), (99, CONTRADICTED)])
def test_memory_of_a_device(size: int, expected: Result) -> None:
    """Runtimes share a device."""
    used = [memory({str(core): {"tensors": 50}}) for core in (2, 3)]
    hardware = {**HARDWARE, "neuron_device_memory_size": size}
    runtimes = [runtime(memory_used=each) for each in used]
    evidence = evidence_of(report(*runtimes, neuron_hardware_info=hardware))
    found = judge("memory-fits", evidence)
    assert found.result is expected
    assert found.evidence.endswith(" of device 1")


def completed(*counts: int, pid: int = 100) -> list[dict[str, Any]]:
    """Return reports in which a runtime has completed so many executions."""
    return [report(runtime(pid=pid, execution_stats=executions(each))) for each in counts]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((50, 50, 49, 50), HELD),
        ((50, 50, 50), NOT_SEEN),
        (tuple(range(10, 150, 10)), CONTRADICTED),
        (tuple(range(10, 100, 10)), NOT_SEEN),
        ((0, 0, 0), NOT_SEEN),
    ],
)
def test_executions(counts: tuple[int, ...], expected: Result) -> None:
    assert result("execution-tallies", evidence_of(*completed(*counts))) is expected


def test_another_runtime_is_no_fall() -> None:
    evidence = evidence_of(*completed(50), *completed(10, pid=101), *completed(50))
    assert result("execution-tallies", evidence) is NOT_SEEN


@pytest.mark.parametrize(
    ("latency", "completed", "expected"),
    [
        ({"p0": 0.1, "p50": 0.2, "p99": 0.2, "p100": 0.4}, 3, HELD),
        ({"p0": 0.1, "p50": 0.2, "p100": 0.15}, 3, CONTRADICTED),
        ({"p100": 0.4, "p0": 0.1, "p25": None}, 3, HELD),
        ({"p0": 0.1, "p100": 0.4}, 0, CONTRADICTED),
    ],
)
def test_latency(latency: dict[str, float], completed: int, expected: Result) -> None:
    document = report(runtime(execution_stats=executions(completed, latency=latency)))
    assert result("latency", evidence_of(document)) is expected


@pytest.mark.parametrize(("user", "expected"), [(60, HELD), (6400, CONTRADICTED)])
def test_cpu_of_a_runtime(user: float, expected: Result) -> None:
    used = group(vcpu_usage={"user": user, "system": 10})
    evidence = evidence_of(report(runtime(neuron_runtime_vcpu_usage=used)))
    assert result("cpu-shares", evidence) is expected


def test_processes_of_the_host() -> None:
    ours, foreign = report(runtime(pid=os.getpid())), report(runtime(pid=2**30))
    assert judge("runtime-pids", evidence_of(ours, has_host_pids=True)).result is HELD
    both = judge("runtime-pids", evidence_of(ours, foreign, has_host_pids=True))
    assert both == (HELD, "1 of 2 runtimes are processes here")
    assert result("runtime-pids", evidence_of(foreign, has_host_pids=True)) is CONTRADICTED
    assert result("runtime-pids", evidence_of(ours)) is NOT_SEEN
    masked = evidence_of(ours, has_host_pids=True, is_masked=True)
    assert result("runtime-pids", masked) is NOT_SEEN
