"""Faults of processes and of reports: each does what its row says, and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from neuron_exporter.report import decode
from neuron_exporter.simulator.context import Then
from neuron_exporter.simulator.faults import FAULTS, When
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.processes import PERCENTILES
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

WITH_ECC = '{"period": "5s", "system_metrics": [{"type": "neuron_hw_counters"}]}'


def leaves(value: Any) -> Iterator[Any]:
    """Everything in a report that holds nothing else."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_all_faults_get_along(seed: str) -> None:
    """Every fault at once, but for those that end the run, is written without a failure, and the
    same in whichever order they were asked for."""
    names = [name for name, fault in FAULTS.items() if fault.when is not When.ONCE]
    first, second = (
        Machine(parse(["--faults", ",".join(each), "--scenario", "mixed", "--seed", seed, *SMALL]))
        for each in (names, names[::-1])
    )
    for number in range(12):
        output = first.output(number)
        assert output == second.output(number)
        assert output.then is Then.GO_ON


@pytest.mark.parametrize("name", [name for name, row in FAULTS.items() if row.when is When.ON])
def test_what_lasts_begins_at_its_report(name: str) -> None:
    """NAME@4 changes nothing before the fourth report, and lasts from there on."""
    flags = ("--runtimes", "6", "--instance-type", "inf2.24xlarge")
    plain, faulty = reports(12, *flags), reports(12, *flags, "--faults", f"{name}@4")
    assert faulty[:3] == plain[:3]
    if not name.startswith("ecc"):  # errors of the memory are rare, and not asked for by default
        assert any(one != other for one, other in zip(faulty[4:], plain[4:], strict=True))


@pytest.mark.parametrize("name", ["nan", "latency-spikes"])
def test_what_comes_often_comes_once_with_a_number(name: str) -> None:
    """NAME@4 is at the fourth report alone; without a number it comes again and again."""
    plain, once = reports(40, *SMALL), reports(40, *SMALL, "--faults", f"{name}@4")
    often = reports(40, *SMALL, "--faults", name)
    differing = [n for n in range(40) if repr(once[n]) != repr(plain[n])]
    assert differing == [3]
    assert 3 <= sum(repr(often[n]) != repr(plain[n]) for n in range(40)) <= 20


# Processes


def test_same_tags_leave_only_process_ids() -> None:
    """Every runtime carries the tag 1, as those of containers do; process ids still differ."""
    (report,) = reports(1, "--faults", "same-tags", "--runtimes", "5")
    assert {each["neuron_runtime_tag"] for each in report["neuron_runtime_data"]} == {"1"}
    assert len({each["pid"] for each in report["neuron_runtime_data"]}) == 5


def test_churn_brings_other_processes() -> None:
    """No runtime outlives twelve reports, none comes back with its process id, its successor has
    its tag, and the first report of each newcomer covers moments only."""
    many = reports(60, "--faults", "churn", "--runtimes", "4")
    seen: dict[int, list[int]] = {}
    for number, runtime in runtimes(many):
        seen.setdefault(runtime["pid"], []).append(number)
        if number and seen[runtime["pid"]] == [number]:
            period = runtime["report"]["execution_stats"]["period"]
            assert 0 < period < 0.1
    assert len(seen) >= 16
    for numbers in seen.values():
        assert len(numbers) <= 12
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert len({runtime["neuron_runtime_tag"] for _, runtime in runtimes(many)}) == 4
    assert {len(report["neuron_runtime_data"]) for report in many} > {4}


def test_a_hang_is_busy_and_completes_nothing() -> None:
    """All cores of all runtimes are at 100 %, no execution ends, and there is no latency."""
    for report in reports(5, "--faults", "hang", "--runtimes", "4"):
        assert set(busy(report).values()) == {100.0}
        for stats in executions(report):
            assert set(stats["execution_summary"].values()) == {0}
            assert stats["latency_stats"] == {"total_latency": None, "device_latency": None}


