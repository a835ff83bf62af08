"""Fuzzing of the stream: a few examples in each run, many with `make fuzz`."""

from __future__ import annotations

import json
import math
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.metrics.selection import select_for_cloudwatch, select_for_prometheus
from neuron_exporter.model import Layout, MetricKind
from neuron_exporter.report import Decoded, ReportError, decode, unknown_fields
from neuron_exporter.sinks.cloudwatch.window import Windows
from neuron_exporter.sinks.prometheus import PrometheusSink
from tests import captures
from tests.benchmarks import programs
from tests.support.datums import metric_datums
from tests.support.reports import Harness

LINES = list(captures.reports(captures.all_captures()).values())
SHORT = [line for line in LINES if len(line) < 20_000] or [b'{"neuron_runtime_data":[]}']
TOKENS = [
    b"null", b"true", b"-1", b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 400, b"0.5e-320",
    b'""', b'"\\ud800"', b'"\\u0000"', b"[]", b"{}", b"[[[[]]]]", b'{"a":{"b":[null]}}',
    b'"\xff"', b"18446744073709551616", b"1.7976931348623157e308", b'"x"', b"[" * 2000,
]  # fmt: skip

MANY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SELECTIONS = {layout: select_for_prometheus("full", ["*"], [], layout)[0] for layout in Layout}
SENT, _ = select_for_cloudwatch("full", [], [])


def mutate(line: bytes, seed: int) -> bytes:
    """Return a line with random tokens, bytes or parts replaced, repeated or removed."""
    rng = random.Random(seed)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(line) + 1)
        match rng.randrange(5):
            case 0:  # a value becomes another one
                begin = line.find(b":", at) + 1
                ends = [end for mark in (b",", b"}") if (end := line.find(mark, begin)) > 0]
                line = line[:begin] + rng.choice(TOKENS) + line[min(ends, default=len(line)) :]
            case 1:
                line = line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
            case 2:
                line = line[:at] + line[at + rng.randrange(200) :]
            case 3:
                line = line[:at] + line[at : at + rng.randrange(2000)] * 2 + line[at:]
            case _:
                line = line[:at] + rng.choice(TOKENS) + line[at:]
    return line


def check(read: Decoded) -> None:
    """Check that every sink produces valid output: finite, not negative, and readable."""
    for layout, selection in SELECTIONS.items():
        harness = Harness(layout=layout)
        sink, windows = PrometheusSink(selection), Windows(SENT, 60)
        for _ in range(2):
            snapshot = harness.collect_report(read.report).snapshot
            for series, value in zip(snapshot.shape, snapshot.values, strict=True):
                if value is not None and series.spec.kind is not MetricKind.DISTRIBUTION:
                    assert isinstance(value, int | float)
                    assert math.isfinite(value)
                    assert value >= 0
            sink.offer(snapshot)
            windows.add(snapshot)
        text = sink.expose(harness.now).decode()
        names = [family.name for family in text_string_to_metric_families(text)]
        assert len(names) == len(set(names))
        for window in windows.take(snapshot.taken_at.wall + 120):
            for datum in metric_datums(window, SENT, (("InstanceId", "i-1"),)):
                numbers = [*datum.get("Values", []), *datum.get("Counts", [])]
                assert all(math.isfinite(number) for number in numbers)
                assert all(count > 0 for count in datum.get("Counts", []))


def process(line: bytes) -> None:
    """Decode a line and check the output of the sinks."""
    with suppress(ReportError):
        unknown_fields(line)
    with suppress(ReportError):
        check(decode(line))


@pytest.mark.fuzz
@MANY
@given(st.sampled_from(SHORT), st.integers(0, 2**32))
def test_damaged_recordings(line: bytes, seed: int) -> None:
    process(mutate(line, seed))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.fuzz
@MANY
@given(st.sampled_from(SHORT), values, st.data())
def test_any_value_anywhere(line: bytes, value: Any, data: st.DataObject) -> None:
    document = json.loads(line)
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[key] = value
    process(json.dumps(document).encode())


@pytest.mark.fuzz
@MANY
@given(st.binary(max_size=300))
def test_random_bytes(line: bytes) -> None:
    process(line)


@pytest.mark.soak
def test_memory_after_a_million_invalid_lines(tmp_path: Path) -> None:
    rng = random.Random(1)
    garbage = [mutate(rng.choice(SHORT)[:2000], seed).replace(b"\n", b"") for seed in range(500)]
    block = b"".join(line + b"\n" for line in garbage)
    with programs.exporter(None, programs.Build()) as exporter:

        def feed(blocks: int) -> float:
            for _ in range(blocks):
                exporter.feed(block)
            exporter.scrape()
            return exporter.resident

        before = feed(200)
        after = feed(2000)
    print(f"{before:.1f} MiB before, {after:.1f} MiB after")
    assert after - before <= 2
