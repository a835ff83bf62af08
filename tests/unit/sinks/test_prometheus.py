"""The exposition says what the snapshot says, in Prometheus' text format."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Info, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import for_prometheus
from neuron_exporter.model import Health, Kind, Machine, Series, Snapshot, SourceState
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.sinks.exposition import write
from neuron_exporter.sinks.prometheus import PrometheusSink, machine_labels
from neuron_exporter.telemetry import Telemetry
from tests import captures
from tests.support.reports import Bench, cores, executions, report, runtime

NOW = 10.0
EVERYTHING, _ = for_prometheus("full", ["*"], [])
HERE = Machine(instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1")


def shown(snapshot: Snapshot, sink: PrometheusSink | None = None) -> str:
    """What a scrape shows at the moment that the snapshot was taken."""
    sink = sink or PrometheusSink(EVERYTHING)
    sink.offer(snapshot)
    return sink.expose(snapshot.taken_at.monotonic).decode()


def parsed(text: str) -> dict[str, Any]:
    """Families that have samples: type, help and values by labels."""
    return {
        family.name: (
            family.type,
            family.documentation,
            {(s.name, tuple(sorted(s.labels.items()))): s.value for s in family.samples},
        )
        for family in text_string_to_metric_families(text)
        if family.samples
    }


class Mirror(Collector):
    """The samples of a snapshot as prometheus_client's own families."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """One family for each row that Prometheus is shown."""
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        machine = machine_labels(self._snapshot.machine)
        for series, value in zip(self._snapshot.shape, self._snapshot.values, strict=True):
            if value is None or not series.spec.layouts:
                continue
            labels = dict(series.labels + machine)
            kind = CounterMetricFamily if series.spec.kind is Kind.COUNTER else GaugeMetricFamily
            family = families.setdefault(series.spec.name, kind(series.spec.name, series.spec.help))
            suffix = "_total" if series.spec.kind is Kind.COUNTER else ""
            family.add_sample(family.name + suffix, labels, value)
        return families.values()


def as_prometheus_client_writes(snapshot: Snapshot) -> str:
    """The same samples through the library's registry and writer."""
    registry = CollectorRegistry()
    registry.register(Mirror(snapshot))
    return generate_latest(registry).decode()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("instance_type", ["inf1.xlarge", "inf2.24xlarge", "trn1.32xlarge"])
def test_simulated_machines_read_back_as_the_library_writes(
    instance_type: str, scenario: str
) -> None:
    """Read by prometheus_client's parser, ours is what prometheus_client writes."""
    machine = SimulatedMachine(parse(["--instance-type", instance_type, "--scenario", scenario]))
    bench = Bench()
    for number in range(3):
        snapshot = bench.collect(machine.report(number), machine=HERE).snapshot
    assert parsed(shown(snapshot)) == parsed(as_prometheus_client_writes(snapshot))


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_reports_read_back_as_the_library_writes(path: Path) -> None:
    """The same holds for everything that was recorded on real machines."""
    bench = Bench(period=None)
    for line in captures.lines(path):
        snapshot = bench.collect(json.loads(line), machine=HERE).snapshot
        assert parsed(shown(snapshot)) == parsed(as_prometheus_client_writes(snapshot))


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_label_value_reads_back(tag: str, name: str) -> None:
    """Quotes, backslashes and line ends in a tag cannot forge a line."""
    busy = runtime(1, tag, execution_stats=executions(3))
    snapshot = Bench().collect(report(busy), machine=Machine(instance_name=name)).snapshot
    text = shown(snapshot)
    read = parsed(text)
    assert read == parsed(as_prometheus_client_writes(snapshot))
    samples = sum(len(values) for _, _, values in read.values())
    assert sum(not line.startswith("#") for line in text.split("\n")) == samples + 1


@given(st.integers(0, 2**64 - 1))
def test_any_number_reads_back(bits: int) -> None:
    """A value is written so that it reads back as the same number."""
    (number,) = struct.unpack("d", bits.to_bytes(8, "little"))
    row = next(row for row in CATALOGUE if row.name == "neuroncores_in_use")
    snapshot = Bench().collect(report()).snapshot
    snapshot = replace(snapshot, shape=(Series(row, ()),), values=(number,))
    if number - number != 0:
        return  # readings are finite before they come here
    (value,) = parsed(shown(snapshot))["neuroncores_in_use"][2].values()
    assert value == number


def test_our_own_instruments_read_back_as_the_library_writes() -> None:
    """The exporter's own metrics are written as the library would."""
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


