"""Limits on text, series and names of a stream."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.identity.machine import Identity
from neuron_exporter.metrics import collector
from neuron_exporter.metrics.counters import MAX_RETIRED
from neuron_exporter.metrics.runtimes import MAX_RUNTIMES
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.metrics.series_cache import MAX_NAMES, MAX_PHYSICAL_CORES
from neuron_exporter.model import Machine
from neuron_exporter.sinks.prometheus import PrometheusSink
from neuron_exporter.text import MAX_LENGTH
from tests.support.reports import (
    Harness,
    cores,
    decode_document,
    executions,
    group,
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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1, max_size=80))
def test_any_text_makes_a_valid_exposition(text: str) -> None:
    for family in text_string_to_metric_families(exposed(hostile(text * 5))):
        for sample in family.samples:
            assert all(len(value) <= MAX_LENGTH for value in sample.labels.values())


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


def test_exited_runtimes_are_limited() -> None:
    harness = Harness()
    harness.now = 0
    for batch in range(6):
        workers = [
            runtime(1, f"{batch}-{n}", execution_stats=executions(1)) for n in range(MAX_RUNTIMES)
        ]
        harness.now -= 5  # all of it within the ten minutes for which they are kept
        samples = harness.samples(report(*workers))
    tags = {labels[0] for labels in samples.values("execution_status_total")}
    assert len(tags) <= MAX_RETIRED + MAX_RUNTIMES
    assert samples.value("neuron_executions_total", "completed") == 6 * MAX_RUNTIMES
    assert f"5-{MAX_RUNTIMES - 1}" in tags


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
