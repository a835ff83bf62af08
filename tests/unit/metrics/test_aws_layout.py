"""`prometheus.layout: aws` shows the series of AWS's script, one per runtime and core."""

from __future__ import annotations

import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.config import Override, load
from neuron_exporter.identity.machine import Identity
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.selection import select_for_cloudwatch, select_for_prometheus
from neuron_exporter.model import Layout, Machine, Owners, Timestamp
from neuron_exporter.pipeline.build import build
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE_POOL
from neuron_exporter.sinks.cloudwatch.window import Windows
from neuron_exporter.sinks.prometheus import PrometheusSink
from tests import captures
from tests.benchmarks.aws_script import AwsScript
from tests.support.reports import (
    Harness,
    cores,
    decode_document,
    executions,
    memory,
    report,
    runtime,
)

AWS, _ = select_for_prometheus("full", ["*"], [], Layout.AWS)
CHANGING = {"runtime_tag"}
"""Labels that had other values when AWS's script was recorded."""

REAL = captures.reports(
    path for path in captures.all_captures() if not path.name.startswith("doc_")
)
"""Recordings without the examples of AWS's documentation: these mix periods, and one is too old for
AWS's script."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def lengthened(line: bytes) -> bytes:
    """Return the report with periods of 5 s in place of those of a start-up report.

    AWS's script shows the CPU shares of a start-up report, and the exporter does not.
    """
    return re.sub(rb'"period":0\.\d+', b'"period":5.0', line)


def exposition(line: bytes) -> str:
    """Return the exposition of a report with `layout: aws`."""
    document = json.loads(line)
    harness = Harness(period=None, layout=Layout.AWS)
    machine = Identity(Machine(), {}).observe(decode_document(document).instance_info)
    sink = PrometheusSink(AWS)
    sink.offer(harness.collect(document, machine=machine, owners=Owners()).snapshot)
    return sink.expose(harness.now).decode()


def samples(families: Iterable[Metric], *, without: Iterable[str] = ()) -> Samples:
    """Return the hardware samples by name and labels; empty labels count as absent."""
    return {
        (
            sample.name,
            frozenset((n, "" if n in without else v) for n, v in sample.labels.items() if v),
        ): sample.value
        for family in families
        if not family.name.startswith(("process_", "python_"))
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def shared_tags(line: bytes) -> set[str]:
    """Return the tags that more than one runtime of a report has."""
    listed = Counter(each["neuron_runtime_tag"] for each in json.loads(line)["neuron_runtime_data"])
    return {tag for tag, runtimes in listed.items() if runtimes > 1}


SHARED = {name: line for name, line in REAL.items() if shared_tags(line)}


def is_overwritten(key: tuple[str, frozenset[tuple[str, str]]], tags: set[str]) -> bool:
    """Return whether AWS's script sets this gauge once for each of several runtimes.

    It increments its counters, so those of runtimes that share a tag add up.
    """
    name, labels = key
    return not name.endswith("_total") and dict(labels).get("runtime_tag") in tags


@pytest.mark.parametrize("line", REAL.values(), ids=REAL)
def test_same_samples_as_aws_script(line: bytes) -> None:
    """The samples equal those of AWS's script, except where runtimes overwrite each other in it."""
    line = lengthened(line)
    script = AwsScript()
    with redirect_stderr(io.StringIO()):
        script.put(line.decode())
    reference = generate_latest(script.registry).decode()
    ours = samples(text_string_to_metric_families(exposition(line)))
    theirs = samples(text_string_to_metric_families(reference))
    assert ours.keys() == theirs.keys()
    tags = shared_tags(line)
    ours, theirs = (
        {key: value for key, value in side.items() if not is_overwritten(key, tags)}
        for side in (ours, theirs)
    )
    assert ours == pytest.approx(theirs)


def test_some_recording_has_a_shared_tag() -> None:
    if not captures.all_captures():
        pytest.skip(captures.MISSING)
    assert SHARED


@pytest.mark.parametrize("line", SHARED.values(), ids=SHARED)
def test_recorded_runtimes_with_one_tag_are_merged(line: bytes) -> None:
    """Gauges and counters are summed, and each latency percentile is the maximum."""
    document = json.loads(line)
    sums: defaultdict[str, defaultdict[tuple[str, ...], float]]
    sums = defaultdict(lambda: defaultdict(float))
    latencies: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for entry in document["neuron_runtime_data"]:
        tag, groups = entry["neuron_runtime_tag"], entry["report"]
        for core, reading in groups["neuroncore_counters"]["neuroncores_in_use"].items():
            share = reading["neuroncore_utilization"] / 100
            sums["neuroncore_utilization_ratio"][core, tag] += share
        used = groups["memory_used"]["neuron_runtime_used_bytes"]
        for location in ("host", "neuron_device"):
            sums["neuron_runtime_memory_used_bytes"][tag, location] += used[location]
        for core, parts in used["usage_breakdown"]["neuroncore_memory_usage"].items():
            for category, size in parts.items():
                sums[f"neuroncore_memory_usage_{category}"][core, tag, "None"] += size
        stats = groups["execution_stats"]
        for status, count in stats["execution_summary"].items():
            sums["execution_status_total"][tag, status] += count
        for percentile, seconds in stats["latency_stats"]["total_latency"].items():
            latencies[tag, percentile] = max(latencies[tag, percentile], seconds)
    found = Harness(period=None, layout=Layout.AWS).samples(document)
    assert max(sums["neuroncore_utilization_ratio"].values()) < 1  # else it would be capped
    assert {name: found.values(name) for name in sums} == {
        name: pytest.approx(dict(expected)) for name, expected in sums.items()
    }
    assert found.values("execution_latency_seconds") == latencies


