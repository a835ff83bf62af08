"""Faults of processes and reports."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.model import Machine as Identity
from neuron_exporter.report import decode
from neuron_exporter.simulator.context import NextAction
from neuron_exporter.simulator.faults import FAULTS, Timing
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.processes import PERCENTILES
from tests.support.reports import Harness
from tests.support.simulated import (
    SMALL,
    Report,
    busy,
    completed,
    executions,
    groups,
    memory,
    reports,
    runtimes,
)

WITH_CORES = """{"period": "5s", "system_metrics": [{"type": "neuron_hw_counters"}],
"neuron_runtimes": [{"metrics": [{"type": "neuroncore_counters"}, {"type": "memory_used"}]}]}"""
WITH_ECC = '{"period": "5s", "system_metrics": [{"type": "neuron_hw_counters"}]}'


def leaves(value: Any) -> Iterator[Any]:
    """Yield every value that is neither an object nor a list."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_all_faults_together(seed: str) -> None:
    """All faults that do not end the run work together, in whatever order they are requested."""
    names = [name for name, fault in FAULTS.items() if fault.timing is not Timing.ONCE]
    first, second = (
        Machine(parse(["--faults", ",".join(each), "--scenario", "mixed", "--seed", seed, *SMALL]))
        for each in (names, names[::-1])
    )
    for number in range(12):
        output = first.output(number)
        assert output == second.output(number)
        assert output.next_action is NextAction.CONTINUE


@pytest.mark.parametrize(
    "name", [name for name, row in FAULTS.items() if row.timing is Timing.LASTING]
)
def test_lasting_fault_with_a_number(name: str) -> None:
    """NAME@4 changes nothing before the fourth report, and all reports from there on.

    Memory errors are rare, and not in the default groups; others are in the driver's files only.
    """
    flags = ("--runtimes", "6", "--instance-type", "inf2.24xlarge")
    plain, faulty = reports(12, *flags), reports(12, *flags, "--faults", f"{name}@4")
    assert faulty[:3] == plain[:3]
    if name not in ("ecc-level", "ecc-tally", "hardware-errors", "unhealthy-device"):
        assert any(one != other for one, other in zip(faulty[4:], plain[4:], strict=True))


@pytest.mark.parametrize("name", ["nan", "latency-spikes"])
def test_repeated_fault_with_a_number(name: str) -> None:
    """NAME@4 changes the fourth report only; NAME changes many."""
    plain, once = reports(40, *SMALL), reports(40, *SMALL, "--faults", f"{name}@4")
    often = reports(40, *SMALL, "--faults", name)
    differing = [n for n in range(40) if repr(once[n]) != repr(plain[n])]
    assert differing == [3]
    assert 3 <= sum(repr(often[n]) != repr(plain[n]) for n in range(40)) <= 20


# Processes


def test_same_tags() -> None:
    """All runtimes have the tag 1 and different process ids."""
    (report,) = reports(1, "--faults", "same-tags", "--runtimes", "5")
    assert {each["neuron_runtime_tag"] for each in report["neuron_runtime_data"]} == {"1"}
    assert len({each["pid"] for each in report["neuron_runtime_data"]}) == 5


def test_churn() -> None:
    """Runtimes exit after at most 12 reports and return with new process ids and the same tags."""
    many = reports(60, "--faults", "churn", "--runtimes", "4")
    numbers_by_pid: dict[int, list[int]] = {}
    for number, runtime in runtimes(many):
        numbers_by_pid.setdefault(runtime["pid"], []).append(number)
        if number and numbers_by_pid[runtime["pid"]] == [number]:
            period = runtime["report"]["execution_stats"]["period"]
            assert 0 < period < 0.1
    assert len(numbers_by_pid) >= 16
    for numbers in numbers_by_pid.values():
        assert len(numbers) <= 12
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert len({runtime["neuron_runtime_tag"] for _, runtime in runtimes(many)}) == 4
    assert {len(report["neuron_runtime_data"]) for report in many} > {4}


def test_runtime_exit() -> None:
    """One runtime is missing from its report on, and its pod keeps the cores."""
    many = reports(6, "--runtimes", "4", "--kubernetes", "--faults", "runtime-exit@4")
    assert [len(report["neuron_runtime_data"]) for report in many] == [4, 4, 4, 3, 3, 3]
    pods = [report["neuron_k8s_info"]["neuroncores_k8s_info"] for report in many]
    assert pods == [pods[0]] * 6
    assert len(pods[0]) == 32


def test_hang() -> None:
    """All cores are at 100 %, no execution completes, and there is no latency."""
    for report in reports(5, "--faults", "hang", "--runtimes", "4"):
        assert set(busy(report).values()) == {100.0}
        for stats in executions(report):
            assert set(stats["execution_summary"].values()) == {0}
            assert stats["latency_stats"] == {"total_latency": None, "device_latency": None}


def test_memory_filling() -> None:
    """Device memory rises, is full after five minutes, and never exceeds the capacity."""
    many = reports(65, *SMALL, "--scenario", "training", "--faults", "memory-filling")
    capacity = hardware("inf2.xlarge").core_memory
    used = [min(memory(report).values()) / capacity for report in many]
    assert used[0] < 0.8
    assert all(later >= used[n] - 0.03 for n, later in enumerate(used[1:]))
    assert all(share > 0.97 for share in used[60:])
    assert all(max(memory(report).values()) <= capacity for report in many)


