"""Groups that are not due in every report: neuron-monitor leaves them out or repeats them."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.model import Machine, Owners, Timestamp
from tests.support.mixed_periods import OMISSIONS, MixedReports, Omission, leave_out
from tests.support.reports import (
    Harness,
    Samples,
    cores,
    decode_document,
    ecc,
    executions,
    group,
    report,
    runtime,
)

UTILIZATION = "neuroncore_utilization_ratio"
RAW_ECC = "neurondevice_ecc_reading"
COMPLETED = "neuron_executions_total"


class MixedStream:
    """A collector that reads a report each second, in which each group has its own period."""

    def __init__(self, omit: Omission = leave_out, ecc: str = "reset_aware") -> None:
        self.reports = MixedReports(omit)
        self._collector = Harness(period=None, ecc=ecc).collector

    def next(self, **changes: Any) -> Samples:
        """Return the samples of the next second; `changes` replace sections of the report."""
        document = {**self.reports.next(), **changes}
        now = 100.0 + self.reports.count
        at = Timestamp(1_700_000_000 + now, now)
        read = decode_document(document)
        return Samples(self._collector.collect(read, at, Machine(), Owners()).snapshot)

    def advance(self, seconds: int) -> Samples:
        """Return the samples after so many seconds."""
        for _ in range(seconds):
            samples = self.next()
        return samples


@pytest.mark.parametrize("omit", OMISSIONS)
def test_no_series_comes_and_goes(omit: Omission) -> None:
    stream = MixedStream(omit)
    stream.advance(10)  # the longest gap between executions is known after the first
    expected = None
    for _ in range(40):
        samples = stream.next()
        present = {
            series
            for series, value in zip(samples.snapshot.shape, samples.snapshot.values, strict=True)
            if value is not None and not isinstance(value, tuple)
        }
        expected = expected or present
        assert present == expected
    assert len(samples.values(UTILIZATION)) == 4


@pytest.mark.parametrize("omit", OMISSIONS)
def test_events_are_counted_once(omit: Omission) -> None:
    stream = MixedStream(omit)
    samples = stream.advance(40)
    assert samples.value(COMPLETED, "completed") == 8 * 4
    assert samples.value("system_context_switches_total") == 400
    assert samples.value("hardware_ecc_events_total", "0", "mem_ecc_corrected") == 1


@pytest.mark.parametrize("omit", OMISSIONS)
def test_tallies_of_ecc_events_are_counted_once(omit: Omission) -> None:
    samples = MixedStream(omit, ecc="tally").advance(40)
    assert samples.value("hardware_ecc_events_total", "0", "mem_ecc_corrected") == 20
    assert samples.value(RAW_ECC, "0", "mem_ecc_corrected") == 1


@pytest.mark.parametrize("omit", OMISSIONS)
def test_latency_distribution_has_each_execution_once(omit: Omission) -> None:
    stream = MixedStream(omit)
    counted = 0.0
    for _ in range(40):
        for value in stream.next().values("execution_latency_distribution").values():
            counted += sum(number for _, number in value)
    assert counted == 8 * 4


def test_reading_is_kept_for_three_periods() -> None:
    stream = MixedStream()
    stream.advance(19)  # the last report has both groups
    missing = {"system_data": {"vcpu_usage": group(period=1.0)}}
    for age in range(1, 12):
        samples = stream.next(**missing)
        assert (samples.value(RAW_ECC, "0", "mem_ecc_corrected") is not None) == (age <= 3 * 2)
        assert (samples.value("system_memory_used_bytes") is not None) == (age <= 3 * 3)


def test_error_ends_a_reading_at_once() -> None:
    stream = MixedStream()
    stream.advance(22)
    failing = {"neuron_hw_counters": ecc({}, error="broken"), "vcpu_usage": group(period=1.0)}
    for changes in ({"system_data": failing}, {}):
        samples = stream.next(**changes)
        assert samples.values(RAW_ECC) == {}


def test_empty_list_ends_runtimes_at_once() -> None:
    stream = MixedStream()
    stream.reports.runtimes = None
    assert stream.advance(21).value(UTILIZATION, "0") == 0.5
    stream.reports.runtimes = []
    samples = stream.advance(5)
    assert samples.value(UTILIZATION, "0") == 0
    assert samples.values("neuron_runtime_memory_used_bytes") == {}
    for _ in range(9):
        assert set(stream.next().values(UTILIZATION).values()) == {0}


def test_runtime_with_an_error_ends_at_once() -> None:
    stream = MixedStream()
    stream.advance(20)
    stream.reports.runtimes = [runtime(1, error="gone")]
    stream.next()
    assert stream.next().values(UTILIZATION) == {}


def test_group_of_a_runtime_that_is_not_due() -> None:
    """The reports list the runtimes each second, with the groups that are due."""
    stream = MixedStream()
    for second in range(20):
        groups = {"neuroncore_counters": {**cores(_0=50, _1=0), "period": 1.0}}
        if second % 5 == 0:
            groups["execution_stats"] = {**executions(3, {"p50": 0.1}), "period": 5.0}
        samples = stream.next(neuron_runtime_data=[runtime(1, "app", "", **groups)])
    assert samples.value(COMPLETED, "completed") == 4 * 3
    assert samples.value("execution_latency_seconds", "app", "p50") == 0.1


@pytest.mark.parametrize("gone", [{}, {"neuron_hw_counters": None}])
def test_equal_periods_keep_nothing(gone: dict[str, Any]) -> None:
    harness = Harness(period=None)
    complete = {"neuron_hw_counters": ecc({}), "memory_info": group(memory_used_bytes=7)}
    for _ in range(9):
        harness.collect(report(system_data=complete))
    samples = harness.samples(report(system_data={"memory_info": group(), **gone}))
    assert samples.values(RAW_ECC) == {}


def test_recorded_identical_readings_are_counted_if_the_periods_are_equal() -> None:
    harness = Harness(period=None)
    for _ in range(9):
        samples = harness.samples(report(runtime(execution_stats=executions(4))))
    assert samples.value(COMPLETED, "completed") == 36
