"""The exposition equals the snapshot, in Prometheus' text format."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Info, generate_latest

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Health, Machine, Series, Snapshot, SourceState
from neuron_exporter.sinks import prometheus
from neuron_exporter.sinks.exposition import FORMATS, write
from neuron_exporter.sinks.prometheus import PrometheusSink
from neuron_exporter.telemetry import Telemetry
from tests import captures
from tests.support import simulated
from tests.support.prometheus_samples import EVERYTHING, as_prometheus_client_writes, parsed, scrape
from tests.support.reports import Harness, executions, report, runtime

NOW = 10.0
HERE = Machine(instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1")


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_reports_equal_prometheus_client(path: Path) -> None:
    harness = Harness(period=None)
    for line in captures.lines(path):
        snapshot = harness.collect(json.loads(line), machine=HERE).snapshot
        assert parsed(scrape(snapshot)) == parsed(as_prometheus_client_writes(snapshot))


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_label_value_is_escaped(tag: str, name: str) -> None:
    busy = runtime(1, tag, execution_stats=executions(3))
    snapshot = Harness().collect(report(busy), machine=Machine(instance_name=name)).snapshot
    text = scrape(snapshot)
    read = parsed(text)
    assert read == parsed(as_prometheus_client_writes(snapshot))
    samples = sum(len(values) for _, _, values in read.values())
    assert sum(not line.startswith("#") for line in text.split("\n")) == samples + 1


@given(st.integers(0, 2**64 - 1))
def test_any_number_is_exact(bits: int) -> None:
    (number,) = struct.unpack("d", bits.to_bytes(8, "little"))
    row = next(row for row in CATALOGUE if row.name == "neuroncores_in_use")
    snapshot = Harness().collect(report()).snapshot
    snapshot = replace(snapshot, shape=(Series(row, ()),), values=(number,))
    if number - number != 0:
        return  # readings are always finite
    (value,) = parsed(scrape(snapshot))["neuroncores_in_use"][2].values()
    assert value == number


def test_own_metrics_equal_prometheus_client() -> None:
    telemetry = Telemetry()
    telemetry.report_errors.labels('a"b\\c\nd').inc(1.5)
    telemetry.restarts.labels("exited").inc()
    own = write(telemetry.registry.collect()).decode()
    wanted = parsed(generate_latest(telemetry.registry).decode())
    got = parsed(own)
    changing = {
        "process_cpu_seconds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
    }
    for name in wanted.keys() - changing:
        assert got[name] == wanted[name]
    assert got.keys() == wanted.keys()


def test_every_metric_kind() -> None:
    registry = CollectorRegistry()
    Counter("a", "A\\ counter\nof things.", ["x"], registry=registry).labels("1").inc(2)
    Gauge("b", "A gauge.", registry=registry).set(1e300)
    Info("c", "An info.", registry=registry).info({"version": "1"})
    assert parsed(write(registry.collect()).decode()) == parsed(generate_latest(registry).decode())


def test_labels_freeze_at_first_healthy_report() -> None:
    sink, harness = PrometheusSink(EVERYTHING), Harness()
    scrape(harness.collect(report(), machine=HERE).snapshot, sink)
    later = replace(HERE, availability_zone="us-east-1a")
    assert "us-east-1a" not in scrape(harness.collect(report(), machine=later).snapshot, sink)


def test_labels_do_not_freeze_while_unhealthy() -> None:
    sink, harness = PrometheusSink(EVERYTHING), Harness()
    sick = harness.collect(report(), machine=Machine()).snapshot
    scrape(replace(sick, health=Health(SourceState.NO_DRIVER)), sink)
    assert 'instance_id="i-1"' in scrape(harness.collect(report(), machine=HERE).snapshot, sink)


def test_empty_fields_add_no_labels() -> None:
    text = scrape(Harness().collect(report(), machine=Machine(region="eu-west-1")).snapshot)
    assert '=""' not in text
    assert 'instance_info{region="eu-west-1"} 1.0' in text


def test_missing_and_stale_snapshots_are_empty() -> None:
    sink = PrometheusSink(EVERYTHING)
    assert sink.expose(NOW) == b""
    assert sum(sink.series(NOW).values()) == 0
    snapshot = Harness().collect(report()).snapshot
    assert scrape(snapshot, sink)
    assert sink.expose(snapshot.taken_at.monotonic + snapshot.fresh_for + 1) == b""
    assert sum(sink.series(snapshot.taken_at.monotonic + snapshot.fresh_for + 1).values()) == 0


def test_absent_value_has_no_line() -> None:
    sink, harness = PrometheusSink(EVERYTHING), Harness()
    busy = executions(5, {"p50": 0.25})
    scrape(harness.collect(report(runtime(1, "a", execution_stats=busy))).snapshot, sink)
    idle = runtime(1, "a", execution_stats=executions(0))
    snapshot = harness.collect(report(idle)).snapshot
    text = scrape(snapshot, sink)
    assert "execution_latency_seconds{" not in text
    assert parsed(text) == parsed(as_prometheus_client_writes(snapshot))


@pytest.mark.parametrize(
    ("include", "exclude", "wanted"),
    [
        ([], ["*", "x"], 0),
        ([], ["neuroncore*"], 0),
        ([], ['neuroncore_*{neuroncore="[01]"}'], 2),
        (['neuroncore_utilization_ratio{neuroncore="3"}'], ['*{neuroncore="?"}'], 0),
    ],
)
def test_only_selected_series_are_exposed(
    include: list[str], exclude: list[str], wanted: int
) -> None:
    selection, _ = select_for_prometheus("full", include, exclude)
    text = scrape(Harness().collect(report()).snapshot, PrometheusSink(selection))
    assert text.count("neuroncore_utilization_ratio{") == wanted


def test_single_series() -> None:
    selection, problems = select_for_prometheus(
        "full", [], ["[!n]*", "neuron_*", "neuroncore_*", "neurond*"]
    )
    assert not problems
    text = scrape(Harness().collect(report()).snapshot, PrometheusSink(selection))
    assert text.splitlines()[-1] == "neuroncores_in_use 0.0"
    assert len(text.splitlines()) == 3


def test_parts_are_small_and_form_the_text() -> None:
    """malloc gets blocks of 128 KiB and more from the system, and returns them at once."""
    sink, harness = PrometheusSink(EVERYTHING), Harness()
    (document,) = simulated.reports(1, "--runtimes", "32", "--scenario", "inference")
    snapshot = harness.collect(document, machine=HERE).snapshot
    text = scrape(snapshot, sink).encode()
    for format in FORMATS:
        parts = sink.expose_parts(snapshot.taken_at.monotonic, format)
        assert b"".join(parts) == sink.expose(snapshot.taken_at.monotonic, format)
        assert len(parts) > len(text) / (128 * 1024)
        assert max(map(len, parts)) < 128 * 1024


def test_new_shape_renders_only_new_series(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[Series] = []
    render = prometheus._name

    def count(series: Series, common: str) -> bytes:
        rendered.append(series)
        return render(series, common)

    monkeypatch.setattr(prometheus, "_name", count)
    harness, sink = Harness(), PrometheusSink(EVERYTHING)
    workers = [runtime(n, f"w{n}", execution_stats=executions(1)) for n in range(20)]
    first = scrape(harness.collect(report(*workers), machine=HERE).snapshot, sink)
    assert len(rendered) >= len(first.splitlines()) - first.count("\n#") - 1
    rendered.clear()
    new = runtime(99, "new", execution_stats=executions(1))
    second = harness.collect(report(*workers, new), machine=HERE).snapshot
    text = scrape(second, sink)
    assert {dict(series.labels)["runtime_tag"] for series in rendered} == {"new"}
    assert text == scrape(second)


def test_only_chosen_labels_of_the_machine() -> None:
    """`instance_info` has all, so that queries can join the others."""
    snapshot = replace(Harness().collect(report(runtime())).snapshot, machine=HERE)
    sink = PrometheusSink(EVERYTHING, labels=(("team", "search"),), identity_labels=["instance_id"])
    lines = [line for line in scrape(snapshot, sink).splitlines() if not line.startswith("#")]
    (info,) = [line for line in lines if line.startswith("instance_info{")]
    assert info == (
        'instance_info{instance_id="i-1",instance_type="trn1.32xlarge",region="us-east-1",'
        'team="search"} 1.0'
    )
    others = [line for line in lines if line != info]
    assert others
    assert all('instance_id="i-1",team="search"}' in line for line in others)
    assert not [line for line in others if "instance_type=" in line]


def with_latencies(harness: Harness, *percentiles: dict[str, float] | None) -> Snapshot:
    """Return the snapshot of a report with these latencies of runtimes, None for an idle one."""
    stats = [executions(5 if each else 0, each) for each in percentiles]
    workers = [runtime(n, str(n), execution_stats=each) for n, each in enumerate(stats)]
    return harness.collect(report(*workers), machine=HERE).snapshot


@pytest.mark.parametrize("preset", ["full", "none"])
def test_values_come_and_go(preset: str) -> None:
    """A series has no line before its first value, nor while it has none; families stay."""
    selection, _ = select_for_prometheus(preset, ["execution_latency_seconds"], [])
    sink, harness = PrometheusSink(selection), Harness()
    with_latencies(harness, {"p50": 0.5}, {"p50": 0.5})  # from now on, the series exist
    for percentiles in (
        (None, None),
        ({"p50": 0.25}, None),
        (None, {"p50": 0.5}),
        (None, None),
        ({"p50": 0.25}, {"p50": 0.75}),
        (None, {"p50": 0.5, "p99": 0.75}),
        ({"p50": 0.0, "p99": 0.0}, None),
    ):
        snapshot = with_latencies(harness, *percentiles)
        text = scrape(snapshot, sink)
        samples = [line for line in text.splitlines() if line.startswith("execution_latency")]
        assert len(samples) == sum(len(each or ()) for each in percentiles)
        assert "# TYPE execution_latency_seconds gauge\n" in text
        for format in FORMATS:
            unused = PrometheusSink(selection)
            unused.offer(snapshot)
            at = snapshot.taken_at.monotonic
            assert sink.expose(at, format) == unused.expose(at, format)


def test_all_values_come_at_once() -> None:
    selection, _ = select_for_prometheus("none", ["execution_latency_seconds"], [])
    sink, harness = PrometheusSink(selection), Harness()
    with_latencies(harness, {"p50": 0.5})
    assert "{" not in scrape(with_latencies(harness, None), sink)
    assert scrape(with_latencies(harness, {"p50": 0.25}), sink).endswith(" 0.25\n")