def test_latency_spikes() -> None:
    """p99 and p100 rise at least twentyfold, the median stays."""
    plain = executions(reports(4, *SMALL)[3])
    spiked = executions(reports(4, *SMALL, "--faults", "latency-spikes@4")[3])
    assert plain
    for before, after in zip(plain, spiked, strict=True):
        for kind in ("total_latency", "device_latency"):
            one, other = before["latency_stats"][kind], after["latency_stats"][kind]
            assert other["p50"] == one["p50"]
            assert other["p99"] >= 20 * one["p99"]
            assert other["p100"] >= 20 * one["p100"]
            assert [other[name] for name in PERCENTILES] == sorted(other.values())


def test_execution_errors() -> None:
    """Every status and every type of error occurs."""
    for stats in executions(reports(2, *SMALL, "--faults", "execution-errors")[1]):
        assert min(stats["execution_summary"].values()) > 0
        assert min(stats["error_summary"].values()) > 0


# Reports


def test_first_period() -> None:
    """The first report can cover no time, in which nothing completes, or a whole period."""
    (short,) = reports(1, *SMALL, "--faults", "short-first-period")
    (whole,) = reports(1, *SMALL, "--faults", "whole-first-period")
    assert {group["period"] for _, group in groups(short)} == {0.0}
    assert {group["period"] for _, group in groups(whole)} == {5.0}
    assert completed(short) == 0
    assert completed(whole) > 1000
    later = reports(3, *SMALL, "--faults", "short-first-period@3")[2]
    assert {group["period"] for _, group in groups(later)} == {0.0}


def test_nulls() -> None:
    """Sections, groups and readings are null, which the decoder accepts."""
    many = reports(40, *SMALL, "--faults", "nulls")
    assert all(None in leaves(report) for report in many)
    assert any(value is None for report in many for value in report.values())
    for report in many:
        assert decode(json.dumps(report).encode()).invalid_fields == ()


def test_nan() -> None:
    """The decoder reports NaN and infinities, and keeps all other readings."""
    tokens = set()
    for number, report in enumerate(reports(60, *SMALL, "--faults", "nan")):
        line = json.dumps(report).encode()
        not_finite = [x for x in leaves(report) if isinstance(x, float) and not math.isfinite(x)]
        tokens |= {json.dumps(x) for x in not_finite}
        decoded = decode(line)
        assert len(decoded.invalid_fields) <= len(not_finite), number
        assert bool(decoded.invalid_fields) <= bool(not_finite)
        assert decoded.report.instance_info is not None
    assert tokens == {"NaN", "Infinity", "-Infinity"}


def test_error_groups() -> None:
    """CPU shares of runtimes always have an error, other groups sometimes, and all have zeros."""
    failed = set()
    for report in reports(40, *SMALL, "--faults", "error-groups")[1:]:
        for name, group in groups(report):
            if not group["error"]:
                assert name != "neuron_runtime_vcpu_usage"
                continue
            failed.add(name)
            readings = [value for key, value in group.items() if key not in ("period", "error")]
            assert {x for x in leaves(readings) if isinstance(x, int | float)} <= {0}
            assert group["period"] > 0
        for runtime in report["neuron_runtime_data"]:
            text = runtime["report"]["neuron_runtime_vcpu_usage"]["error"]
            assert text == f"open /proc/{runtime['pid']}/stat: no such file or directory"
    assert failed == {name for name, _ in groups(report)}


@pytest.mark.parametrize(("count", "left"), [("4", 4), ("16", 15)])
def test_lost_device(tmp_path: Path, count: str, left: int) -> None:
    """The exporter shows one device less, none of its cores, and the runtimes that have others."""
    path = tmp_path / "neuron-monitor.json"
    path.write_text(WITH_CORES)
    harness = Harness()
    many = reports(6, "-c", str(path), "--runtimes", count, "--faults", "lost-device@4")
    cores = []
    for report in many:
        samples = harness.samples(report, machine=Identity(instance_type="trn1.32xlarge"))
        present = samples.value("neuron_devices_present")
        cores.append({int(core) for (core,) in samples.values("neuroncore_utilization_ratio")})
        assert len(cores[-1]) == 2 * present
        assert len(samples.values("neurondevice_ecc_reading")) == 4 * present
        assert samples.value("neuron_devices_expected") == 16
        assert sum(samples.values("neurondevice_memory_used_bytes").values()) == sum(
            memory(report).values()
        )
    assert cores[:3] == [set(range(32))] * 3
    (lost,) = {core // 2 for core in cores[0] - cores[-1]}
    assert cores[3:] == [set(range(32)) - {2 * lost, 2 * lost + 1}] * 3
    assert len(many[-1]["neuron_runtime_data"]) == left


def test_ecc_levels_and_tallies(tmp_path: Path) -> None:
    """Each level is the sum of the tallies so far."""
    path = tmp_path / "neuron-monitor.json"
    path.write_text(WITH_ECC)
    flags = ("-c", str(path), "--instance-type", "inf2.24xlarge")
    levels, tallies = (
        [ecc_readings(each) for each in reports(200, *flags, "--faults", f"ecc-{kind}@3")]
        for kind in ("level", "tally")
    )
    assert levels[2] == tallies[2] == [0] * 24
    total = [0] * 24
    for before, level, tally in zip(levels, levels[1:], tallies[1:], strict=False):
        total = [a + b for a, b in zip(total, tally, strict=True)]
        assert level == total
        assert all(a <= b for a, b in zip(before, level, strict=True))
    assert min(total) >= 1
    assert len(set(total)) > 4


def ecc_readings(report: Report) -> list[int]:
    """Return all ECC readings, in the order of devices."""
    return [
        value
        for device in report["system_data"]["neuron_hw_counters"]["neuron_devices"]
        for name, value in device.items()
        if name != "neuron_device_index"
    ]