def test_every_kind_of_the_library_is_written() -> None:
    """Counters, gauges and infos keep their suffixes, types and help."""
    registry = CollectorRegistry()
    Counter("a", "A\\ counter\nof things.", ["x"], registry=registry).labels("1").inc(2)
    Gauge("b", "A gauge.", registry=registry).set(1e300)
    Info("c", "An info.", registry=registry).info({"version": "1"})
    assert parsed(write(registry.collect()).decode()) == parsed(generate_latest(registry).decode())


def test_labels_freeze_at_the_first_healthy_report() -> None:
    """Labels of a running series never change, whatever is learned of the machine later."""
    sink, bench = PrometheusSink(EVERYTHING), Bench()
    shown(bench.collect(report(), machine=HERE).snapshot, sink)
    later = replace(HERE, availability_zone="us-east-1a")
    assert "us-east-1a" not in shown(bench.collect(report(), machine=later).snapshot, sink)


def test_labels_do_not_freeze_before_the_source_is_healthy() -> None:
    """What is not yet known while the driver is missing is shown once it is."""
    sink, bench = PrometheusSink(EVERYTHING), Bench()
    sick = bench.collect(report(), machine=Machine()).snapshot
    shown(replace(sick, health=Health(SourceState.NO_DRIVER)), sink)
    assert 'instance_id="i-1"' in shown(bench.collect(report(), machine=HERE).snapshot, sink)


def test_empty_fields_are_no_labels() -> None:
    """What is not known of the machine has no label, not an empty one."""
    text = shown(Bench().collect(report(), machine=Machine(region="eu-west-1")).snapshot)
    assert '=""' not in text
    assert 'instance_info{region="eu-west-1"} 1.0' in text


def test_nothing_is_shown_before_the_first_report_and_after_the_last() -> None:
    """No snapshot and an old snapshot are both empty expositions."""
    sink = PrometheusSink(EVERYTHING)
    assert sink.expose(NOW) == b""
    assert sum(sink.series(NOW).values()) == 0
    snapshot = Bench().collect(report()).snapshot
    assert shown(snapshot, sink)
    assert sink.expose(snapshot.taken_at.monotonic + snapshot.fresh_for + 1) == b""
    assert sum(sink.series(snapshot.taken_at.monotonic + snapshot.fresh_for + 1).values()) == 0


def test_a_value_that_is_absent_has_no_line() -> None:
    """A percentile that is null now is neither zero nor its last value."""
    sink, bench = PrometheusSink(EVERYTHING), Bench()
    busy = executions(5, {"p50": 0.25})
    shown(bench.collect(report(runtime(1, "a", execution_stats=busy))).snapshot, sink)
    idle = runtime(1, "a", execution_stats=executions(0))
    snapshot = bench.collect(report(idle)).snapshot
    text = shown(snapshot, sink)
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
def test_only_selected_series_are_shown(
    include: list[str], exclude: list[str], wanted: int
) -> None:
    """A selection decides over rows and, by label globs, over series."""
    selection, _ = for_prometheus("full", include, exclude)
    text = shown(Bench().collect(report()).snapshot, PrometheusSink(selection))
    assert text.count("neuroncore_utilization_ratio{") == wanted


def test_a_single_series_is_shown() -> None:
    """One series is as good as a thousand."""
    selection, problems = for_prometheus(
        "full", [], ["[!n]*", "neuron_*", "neuroncore_*", "neurond*"]
    )
    assert not problems
    text = shown(Bench().collect(report()).snapshot, PrometheusSink(selection))
    assert text.splitlines()[-1] == "neuroncores_in_use 0.0"
    assert len(text.splitlines()) == 3


def test_scrapes_and_reports_do_not_disturb_each_other() -> None:
    """However many scrape while shapes change, each sees one whole report."""
    sink, bench = PrometheusSink(EVERYTHING), Bench()
    snapshots = []
    for number in range(40):
        busy = [
            runtime(
                pid,
                str(pid),
                neuroncore_counters=cores(**{f"_{c}": float(number) for c in range(4)}),
            )
            for pid in range(1, 2 + number % 3)
        ]
        snapshots.append(bench.collect(report(*busy)).snapshot)
    wrong: list[str] = []

    def scrape() -> None:
        for _ in range(200):
            text = sink.expose(snapshots[0].taken_at.monotonic).decode()
            values = {v for k, v in parsed(text)["neuroncore_utilization_ratio"][2].items()}
            if len(values) != 1:
                wrong.append(text)

    sink.offer(snapshots[0])
    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for snapshot in snapshots:
            sink.offer(snapshot)
    assert not wrong
