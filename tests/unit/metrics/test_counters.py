"""Counters never fall, whatever happens to the stream and to the runtimes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_exporter.facts.report_names import ERROR_TYPES, STATUSES
from neuron_exporter.metrics.counters import MAX_NAMES, RETENTION_AFTER_EXIT
from tests.support.reports import Harness, Samples, ecc, executions, group, report, runtime

STATUS = "execution_status_total"
TOTALS = "neuron_executions_total"
ECC = "hardware_ecc_events_total"


def ran(pid: int, tag: str, completed: float, **more: Any) -> dict[str, Any]:
    """Return a runtime that completed this many executions."""
    return runtime(pid, tag, execution_stats=executions(completed, **more))


def test_deltas_of_periods_are_accumulated() -> None:
    harness = Harness()
    for completed in (3, 0, 4):
        samples = harness.samples(report(ran(1, "a", completed, timed_out=1)))
    assert samples.value(STATUS, "a", "completed") == 7
    assert samples.value(STATUS, "a", "timed_out") == 3
    assert samples.value(TOTALS, "completed") == 7


def test_totals_start_at_zero() -> None:
    samples = Harness().samples(report())
    assert samples.values(TOTALS) == {(status,): 0 for status in STATUSES}
    assert samples.values("neuron_execution_errors_total") == {(kind,): 0 for kind in ERROR_TYPES}


def test_totals_outlive_runtimes() -> None:
    harness = Harness()
    harness.collect(report(ran(1, "a", 5), ran(2, "b", 6)))
    harness.now += 10 * RETENTION_AFTER_EXIT
    assert harness.samples(report()).value(TOTALS, "completed") == 11


def test_unknown_status_and_error_are_counted() -> None:
    samples = Harness().samples(report(ran(1, "a", 1, cancelled=2, errors={"collective": 3})))
    assert samples.value(STATUS, "a", "cancelled") == 2
    assert samples.value(TOTALS, "cancelled") == 2
    assert samples.value("neuron_execution_errors_total", "collective") == 3


def test_number_of_names_is_limited() -> None:
    harness = Harness()
    for number in range(3 * MAX_NAMES):
        samples = harness.samples(report(ran(1, "a", 1, **{f"status_{number}": 1})))
    assert len(samples.values(TOTALS)) <= MAX_NAMES
    assert samples.value(TOTALS, "completed") == 3 * MAX_NAMES


def test_counter_of_exited_runtime_stays_for_ten_minutes() -> None:
    harness = Harness()
    harness.collect(report(ran(1, "a", 5)))
    harness.collect(report())
    harness.now += RETENTION_AFTER_EXIT - 20
    assert harness.samples(report()).value(STATUS, "a", "completed") == 5
    harness.now += 20
    collected = harness.collect(report())
    assert Samples(collected.snapshot).values(STATUS) == {}
    assert collected.series_evicted == 0


def test_short_lived_workers_share_one_rising_series() -> None:
    harness = Harness()
    last = 0.0
    for pid in range(100, 400):
        harness.now += 30
        value = harness.samples(report(ran(pid, "worker", 2))).value(STATUS, "worker", "completed")
        assert value == last + 2
        last = value


def test_counter_continues_after_runtime_is_missed_once() -> None:
    harness = Harness()
    harness.collect(report(ran(1, "a", 5)))
    harness.collect(report())
    assert harness.samples(report(ran(1, "a", 3))).value(STATUS, "a", "completed") == 8


def test_counter_of_equal_tags_stays_after_silence() -> None:
    """The ten minutes begin when the last runtime with the labels is missed."""
    harness = Harness()
    harness.collect(report(ran(1, "a", 5), ran(2, "a", 1)))
    harness.collect(report(ran(2, "a", 1)))
    harness.now += RETENTION_AFTER_EXIT + 60
    assert harness.samples(report()).value(STATUS, "a", "completed") == 7
    harness.now += RETENTION_AFTER_EXIT - 20
    assert harness.samples(report()).value(STATUS, "a", "completed") == 7
    harness.now += 20
    assert harness.samples(report()).values(STATUS) == {}


def test_counter_starts_at_zero_with_the_first_healthy_group() -> None:
    harness = Harness()
    null = group(execution_summary=None, error_summary=None)
    samples = harness.samples(report(runtime(1, "a", execution_stats=null)))
    assert samples.values(STATUS) == {("a", status): 0 for status in STATUSES}
    assert samples.values("execution_errors_total") == {("a", kind): 0 for kind in ERROR_TYPES}
    harness.collect(report(ran(1, "a", 0, cancelled=0)))
    assert harness.samples(report(ran(1, "a", 0))).value(STATUS, "a", "cancelled") == 0


def test_reused_pid_with_other_tag_is_another_runtime() -> None:
    harness = Harness()
    harness.collect(report(ran(1, "a", 5)))
    samples = harness.samples(report(ran(1, "b", 2)))
    assert samples.value(STATUS, "a", "completed") == 5
    assert samples.value(STATUS, "b", "completed") == 2


def test_group_with_error_leaves_counter_unchanged() -> None:
    harness = Harness()
    harness.collect(report(ran(1, "a", 5)))
    broken = {**executions(100), "error": "broken"}
    samples = harness.samples(report(runtime(1, "a", execution_stats=broken)))
    assert samples.value(STATUS, "a", "completed") == 5


def test_generic_errors_are_ignored_by_default() -> None:
    samples = Harness().samples(report(ran(1, "a", 1, errors={"generic": 23654})))
    assert samples.value("execution_errors_total", "a", "generic") is None
    assert samples.value("neuron_execution_errors_total", "generic") is None


def test_generic_errors_as_level() -> None:
    harness = Harness(generic="level")
    values = []
    for level in (23654, 23692, 23749, 10):
        samples = harness.samples(report(ran(1, "a", 1, errors={"generic": level})))
        values.append(samples.value("execution_errors_total", "a", "generic"))
    assert values == [0, 38, 95, 105]
    assert samples.value("neuron_execution_errors_total", "generic") == 105


@pytest.mark.parametrize(
    ("mode", "start", "values"),
    [
        ("reset_aware", 0, [0, 5, 5, 7, 9]),
        ("level", 0, [0, 5, 5, 7, 7]),
        ("tally", 0, [0, 5, 10, 17, 19]),
    ],
)
def test_ecc_modes(mode: str, start: float, values: list[float]) -> None:
    """A decrease is a reset, or it is ignored, or every reading is added, as configured."""
    harness = Harness(ecc=mode)
    counted = []
    for reading in (0, 5, 5, 7, 2):
        document = report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": reading})})
        counted.append(harness.samples(document).value(ECC, "0", "mem_ecc_corrected"))
    assert counted == values


@pytest.mark.parametrize(("mode", "start"), [("reset_aware", 4), ("level", 4), ("tally", 0)])
def test_first_ecc_reading_is_start_value(mode: str, start: float) -> None:
    document = report(system_data={"neuron_hw_counters": ecc({"sram_ecc_uncorrected": 4})})
    snapshot = Harness(ecc=mode).collect(document).snapshot
    series = next(s for s in snapshot.shape if s.split_value == "sram_ecc_uncorrected")
    assert series.start_value == start
    assert snapshot.values[snapshot.shape.index(series)] == 4


def test_ecc_counter_continues_after_missing_group() -> None:
    harness = Harness()
    hardware = [ecc({"mem_ecc_corrected": n}) for n in (1, 3, 6)]
    harness.collect(report(system_data={"neuron_hw_counters": hardware[0]}))
    harness.collect(report(system_data={"neuron_hw_counters": hardware[1]}))
    assert harness.samples(report()).value(ECC, "0", "mem_ecc_corrected") == 3
    assert harness.samples(report()).values("neurondevice_ecc_reading") == {}
    again = harness.samples(report(system_data={"neuron_hw_counters": hardware[2]}))
    assert again.value(ECC, "0", "mem_ecc_corrected") == 6


def test_null_ecc_reading_is_no_reset() -> None:
    harness = Harness()
    for reading in (5, None, 6):
        counters = group(
            neuron_devices=[
                {"neuron_device_index": 0, "mem_ecc_corrected": reading, "sram_ecc_corrected": 1}
            ]
        )
        samples = harness.samples(report(system_data={"neuron_hw_counters": counters}))
    assert samples.value(ECC, "0", "mem_ecc_corrected") == 6
    assert samples.value(ECC, "0", "mem_ecc_uncorrected") is None


workers = st.lists(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from("ab1"), st.integers(0, 9)),
        max_size=4,
        unique_by=lambda worker: worker[:2],
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(workers, st.lists(st.sampled_from([0, 5, 300, 700]), min_size=12, max_size=12))
def test_no_counter_ever_falls(reports: list[Any], pauses: list[int]) -> None:
    harness = Harness()
    last: dict[tuple[str, ...], float] = {}
    total = 0.0
    for processes, pause in zip(reports, pauses, strict=False):
        harness.now += pause
        samples = harness.samples(report(*(ran(*process) for process in processes)))
        total += sum(completed for _, _, completed in processes)
        now = samples.values(STATUS)
        for key, value in now.items():
            assert value >= last.get(key, 0)
        last = now
        assert samples.value(TOTALS, "completed") == total
