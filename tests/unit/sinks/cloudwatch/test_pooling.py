"""Pooling of each metric, with a report in which any other pooling would yield another number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import (
    CloudWatchMetric,
    EntityKind,
    MetricKind,
    MetricSpec,
    Pooling,
    Timestamp,
)
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE_POOL
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from tests.support.reports import (
    HARDWARE,
    Harness,
    cores,
    ecc,
    executions,
    group,
    memory,
    report,
    runtime,
)

START = 1_700_000_040.0
FULL, _ = select_for_cloudwatch("full", [], [])

ENTITY_KINDS = {
    Pooling.CORES: EntityKind.CORE,
    Pooling.DEVICES: EntityKind.DEVICE,
    Pooling.RUNTIMES: EntityKind.RUNTIME,
    Pooling.MACHINE: EntityKind.MACHINE,
    Pooling.HEARTBEAT: EntityKind.MACHINE,
}


def vcpu(user: float, system: float) -> dict[str, Any]:
    """Return a `neuron_runtime_vcpu_usage` group."""
    return group(vcpu_usage={"user": user, "system": system})


REPORT = report(
    runtime(
        1,
        "a",
        neuroncore_counters=cores(_0=50, _1=0, _2=0, _3=0),
        execution_stats=executions(10, {"p50": 0.1}, {"p50": 0.05}, timed_out=1),
        memory_used=memory({"0": {"tensors": 10}, "1": {"constants": 30}}, host=7),
        neuron_runtime_vcpu_usage=vcpu(4, 1),
    ),
    runtime(
        2,
        "b",
        neuroncore_counters=cores(_0=25, _1=0, _2=10, _3=0),
        execution_stats=executions(6, {"p50": 0.4}, {"p50": 0.2}, incorrect_input=2),
        memory_used=memory({"0": {"tensors": 5}, "2": {"model_code": 50}}, host=11),
        neuron_runtime_vcpu_usage=vcpu(6, 2),
    ),
    neuron_hardware_info={**HARDWARE, "neuron_device_memory_size": 1000},
    system_data={
        "neuron_hw_counters": ecc({"mem_ecc_uncorrected": 3}, {"sram_ecc_uncorrected": 4}),
        "vcpu_usage": group(
            average_usage={
                **{"user": 20, "nice": 1, "system": 5, "idle": 70},
                **{"io_wait": 2, "irq": 1, "soft_irq": 1},
            },
            usage_data={},
        ),
        "memory_info": group(
            memory_total_bytes=400, memory_used_bytes=100, swap_total_bytes=50, swap_used_bytes=5
        ),
    },
)
"""Two devices of two cores, and two runtimes that share the first core."""

VALUES = {
    "NeuronCoreUtilization": {0.75: 1, 0.10: 1, 0.0: 2},
    "NeuronCoresInUse": {2: 1},
    "NeuronCoreMemoryTensors": {15: 1, 0: 3},
    "NeuronCoreMemoryConstants": {30: 1, 0: 3},
    "NeuronCoreMemoryModelCode": {50: 1, 0: 3},
    "NeuronDeviceMemoryUsed": {45: 1, 50: 1},
    "NeuronDeviceMemoryUtilization": {0.045: 1, 0.05: 1},
    "RuntimeHostMemoryUsed": {7: 1, 11: 1},
    "RuntimeDeviceMemoryUsed": {40: 1, 55: 1},
    "RuntimeCpuUser": {0.04: 1, 0.06: 1},
    "RuntimeCpuSystem": {0.01: 1, 0.02: 1},
    "ExecutionLatency": {0.1: 10, 0.4: 6},
    "ExecutionDeviceLatency": {0.05: 10, 0.2: 6},
    "HostCpuUtilization": {0.30: 1},
    "HostMemoryUtilization": {0.25: 1},
    "HostMemoryUsed": {100: 1},
    "HostSwapUsed": {5: 1},
}
"""Values from one report in the unit of the row, with their counts."""

DELTAS = {
    "ExecutionsCompleted": 16,
    "ExecutionErrors": 3,
    "ExecutionsTimedOut": 1,
    "ExecutionsIncorrectInput": 2,
    "EccUncorrected": 0,
    "EccCorrected": 0,
}
"""Increase of each counter by the first report. The first ECC reading is only a baseline."""


def cloudwatch_metrics() -> list[tuple[MetricSpec, CloudWatchMetric]]:
    """Return every CloudWatch metric with its row."""
    return [(row, metric) for row in CATALOGUE for metric in row.cloudwatch]


def window_of(*documents: Any) -> Window:
    """Return a window with these reports."""
    windows, harness = Windows(FULL, 60), Harness()
    for number, document in enumerate(documents):
        wall = START + 5 * number
        windows.add(replace(harness.collect(document).snapshot, taken_at=Timestamp(wall, wall)))
    (window,) = windows.take(START + 60)
    return window


@pytest.mark.parametrize("name", VALUES)
def test_pooled_values(name: str) -> None:
    values = window_of(REPORT).values[MACHINE_POOL, name]
    assert {round(value, 9): count for value, count in values.items()} == VALUES[name]


@pytest.mark.parametrize("name", DELTAS)
def test_pooled_deltas(name: str) -> None:
    assert window_of(REPORT).deltas[MACHINE_POOL, name] == DELTAS[name]
    assert window_of(REPORT, REPORT).deltas[MACHINE_POOL, name] == 2 * DELTAS[name]


def test_idle_machine_reports_zeros() -> None:
    idle = report(system_data=REPORT["system_data"], neuron_hardware_info=HARDWARE)
    window = window_of(idle)
    for name in ("ExecutionsCompleted", "ExecutionErrors", "EccUncorrected"):
        assert window.deltas[MACHINE_POOL, name] == 0
    assert window.values[MACHINE_POOL, "NeuronCoreUtilization"] == {0.0: 4}
    assert window.values[MACHINE_POOL, "NeuronCoresInUse"] == {0.0: 1}
    assert (MACHINE_POOL, "ExecutionLatency") not in window.values


def test_pooling_matches_entity_kind() -> None:
    for row, metric in cloudwatch_metrics():
        if metric.pooling is Pooling.DELTA:
            assert row.kind is MetricKind.COUNTER, metric.name
        else:
            assert row.entity_kind is ENTITY_KINDS[metric.pooling], metric.name


def test_metric_names_are_unique() -> None:
    names = [metric.name for _, metric in cloudwatch_metrics()]
    assert len(set(names)) == len(names)
