"""A third-party receiver shows what /metrics shows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import Metric

from tests import captures
from tests.conftest import missing
from tests.support.otlp_points import Attributes, Point
from tests.support.piped import PipedExporter, piped_exporter
from tests.support.rotel import Rotel, rotel_program, running_rotel
from tests.support.waiting import wait_for

KINDS = {"counter": "sum", "gauge": "gauge"}
UNITS = {"bytes": "By", "seconds": "s", "ratio": "1"}
OWN = ("neuron_exporter_", "process_", "python_")
NOT_SENT = ("neuron_exporter_series",)
"""A metric with a series for each metric, which only /metrics has."""
VARYING = (
    "process_",
    "python_gc_",
    "neuron_exporter_otlp_",
    "neuron_exporter_sink_",
    "neuron_exporter_spool_",
)
"""Gauges that may change between a scrape and the end of an interval."""

Key = tuple[str, Attributes]


class Sample(NamedTuple):
    """What is compared of a point and of a sample."""

    kind: str
    value: float


@pytest.fixture
def rotel() -> Iterator[Rotel]:
    """Start the receiver."""
    if rotel_program() is None:
        missing("rotel is not installed (PyPI has wheels of it for Python 3.11 to 3.13 on Linux)")
    with running_rotel() as started:
        yield started


def config(rotel: Rotel, **otlp: Any) -> dict[str, Any]:
    """Return a configuration that sends to the receiver every second."""
    return {
        "otlp": {"enabled": True, "endpoint": rotel.url, "interval": "1s", **otlp},
        "identity": {"imds": False, "instance_id": "i-0123456789abcdef0"},
    }


def exposed(families: Iterable[Metric], common: Attributes = ()) -> dict[Key, Sample]:
    """Return the samples of a scrape, each with these labels in addition."""
    return {
        (sample.name, tuple(sorted({**sample.labels, **dict(common)}.items()))): Sample(
            KINDS[family.type], sample.value
        )
        for family in families
        if family.type in KINDS
        for sample in family.samples
        if sample.name not in NOT_SENT
    }


def is_own(key: Key) -> bool:
    """Return whether a series describes the exporter itself."""
    return key[0].startswith(OWN)


def sent(points: Iterable[Point]) -> dict[Key, Sample]:
    """Return the points of one interval that have a value."""
    found = {}
    for point in points:
        key = point.name, point.attributes
        assert key not in found, point
        if point.value is not None:
            found[key] = Sample(point.kind, point.value)
    return found


def intervals(points: Iterable[Point]) -> dict[int, list[Point]]:
    """Return the points by time, without those of the last interval, which may be incomplete."""
    found: dict[int, list[Point]] = {}
    for point in points:
        found.setdefault(point.time, []).append(point)
    found.pop(max(found, default=0), None)
    return found


def wait_for_interval(rotel: Rotel) -> list[Point]:
    """Return the points of the first interval that ends from now on."""
    now = time.time()

    def found() -> list[Point]:
        later = {at: points for at, points in intervals(rotel.points).items() if at / 1e9 > now}
        return later[min(later)] if later else []

    return wait_for(found)


def unit_of(name: str) -> str:
    """Return the unit that a name ends with."""
    return UNITS.get(name.removesuffix("_total").rpartition("_")[2], "")


def assert_agree(rotel: Rotel, exporter: PipedExporter) -> None:
    """Compare the receiver's points of the latest report with /metrics."""
    before = exporter.exporter.families().values()
    points = wait_for_interval(rotel)
    after = exporter.exporter.families().values()
    hardware = {key: sample for key, sample in exposed(after).items() if not is_own(key)}
    found = sent(points)
    assert {key: each for key, each in found.items() if not is_own(key)} == hardware
    assert hardware
    assert {point.name: point.unit for point in points} == {
        point.name: unit_of(point.name) for point in points
    }
    (info,) = (key for key in hardware if key[0] == "instance_info")
    own = {key: each for key, each in found.items() if is_own(key)}
    assert_own_agree(own, exposed(before, info[1]), exposed(after, info[1]))


def assert_own_agree(
    own: Mapping[Key, Sample], before: Mapping[Key, Sample], after: Mapping[Key, Sample]
) -> None:
    """Compare the exporter's own points with scrapes before and after them."""
    own_before, own_after = (
        {key: each for key, each in samples.items() if is_own(key)} for samples in (before, after)
    )
    assert own_before.keys() <= own.keys() <= own_after.keys()
    for key, (kind, value) in own.items():
        assert kind == own_after[key].kind
        low, high = own_before.get(key, own_after[key]).value, own_after[key].value
        if kind == "sum":
            assert key not in own_before or low <= value <= high, key
        elif not key[0].startswith(VARYING):
            assert value in (low, high), key


def assert_starts(points: Iterable[Point]) -> None:
    """Check that each series has one start, which is before its points, and each time once."""
    starts: dict[Key, int] = {}
    times: set[tuple[Key, int]] = set()
    for point in points:
        key = point.name, point.attributes
        assert (point.start > 0) == (point.kind == "sum"), point
        assert point.start <= point.time, point
        assert starts.setdefault(key, point.start) == point.start, point
        assert (key, point.time) not in times, point
        times.add((key, point.time))


@pytest.mark.parametrize("capture", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_machines(tmp_path: Path, rotel: Rotel, capture: Path) -> None:
    """Each report of a recording arrives as /metrics shows it, and so does the first one again,
    with which all counters rise."""
    lines = captures.lines(capture)
    with piped_exporter(tmp_path, config(rotel)) as exporter:
        for line in [*lines, lines[0]]:
            exporter.send_line(line)
            assert_agree(rotel, exporter)
        exporter.end()
    points = rotel.end()
    assert_starts(points)
    (resource,) = {point.resource for point in points}
    assert dict(resource)["service.name"] == "neuron-exporter"
    assert dict(resource)["host.id"] == "i-0123456789abcdef0"
    # The first report adds labels of the machine to the exporter's own series: those without end.
    ended = {point.name for point in points if point.flags}
    assert len(lines) > 1 or all(name.startswith(OWN) for name in ended)
