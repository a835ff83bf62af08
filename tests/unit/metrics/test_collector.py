"""Limits on text, series and names of a stream."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.identity.machine import Identity
from neuron_exporter.metrics import collector
from neuron_exporter.metrics.physical_cores import MAX_PHYSICAL_CORES
from neuron_exporter.metrics.runtimes import MAX_CORES_LISTED, MAX_RUNTIMES
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.metrics.series_cache import MAX_NAMES
from neuron_exporter.model import Machine
from neuron_exporter.sinks.prometheus import PrometheusSink
from neuron_exporter.text import MAX_LENGTH
from tests.support.reports import (
    Harness,
    Samples,
    cores,
    decode_document,
    executions,
    group,
    memory,
    report,
    runtime,
)

FORGERY = 'x"} 1\nneuron_executions_total{status_type="completed"} 999\n# \r\x1b[2J\u2028\u202e'


def exposed(document: Any) -> str:
    """Return the exposition of a report with all metrics."""
    machine = Identity(Machine(), {}).observe(decode_document(document).instance_info)
    harness = Harness()
    sink = PrometheusSink(select_for_prometheus("full", ["*"], [])[0])
    sink.offer(harness.collect(document, machine=machine).snapshot)
    return sink.expose(harness.now).decode()


def hostile(text: str) -> Any:
    """Return a report with this text wherever text can become a label."""
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


def test_text_cannot_forge_exposition_lines() -> None:
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
def test_any_text_makes_a_valid_exposition(text: str) -> None:
    for family in text_string_to_metric_families(exposed(hostile(text * 5))):
        for sample in family.samples:
            assert all(len(value) <= MAX_LENGTH for value in sample.labels.values())


def test_equal_names_are_merged_once_they_are_printable() -> None:
    """Counts are added, latencies are the maximum, and no series is exposed twice."""
    physical = {name: {"neuroncore_utilization": 20} for name in ("nc_v3.0", "nc_v2.0")}
    used = group(neuroncores_in_use={"0": {"neuroncore_utilization": 50, "v3d": physical}})
    stats = executions(1, {"p\1": 1, "p\2": 2}, errors={"e\1": 1, "e\2": 2}, **{"s\1": 3, "s\2": 4})
    runtimes = [
        {**runtime(1, tag, neuroncore_counters=used, execution_stats=stats), "pid": pid}
        for tag, pid in (("a\1", None), ("a\2", None), ("b\1", 5), ("b\2", 5), ("", 6), (None, 6))
    ]
    snapshot = Harness().collect(report(*runtimes)).snapshot
    series = [(each.spec.name, each.labels) for each in snapshot.shape]
    assert len(set(series)) == len(series)
    samples, shown = Samples(snapshot), "\N{REPLACEMENT CHARACTER}"
    assert samples.value("execution_status_total", f"a{shown}", f"s{shown}") == 2 * (3 + 4)
    assert samples.value("neuron_executions_total", f"s{shown}") == 6 * (3 + 4)
    assert samples.value("neuron_execution_errors_total", f"e{shown}") == 6 * (1 + 2)
    assert samples.value("execution_latency_seconds", f"a{shown}", f"p{shown}") == 2
    assert samples.values("neuroncore_physical_utilization_ratio") == {("0", "0"): 1.0}
    assert len(samples.values("neuroncore_runtime_info")) == 3


def test_series_of_a_metric_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "MAX_SERIES_PER_METRIC", 10)
    used = group(
        neuroncores_in_use={str(core): {"neuroncore_utilization": 1} for core in range(16)}
    )
    collected = Harness().collect(report(runtime(neuroncore_counters=used)))
    snapshot = collected.snapshot
    names = [series.spec.name for series in snapshot.shape]
    assert len(snapshot.values) == len(snapshot.shape)
    assert names.count("neuroncore_utilization_ratio") == 10
    assert names.count("neuroncores_in_use") == 1
    assert collected.series_dropped >= 6


def test_series_of_a_report_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = len(Harness().collect(report()).snapshot.shape)
    monkeypatch.setattr(collector, "MAX_SERIES", 15)
    collected = Harness().collect(report())
    assert len(collected.snapshot.shape) == len(collected.snapshot.values) == 15
    assert collected.series_dropped == everything - 15


def test_runtimes_of_a_report_are_limited() -> None:
    """Cores that a dropped runtime may use are not shown as idle."""
    many = [
        runtime(pid, str(pid), neuroncore_counters=cores(_0=0)) for pid in range(MAX_RUNTIMES + 5)
    ]
    collected = Harness().collect(report(*many))
    assert collected.runtimes_dropped == 5
    shown = dict(zip(collected.snapshot.shape, collected.snapshot.values, strict=True))
    busy = {s.labels: v for s, v in shown.items() if s.spec.name == "neuroncore_utilization_ratio"}
    assert all(value is None for value in busy.values())


@pytest.mark.parametrize("group", ["neuroncore_counters", "memory_used"])
def test_cores_that_runtimes_list_are_limited(group: str) -> None:
    listed, runtimes = 500, MAX_CORES_LISTED // 500 + 3
    groups = {
        "neuroncore_counters": cores(**{f"_{core}": 0 for core in range(listed)}),
        "memory_used": memory({str(core): {} for core in range(listed)}),
    }
    each = {group: groups[group]}
    many = (runtime(pid, str(pid), **each) for pid in range(runtimes))
    collected = Harness().collect(report(*many))
    assert collected.runtimes_dropped == 3


def test_labels_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runtimes go first, and shape and values stay of one length in the next report."""
    monkeypatch.setattr(collector, "MAX_LABEL_BYTES", 2000)
    harness = Harness()
    workers = [
        runtime(pid, f"{pid}-" + "\N{GRINNING FACE}" * 20, execution_stats=executions(1))
        for pid in range(40)
    ]
    for _ in range(2):
        collected = harness.collect(report(*workers))
        samples = Samples(collected.snapshot)
        assert len(collected.snapshot.shape) == len(collected.snapshot.values)
        assert collected.series_dropped > 0
    assert samples.value("neuron_executions_total", "completed") == 80


