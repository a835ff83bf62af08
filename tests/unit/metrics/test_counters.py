"""Counters only rise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_exporter.metrics.counters import ERROR_TYPES, KEPT_AFTER_EXIT, MOST_NAMES, STATUSES
from tests.support.reports import Bench, ecc, executions, group, report, runtime

STATUS = "execution_status_total"
TOTALS = "neuron_executions_total"
ECC = "hardware_ecc_events_total"


def ran(pid: int, tag: str, completed: float, **more: Any) -> dict[str, Any]:
    """A runtime that completed so many executions."""
    return runtime(pid, tag, execution_stats=executions(completed, **more))


def test_tallies_of_periods_are_accumulated() -> None:
    """A counter is the sum of what each report says of its period."""
    bench = Bench()
    for completed in (3, 0, 4):
        samples = bench.samples(report(ran(1, "a", completed, timed_out=1)))
    assert samples.one(STATUS, "a", "completed") == 7
    assert samples.one(STATUS, "a", "timed_out") == 3
    assert samples.one(TOTALS, "completed") == 7


def test_totals_stand_at_zero_from_the_first_report() -> None:
    """Alerts on a machine's totals have a series before anything has happened."""
    samples = Bench().samples(report())
    assert samples.of(TOTALS) == {(status,): 0 for status in STATUSES}
    assert samples.of("neuron_execution_errors_total") == {(kind,): 0 for kind in ERROR_TYPES}


def test_totals_outlive_every_runtime() -> None:
    """What gone runtimes have done stays in the machine's totals for ever."""
    bench = Bench()
    bench.collect(report(ran(1, "a", 5), ran(2, "b", 6)))
    bench.now += 10 * KEPT_AFTER_EXIT
    assert bench.samples(report()).one(TOTALS, "completed") == 11


def test_an_unknown_status_or_error_counts_too() -> None:
    """A status that a later SDK adds shows itself as one more label value."""
    samples = Bench().samples(report(ran(1, "a", 1, cancelled=2, errors={"collective": 3})))
    assert samples.one(STATUS, "a", "cancelled") == 2
    assert samples.one(TOTALS, "cancelled") == 2
    assert samples.one("neuron_execution_errors_total", "collective") == 3


def test_names_are_bounded() -> None:
    """A stream that invents statuses cannot make series without end."""
    bench = Bench()
    for number in range(3 * MOST_NAMES):
        samples = bench.samples(report(ran(1, "a", 1, **{f"status_{number}": 1})))
    assert len(samples.of(TOTALS)) <= MOST_NAMES
    assert samples.one(TOTALS, "completed") == 3 * MOST_NAMES


def test_a_gone_runtime_stays_until_its_last_tally_was_scraped() -> None:
    """The series of a gone runtime keeps its value for ten minutes, then it ends."""
    bench = Bench()
    bench.collect(report(ran(1, "a", 5)))
    bench.collect(report())
    bench.now += KEPT_AFTER_EXIT - 20
    assert bench.samples(report()).one(STATUS, "a", "completed") == 5
    bench.now += 20
    assert bench.samples(report()).of(STATUS) == {}


def test_short_workers_with_one_tag_make_one_rising_series() -> None:
    """Workers that come and go with one tag add up, however long it lasts, and never fall."""
    bench = Bench()
    last = 0.0
    for pid in range(100, 400):
        bench.now += 30
        value = bench.samples(report(ran(pid, "worker", 2))).one(STATUS, "worker", "completed")
        assert value == last + 2
        last = value


def test_a_runtime_that_is_missed_once_goes_on() -> None:
    """A report that leaves a runtime out does not make its counter fall or start again."""
    bench = Bench()
    bench.collect(report(ran(1, "a", 5)))
    bench.collect(report())
    assert bench.samples(report(ran(1, "a", 3))).one(STATUS, "a", "completed") == 8


def test_a_reused_pid_with_another_tag_is_another_runtime() -> None:
    """Runtimes are told apart by pid and tag together."""
    bench = Bench()
    bench.collect(report(ran(1, "a", 5)))
    samples = bench.samples(report(ran(1, "b", 2)))
    assert samples.one(STATUS, "a", "completed") == 5
    assert samples.one(STATUS, "b", "completed") == 2


def test_a_group_with_an_error_adds_nothing_and_loses_nothing() -> None:
    """A counter stands still while its group cannot be read."""
    bench = Bench()
    bench.collect(report(ran(1, "a", 5)))
    broken = {**executions(100), "error": "broken"}
    samples = bench.samples(report(runtime(1, "a", execution_stats=broken)))
    assert samples.one(STATUS, "a", "completed") == 5


