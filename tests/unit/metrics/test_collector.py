"""Whatever the stream holds, what it can make of us has a bound."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter import log
from neuron_exporter.identity.machine import Identity
from neuron_exporter.metrics import collector as collect
from neuron_exporter.metrics.counters import MOST_RETIRED
from neuron_exporter.metrics.runtimes import MOST_RUNTIMES
from neuron_exporter.metrics.selection import for_prometheus
from neuron_exporter.metrics.series_cache import MOST_NAMES, MOST_PHYSICAL_CORES
from neuron_exporter.model import Machine
from neuron_exporter.sinks.prometheus import PrometheusSink
from neuron_exporter.text import LONGEST, clean
from tests.support.reports import (
    Bench,
    cores,
    decoded,
    executions,
    group,
    report,
    runtime,
)

FORGERY = 'x"} 1\nneuron_executions_total{status_type="completed"} 999\n# \r\x1b[2J\u2028\u202e'


# Text


@given(st.text())
def test_cleaned_text_is_one_printable_line(text: str) -> None:
    """No control character, line separator or mark of direction is left, and it is short."""
    assert clean(text).isprintable()
    assert len(clean(text)) <= LONGEST
    assert clean(clean(text)) == clean(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=LONGEST))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Names in any script are names."""
    assert clean(text) == text


def exposed(document: Any) -> str:
    """What a scrape shows of a report, with every metric there is."""
    machine = Identity(Machine(), {}).observe(decoded(document).instance_info)
    bench = Bench()
    sink = PrometheusSink(for_prometheus("full", ["*"], [])[0])
    sink.offer(bench.collect(document, machine=machine).snapshot)
    return sink.expose(bench.now).decode()


def hostile(text: str) -> Any:
    """A report with this text wherever text can become a label."""
    name = text[:64] or "x"
    stats = executions(1, latency={name: 1}, errors={name: 1}, **{name: 1})
    used = {
        "neuroncore_utilization": 5,
        "v3d": {name: {"neuroncore_utilization": 5}},
    }
    pod = {"pod_name": text, "namespace": text, "container_name": [text]}
    return report(
        runtime(
            1,
            text,
            execution_stats=stats,
            neuroncore_counters=group(neuroncores_in_use={"0": used}),
        ),
        instance_info={"instance_id": text, "instance_name": text, "error": ""},
        neuron_hardware_info={"neuron_device_count": 1, "neuroncore_per_device_count": 2,
                              "neuron_device_type": text, "error": ""},
        neuron_k8s_info=group(neuroncores_k8s_info={"0": pod}, neurondevices_k8s_info={"0": pod}),
    )  # fmt: skip


def test_no_text_forges_a_line_of_the_exposition() -> None:
    """A name that looks like an exposition is a name: every line is one that we have written."""
    honest, forged = exposed(hostile("x")), exposed(hostile(FORGERY))
    assert len(forged.split("\n")) == len(honest.split("\n"))
    assert "\x1b" not in forged
    assert "\u2028" not in forged
    values = [
        sample.value
        for family in text_string_to_metric_families(forged)
        for sample in family.samples
    ]
    assert 999 not in values


@given(st.text(min_size=1, max_size=80))
def test_any_text_makes_a_legal_exposition(text: str) -> None:
    """Whatever names a stream has, Prometheus reads what we write, and no label is longer than
    our bound."""
    for family in text_string_to_metric_families(exposed(hostile(text * 5))):
        for sample in family.samples:
            assert all(len(value) <= LONGEST for value in sample.labels.values())


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_text_forges_a_line_of_the_log(form: str) -> None:
    """What the stream says is one field of one line, and moves no terminal's cursor."""
    out = io.StringIO()
    log.configure("info", form, out)
    log.get_logger().warning("reading_unusable", path=FORGERY)
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


# Numbers


