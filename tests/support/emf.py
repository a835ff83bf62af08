"""Validator of the Embedded Metric Format, after its published specification."""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import pytest
from botocore.session import Session

UNITS = set(Session().get_service_model("cloudwatch").shape_for("StandardUnit").enum)
MAX_LINE = 15 * 1024

Key = tuple[str, frozenset[tuple[str, str]], float]
"""Name, dimensions and timestamp (Unix seconds) of a metric."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs), f"duplicate member in {pairs}"
    return dict(pairs)


def _reject(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def _text(value: Any, longest: int) -> None:
    assert isinstance(value, str)
    assert 1 <= len(value) <= longest
    assert value.isascii()
    assert value.isprintable()
    assert value.strip()


def _number(value: Any) -> None:
    assert isinstance(value, int | float)
    assert not isinstance(value, bool)
    assert math.isfinite(value)
    assert abs(value) <= 2**360


def readings(target: Any) -> Counter[float]:
    """Return the readings in a metric's value; fail if it has none of the three valid forms."""
    if not isinstance(target, dict):
        values = target if isinstance(target, list) else [target]
        counts = [1] * len(values)
    else:
        assert set(target) == {"Values", "Counts", "Count"}
        values, counts = target["Values"], target["Counts"]
        assert target["Count"] == sum(counts)
    assert 1 <= len(values) <= 100
    assert len(set(values)) == len(values)
    for each in (*values, *counts):
        _number(each)
    assert all(count > 0 for count in counts)
    return Counter(dict(zip(map(float, values), counts, strict=True)))


def validate(line: bytes) -> dict[str, Any]:
    """Return the document of a line; fail if it violates a rule."""
    assert len(line) <= MAX_LINE
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    document: dict[str, Any] = json.loads(
        line, object_pairs_hook=_no_duplicates, parse_constant=_reject
    )
    metadata = document["_aws"]
    assert set(metadata) == {"Timestamp", "CloudWatchMetrics"}
    assert type(metadata["Timestamp"]) is int
    assert metadata["Timestamp"] > 10**12, "milliseconds, not seconds"
    used = {"_aws"}
    assert metadata["CloudWatchMetrics"]
    for directive in metadata["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        _text(directive["Namespace"], 255)
        assert directive["Dimensions"]
        sets = [frozenset(names) for names in directive["Dimensions"]]
        assert len(set(sets)) == len(sets), "a duplicate set counts everything twice"
        for names in directive["Dimensions"]:
            assert len(set(names)) == len(names) <= 30
            for name in names:
                _text(name, 255)
                assert not name.startswith(":")
                _text(document[name], 1024)
            used |= set(names)
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert {"Name"} <= set(metric) <= {"Name", "Unit", "StorageResolution"}
            _text(metric["Name"], 255)
            assert metric["Name"] not in used, "a member with two meanings"
            used.add(metric["Name"])
            assert metric["Unit"] in UNITS
            readings(document[metric["Name"]])
    assert used == set(document), "unused members cost money"
    return document


def published(lines: Iterable[bytes]) -> dict[Key, Counter[float]]:
    """Validate the lines, and return the readings that CloudWatch extracts from them."""
    found: dict[Key, Counter[float]] = {}
    for line in lines:
        document = validate(line)
        stamp = document["_aws"]["Timestamp"] / 1000
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = frozenset((name, document[name]) for name in names)
                for metric in directive["Metrics"]:
                    key = (metric["Name"], dimensions, stamp)
                    found.setdefault(key, Counter()).update(readings(document[metric["Name"]]))
    return found


def sent(datums: Iterable[dict[str, Any]]) -> dict[Key, Counter[float]]:
    """Return the readings of PutMetricData's datums; timestamps are dates or Unix seconds."""
    found: dict[Key, Counter[float]] = {}
    for datum in datums:
        stamp = datum["Timestamp"]
        seconds = stamp if isinstance(stamp, int | float) else stamp.timestamp()
        dimensions = frozenset((each["Name"], each["Value"]) for each in datum["Dimensions"])
        values = datum.get("Values", [datum.get("Value")])
        counts = datum.get("Counts", [1] * len(values))
        key = (datum["MetricName"], dimensions, seconds)
        pooled = found.setdefault(key, Counter())
        for value, count in zip(values, counts, strict=True):
            pooled[float(value)] += count
    return found


def assert_stands_for(thin: Counter[float], full: Counter[float]) -> None:
    """Assert that `thin` represents `full`.

    Up to 100 values are equal; of more, the extremes, the count, the sum and the rank of every
    percentile.
    """
    if len(full) <= 100:
        assert thin == full
        return
    assert len(thin) <= 100
    assert (min(thin), max(thin)) == (min(full), max(full))
    assert thin[min(full)] == full[min(full)]
    assert thin[max(full)] == full[max(full)]
    assert sum(thin.values()) == sum(full.values())
    size = sum(abs(value) * count for value, count in full.items())
    assert weighted_sum(thin) == pytest.approx(weighted_sum(full), abs=1e-12 * size)
    values = sorted(full)
    reached = [0.0, *accumulate(full[value] for value in values)]
    total = reached[-1]
    seen = 0.0
    for value in sorted(thin):
        # The percentiles that return this value, and its ranks in the full distribution.
        first, last = reached[bisect_left(values, value)], reached[bisect_right(values, value)]
        assert first - seen <= total / 98 * 1.000001
        seen += thin[value]
        assert seen - last <= total / 98 * 1.000001


def weighted_sum(readings: Counter[float]) -> float:
    """Return the sum of all readings."""
    return math.fsum(value * count for value, count in readings.items())