def test_runtime_that_returns_is_not_evicted() -> None:
    harness = Harness()
    back = runtime(1, "back", execution_stats=executions(1))
    harness.collect(report(back))
    harness.collect(report())
    harness.collect(report(back))
    for batch in range(5):
        many = [runtime(n, f"{batch}-{n}", execution_stats=executions(1)) for n in range(500)]
        samples = harness.samples(report(back, *many))
    assert samples.value("execution_status_total", "back", "completed") == 7


def test_known_series_stay_the_same_objects() -> None:
    """A new shape makes only the series of what is new, whether a runtime begins or exits."""
    harness = Harness()
    stats = executions(1, {"p50": 0.1})
    workers = [
        runtime(n, f"w{n}", execution_stats=stats, memory_used=memory({})) for n in range(21)
    ]
    before = harness.collect(report(*workers[1:])).snapshot.shape
    begun = harness.collect(report(*workers)).snapshot.shape
    known = {id(series) for series in before}
    made = [series for series in begun if id(series) not in known]
    assert {dict(series.labels)["runtime_tag"] for series in made} == {"w0"}
    known |= {id(series) for series in made}
    exited = harness.collect(report(*workers[2:])).snapshot.shape
    assert [series for series in exited if id(series) not in known] == []


def test_names_are_limited() -> None:
    harness = Harness()
    for batch in range(40):
        many = [f"{batch}.{n}" for n in range(60)]
        physical = {name: {"neuroncore_utilization": 5} for name in many}
        used = {"0": {"neuroncore_utilization": 5, "v3d": physical}}
        stats = executions(1, latency=dict.fromkeys(many, 1.0), **dict.fromkeys(many, 1))
        samples = harness.samples(
            report(
                runtime(neuroncore_counters=group(neuroncores_in_use=used), execution_stats=stats)
            )
        )
    assert len(samples.values("execution_latency_seconds")) <= MAX_NAMES
    assert len(samples.values("neuron_executions_total")) <= MAX_NAMES
    names = len(harness.samples(report()).values("neuroncore_physical_utilization_ratio"))
    assert names <= MAX_PHYSICAL_CORES