def test_memory_fills_until_it_is_full() -> None:
    """Device memory only rises, is full after five minutes, and is never more than there is."""
    many = reports(65, *SMALL, "--scenario", "training", "--faults", "memory-filling")
    room = hardware("inf2.xlarge").core_memory
    held = [min(memory(report).values()) / room for report in many]
    assert held[0] < 0.8
    assert all(later >= held[n] - 0.03 for n, later in enumerate(held[1:]))
    assert all(share > 0.97 for share in held[60:])
    assert all(max(memory(report).values()) <= room for report in many)


def test_spikes_slow_the_slowest() -> None:
    """p99 and p100 jump at least twentyfold, the median does not, and percentiles still rise."""
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


def test_executions_fail_in_every_way() -> None:
    """Each status and each kind of error is counted, beside what completes."""
    for stats in executions(reports(2, *SMALL, "--faults", "execution-errors")[1]):
        assert min(stats["execution_summary"].values()) > 0
        assert min(stats["error_summary"].values()) > 0


# Reports


def test_the_first_period_can_be_none_or_whole() -> None:
    """Shorter than short is 0 s, in which nothing completes; `whole` covers the period."""
    (short,) = reports(1, *SMALL, "--faults", "short-first-period")
    (whole,) = reports(1, *SMALL, "--faults", "whole-first-period")
    assert {group["period"] for _, group in groups(short)} == {0.0}
    assert {group["period"] for _, group in groups(whole)} == {5.0}
    assert completed(short) == 0
    assert completed(whole) > 1000
    later = reports(3, *SMALL, "--faults", "short-first-period@3")[2]
    assert {group["period"] for _, group in groups(later)} == {0.0}


def test_nulls_are_anywhere_and_cost_nothing_else() -> None:
    """Over some reports sections, groups and readings are null; the decoder takes it all."""
    many = reports(40, *SMALL, "--faults", "nulls")
    assert all(None in leaves(report) for report in many)
    assert any(value is None for report in many for value in report.values())
    for report in many:
        assert decode(json.dumps(report).encode()).faults == ()


def test_no_numbers_are_told_and_cost_only_themselves() -> None:
    """NaN and infinities are tokens that JSON does not have; the decoder names each reading that it
    cannot take, and keeps the rest."""
    tokens = set()
    for number, report in enumerate(reports(60, *SMALL, "--faults", "nan")):
        line = json.dumps(report).encode()
        wrong = [x for x in leaves(report) if isinstance(x, float) and not math.isfinite(x)]
        tokens |= {json.dumps(x) for x in wrong}
        decoded = decode(line)
        assert len(decoded.faults) <= len(wrong), number
        assert bool(decoded.faults) <= bool(wrong)
        assert decoded.report.instance_info is not None
    assert tokens == {"NaN", "Infinity", "-Infinity"}


def test_groups_in_error_keep_their_zeros() -> None:
    """CPU shares of runtimes always carry the error of a missing process id; every other group
    does at times, and each with zeros where readings were."""
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


def test_levels_are_the_sums_of_tallies(tmp_path: Any) -> None:
    """The two kinds of ECC readings tell the same errors: what a level has risen by is the sum of
    the tallies, errors there are, and levels never fall."""
    path = tmp_path / "neuron-monitor.json"
    path.write_text(WITH_ECC)
    flags = ("-c", str(path), "--instance-type", "inf2.24xlarge")
    levels, tallies = (
        [devices(each) for each in reports(200, *flags, "--faults", f"ecc-{kind}@3")]
        for kind in ("level", "tally")
    )
    assert levels[2] == tallies[2] == [0] * 24
    so_far = [0] * 24
    for before, level, tally in zip(levels, levels[1:], tallies[1:], strict=False):
        so_far = [a + b for a, b in zip(so_far, tally, strict=True)]
        assert level == so_far
        assert all(a <= b for a, b in zip(before, level, strict=True))
    assert min(so_far) >= 1
    assert len(set(so_far)) > 4


def devices(report: Report) -> list[int]:
    """All ECC readings, in the order of devices."""
    return [
        value
        for device in report["system_data"]["neuron_hw_counters"]["neuron_devices"]
        for name, value in device.items()
        if name != "neuron_device_index"
    ]
