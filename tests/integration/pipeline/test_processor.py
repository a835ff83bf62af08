"""Unknown fields that the report processor finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.pipeline.processor import MAX_LOGGED_KINDS
from tests.support.report_feed import Feed
from tests.support.reports import group, report, runtime

UNKNOWN = "neuron_exporter_unknown_fields_total"


@pytest.fixture
def feed() -> Iterator[Feed]:
    """Return a processor with a period of 5 s."""
    with capture_logs() as events:
        yield Feed(events)


def new_fields(*names: str) -> Any:
    """Return a report with unknown fields in the last of three runtimes."""
    used = {"neuroncore_utilization": 5, **{name: {"deep": 1} for name in names}}
    last = runtime(3, "c", neuroncore_counters=group(neuroncores_in_use={"0": used}))
    return report(runtime(1, "a"), runtime(2, "b"), last)


def test_unknown_fields_that_come_and_go(feed: Feed) -> None:
    """A field is found within a minute, however long the process has run and whatever is known
    already, and counted once."""
    hour = int(3600 / 5)
    for names, expected in (
        ([], 0),
        (["new"], 1),  # after an hour
        ([], 1),  # it is gone
        (["new"], 1),  # it is back
        (["new", "newer"], 2),  # another one beside it
        (["newest"], 3),  # another one in its place
    ):
        for _ in range(hour):
            feed.process(report())
        for _ in range(13):
            feed.process(new_fields(*names))
        assert feed.counter(UNKNOWN) == expected, names
    paths = [path for event, path in feed.new_events() if event == "unknown_field"]
    assert [path.rpartition("{}.")[2] for path in paths] == ["new", "newer", "newest"]


def test_unknown_field_of_another_version_is_found_at_once(feed: Feed) -> None:
    feed.process(report())
    feed.processor.on_restart("exited", 0.0)
    feed.process(new_fields("new"))
    assert feed.counter(UNKNOWN) == 1


def test_unknown_fields_are_bounded(feed: Feed) -> None:
    """New names in every scan cost neither memory nor scans for ever."""
    for number in range(3 * MAX_LOGGED_KINDS):
        feed.process(new_fields(f"name{number}"), after=60)
    assert feed.counter(UNKNOWN) == MAX_LOGGED_KINDS
    assert len(feed.processor._unknown) == MAX_LOGGED_KINDS
