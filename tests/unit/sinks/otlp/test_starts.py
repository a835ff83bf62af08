"""Counters keep the time since which they count."""

from __future__ import annotations

from dataclasses import replace

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import Timestamp
from neuron_exporter.sinks.otlp.starts import Starts, StartTimes
from tests.support.reports import Harness, executions, report, runtime

STARTED = 1000.0


class Observer:
    """Start times of the reports of one machine."""

    def __init__(self) -> None:
        self._harness = Harness()
        self._starts = StartTimes(STARTED, 60.0, CATALOGUE)

    def observe(self, wall: float, *tags: str) -> dict[str, float]:
        """Add a report of runtimes with these tags; return the start of each by its tag."""
        runtimes = [
            runtime(number, tag, execution_stats=executions(1))
            for number, tag in enumerate(tags, 1)
        ]
        snapshot = self._harness.collect(report(*runtimes)).snapshot
        snapshot = replace(snapshot, taken_at=Timestamp(wall, wall))
        return by_tag(self._starts.observe(snapshot))


def by_tag(starts: Starts) -> dict[str, float]:
    """Return the starts of completed executions."""
    return {
        dict(labels)["runtime_tag"]: start
        for (row, labels), start in starts.items()
        if row.name == "execution_status_total" and ("status_type", "completed") in labels
    }


def test_a_counter_of_the_first_report_starts_with_the_exporter() -> None:
    observer = Observer()
    assert observer.observe(1005, "a") == {"a": STARTED}


def test_a_later_counter_starts_with_the_report_before_it() -> None:
    observer = Observer()
    observer.observe(1005, "a")
    observer.observe(1010, "a")
    assert observer.observe(1015, "a", "b") == {"a": STARTED, "b": 1010}


def test_a_counter_outlives_its_runtime() -> None:
    observer = Observer()
    observer.observe(1005, "a")
    assert observer.observe(1010) == {"a": STARTED}
    assert observer.observe(1015, "a") == {"a": STARTED}


def test_a_counter_that_was_deselected_keeps_its_start() -> None:
    harness, starts = Harness(), StartTimes(STARTED, 60.0, CATALOGUE)
    busy = runtime(1, "a", execution_stats=executions(1))

    def observe(wall: float) -> Starts:
        snapshot = harness.collect(report(busy)).snapshot
        return starts.observe(replace(snapshot, taken_at=Timestamp(wall, wall)))

    observe(1005)
    others = [row for row in CATALOGUE if row.name != "execution_status_total"]
    harness.collector.set_rows(others)
    starts.select(others)
    assert by_tag(observe(1010)) == {}
    harness.collector.set_rows(CATALOGUE)
    starts.select(CATALOGUE)
    assert by_tag(observe(1015)) == {"a": STARTED}


def test_no_counter_starts_in_the_future_after_the_clock_was_set_back() -> None:
    observer = Observer()
    observer.observe(1005, "a")
    assert observer.observe(500, "a") == {"a": 500}
    assert observer.observe(505, "a", "b") == {"a": 500, "b": 500}