@pytest.mark.parametrize("path", sorted(captures.FOLDER.glob("*.prom")), ids=lambda path: path.stem)
def test_recorded_exposition_of_aws_script(path: Path) -> None:
    """Every series that AWS's script served is there with its type, labels and constant values."""
    text = exposition(lengthened(captures.lines(path.with_suffix(".ndjson"))[0]))
    ours, theirs = (list(text_string_to_metric_families(t)) for t in (text, path.read_text()))
    assert samples(theirs, without=CHANGING).keys() <= samples(ours, without=CHANGING).keys()
    types = {family.name: family.type for family in ours}
    for family in theirs:
        if not family.name.startswith(("process_", "python_")) and "_created" not in family.name:
            assert types[family.name] == family.type


def test_runtimes_with_one_tag_are_merged() -> None:
    harness = Harness(layout=Layout.AWS)
    both = [
        runtime(
            pid,
            "1",
            neuroncore_counters=cores(_0=share, _1=0),
            memory_used=memory({"0": {"tensors": 5}}),
            execution_stats=executions(2),
        )
        for pid, share in ((1, 60.0), (2, 70.0))
    ]
    found = harness.samples(report(*both))
    assert found.values("neuroncore_utilization_ratio") == {("0", "1"): 1, ("1", "1"): 0}
    assert found.value("neuroncore_memory_usage_tensors", "0", "1", "None") == 10
    assert found.value("execution_status_total", "1", "completed") == 4


def test_idle_machine_has_no_core_series() -> None:
    found = Harness(layout=Layout.AWS).samples(report())
    assert found.values("neuroncore_utilization_ratio") == {}
    assert Harness().samples(report()).values("neuroncore_utilization_ratio") != {}


def test_unreadable_runtime_has_no_core_series() -> None:
    document = report(
        runtime(1, "a", neuroncore_counters=cores(_0=50)),
        runtime(2, "b", error="gone", neuroncore_counters=cores(_0=50)),
        runtime(3, "c", neuroncore_counters={**cores(_0=50), "error": "broken"}),
        {**runtime(4, "d"), "report": None},
        None,  # type: ignore[arg-type]
    )
    found = Harness(layout=Layout.AWS).samples(document)
    assert found.values("neuroncore_utilization_ratio") == {("0", "a"): 0.5}


def test_generic_errors_are_shown_as_level() -> None:
    harness = Harness(layout=Layout.AWS)
    for level in (23654, 23692):
        errors = executions(1, errors={"generic": level})
        found = harness.samples(report(runtime(execution_stats=errors)))
        assert found.value("execution_errors_total", "app", "generic") == level


def test_layout_does_not_affect_cloudwatch() -> None:
    keys = {"prometheus.layout": "aws", "cloudwatch.enabled": True}
    parts = build(load(flags=[Override(key, key, value) for key, value in keys.items()]))
    collector = Collector(parts.rows, Counters(), ReportPeriod(5.0))
    busy = [runtime(pid, str(pid), neuroncore_counters=cores(_0=20, _1=0)) for pid in (1, 2)]
    moment = Timestamp(1_700_000_040, 5)
    snapshot = collector.collect(
        decode_document(report(*busy)), moment, Machine(), Owners()
    ).snapshot
    sink, windows = PrometheusSink(AWS), Windows(select_for_cloudwatch("standard", [], [])[0], 60)
    sink.offer(snapshot)
    windows.add(snapshot)
    shares = {
        (sample.labels["neuroncore"], sample.labels["runtime_tag"]): sample.value
        for family in text_string_to_metric_families(sink.expose(5).decode())
        if family.name == "neuroncore_utilization_ratio"
        for sample in family.samples
    }
    assert shares == {("0", "1"): 0.2, ("0", "2"): 0.2, ("1", "1"): 0, ("1", "2"): 0}
    (window,) = windows.take(1_700_000_100)
    assert window.values[MACHINE_POOL, "NeuronCoreUtilization"] == {0.4: 1, 0.0: 3}