def test_series_of_a_metric_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above it the rest is left out and counted; other metrics have all of theirs."""
    monkeypatch.setattr(collect, "MOST_OF_A_METRIC", 10)
    used = group(
        neuroncores_in_use={str(core): {"neuroncore_utilization": 1} for core in range(16)}
    )
    collected = Bench().collect(report(runtime(neuroncore_counters=used)))
    snapshot = collected.snapshot
    names = [series.spec.name for series in snapshot.shape]
    assert len(snapshot.values) == len(snapshot.shape)
    assert names.count("neuroncore_utilization_ratio") == 10
    assert names.count("neuroncores_in_use") == 1
    assert collected.series_dropped >= 6


def test_series_of_a_report_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """All metrics together have a bound, too."""
    everything = len(Bench().collect(report()).snapshot.shape)
    monkeypatch.setattr(collect, "MOST_SERIES", 15)
    collected = Bench().collect(report())
    assert len(collected.snapshot.shape) == len(collected.snapshot.values) == 15
    assert collected.series_dropped == everything - 15


def test_runtimes_of_a_report_have_a_bound() -> None:
    """Those above it are counted, and no core is called idle that one of them may hold."""
    many = [
        runtime(pid, str(pid), neuroncore_counters=cores(_0=0)) for pid in range(MOST_RUNTIMES + 5)
    ]
    collected = Bench().collect(report(*many))
    assert collected.runtimes_left_out == 5
    shown = dict(zip(collected.snapshot.shape, collected.snapshot.values, strict=True))
    busy = {s.labels: v for s, v in shown.items() if s.spec.name == "neuroncore_utilization_ratio"}
    assert all(value is None for value in busy.values())


def test_runtimes_that_have_gone_have_a_bound() -> None:
    """Workers that live for one report leave counters behind for a while, and not without end."""
    bench = Bench()
    bench.now = 0
    for batch in range(6):
        workers = [
            runtime(1, f"{batch}-{n}", execution_stats=executions(1)) for n in range(MOST_RUNTIMES)
        ]
        bench.now -= 5  # all of it within the ten minutes for which they are kept
        samples = bench.samples(report(*workers))
    tags = {labels[0] for labels in samples.of("execution_status_total")}
    assert len(tags) <= MOST_RETIRED + MOST_RUNTIMES
    assert samples.one("neuron_executions_total", "completed") == 6 * MOST_RUNTIMES
    assert f"5-{MOST_RUNTIMES - 1}" in tags


def test_names_have_a_bound() -> None:
    """Ever new percentiles, statuses and physical cores stop being taken in."""
    bench = Bench()
    for batch in range(40):
        many = [f"{batch}.{n}" for n in range(60)]
        physical = {name: {"neuroncore_utilization": 5} for name in many}
        used = {"0": {"neuroncore_utilization": 5, "v3d": physical}}
        stats = executions(1, latency=dict.fromkeys(many, 1.0), **dict.fromkeys(many, 1))
        samples = bench.samples(
            report(
                runtime(neuroncore_counters=group(neuroncores_in_use=used), execution_stats=stats)
            )
        )
    assert len(samples.of("execution_latency_seconds")) <= MOST_NAMES
    assert len(samples.of("neuron_executions_total")) <= MOST_NAMES
    names = len(bench.samples(report()).of("neuroncore_physical_utilization_ratio"))
    assert names <= MOST_PHYSICAL_CORES


def test_lines_of_the_log_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a rate lines are dropped and counted, errors never; the next line says how many."""
    monkeypatch.setattr(log, "MOST_LINES_PER_SECOND", 3)
    monkeypatch.setattr(log._Ration, "tell", staticmethod(lambda: None))
    clock = iter([100.0] * 12 + [101.0] * 5)
    monkeypatch.setattr("neuron_exporter.log.time.monotonic", lambda: next(clock))
    out, dropped = io.StringIO(), []
    log.on_drop(lambda: dropped.append(1))
    log.configure("info", "json", out)
    for number in range(10):
        log.get_logger().info("flood", number=number)
    log.get_logger().error("trouble")
    log.get_logger().info("flood")
    log.get_logger().info("later")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["flood"] * 3 + ["trouble", "later"]
    assert [line.get("lines_dropped") for line in lines] == [None, None, None, 7, 1]
    assert len(dropped) == 8