def test_generic_errors_are_ignored_unless_they_are_asked_for() -> None:
    """The `generic` of 2022 grows by itself; by default it is no error."""
    samples = Bench().samples(report(ran(1, "a", 1, errors={"generic": 23654})))
    assert samples.one("execution_errors_total", "a", "generic") is None
    assert samples.one("neuron_execution_errors_total", "generic") is None


def test_generic_errors_as_a_level() -> None:
    """Asked for, `generic` counts by how much it rose, from where it first stood."""
    bench = Bench(generic="level")
    values = []
    for level in (23654, 23692, 23749, 10):
        samples = bench.samples(report(ran(1, "a", 1, errors={"generic": level})))
        values.append(samples.one("execution_errors_total", "a", "generic"))
    assert values == [0, 38, 95, 105]
    assert samples.one("neuron_execution_errors_total", "generic") == 105


@pytest.mark.parametrize(
    ("mode", "start", "values"),
    [
        ("reset_aware", 0, [0, 5, 5, 7, 9]),
        ("level", 0, [0, 5, 5, 7, 7]),
        ("tally", 0, [0, 5, 10, 17, 19]),
    ],
)
def test_ecc_is_counted_as_configured(mode: str, start: float, values: list[float]) -> None:
    """0, 5, 5, 7, 2 makes 9 when a fall is a reset, 7 as a level, 19 as tallies."""
    bench = Bench(ecc=mode)
    seen = []
    for reading in (0, 5, 5, 7, 2):
        document = report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": reading})})
        seen.append(bench.samples(document).one(ECC, "0", "mem_ecc_corrected"))
    assert seen == values


@pytest.mark.parametrize(("mode", "start"), [("reset_aware", 4), ("level", 4), ("tally", 0)])
def test_the_first_ecc_reading_is_a_baseline(mode: str, start: float) -> None:
    """A counter that starts at a level has counted nothing yet, and its series says so."""
    document = report(system_data={"neuron_hw_counters": ecc({"sram_ecc_uncorrected": 4})})
    snapshot = Bench(ecc=mode).collect(document).snapshot
    series = next(s for s in snapshot.shape if s.by == "sram_ecc_uncorrected")
    assert series.start == start
    assert snapshot.values[snapshot.shape.index(series)] == 4


def test_ecc_survives_a_report_without_the_group() -> None:
    """A device that is not read for a while goes on counting from where it was."""
    bench = Bench()
    hardware = [ecc({"mem_ecc_corrected": n}) for n in (1, 3, 6)]
    bench.collect(report(system_data={"neuron_hw_counters": hardware[0]}))
    bench.collect(report(system_data={"neuron_hw_counters": hardware[1]}))
    assert bench.samples(report()).of(ECC) == {}
    again = bench.samples(report(system_data={"neuron_hw_counters": hardware[2]}))
    assert again.one(ECC, "0", "mem_ecc_corrected") == 6


def test_a_null_ecc_reading_is_no_reset() -> None:
    """A reading that is missing once neither counts nor resets, and does not take others along."""
    bench = Bench()
    for reading in (5, None, 6):
        counters = group(
            neuron_devices=[
                {"neuron_device_index": 0, "mem_ecc_corrected": reading, "sram_ecc_corrected": 1}
            ]
        )
        samples = bench.samples(report(system_data={"neuron_hw_counters": counters}))
    assert samples.one(ECC, "0", "mem_ecc_corrected") == 6
    assert samples.one(ECC, "0", "mem_ecc_uncorrected") is None


workers = st.lists(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from("ab1"), st.integers(0, 9)),
        max_size=4,
        unique_by=lambda worker: worker[:2],
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(workers, st.lists(st.sampled_from([0, 5, 300, 700]), min_size=12, max_size=12))
def test_no_series_ever_falls(reports: list[Any], pauses: list[int]) -> None:
    """Whatever comes, goes and shares tags: a counter rises, or its series has ended before."""
    bench = Bench()
    last: dict[tuple[str, ...], float] = {}
    total = 0.0
    for processes, pause in zip(reports, pauses, strict=False):
        bench.now += pause
        samples = bench.samples(report(*(ran(*process) for process in processes)))
        total += sum(completed for _, _, completed in processes)
        now = samples.of(STATUS)
        for key, value in now.items():
            assert value >= last.get(key, 0)
        last = now
        assert samples.one(TOTALS, "completed") == total
