"""What each metric pools: a report in which every other pooling would give another number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.model import CloudWatchMetric, Kind, MetricSpec, Moment, Place, Pooling
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from tests.support.reports import (
    HARDWARE,
    Bench,
    cores,
    ecc,
    executions,
    group,
    memory,
    report,
    runtime,
)

START = 1_700_000_040.0
FULL, _ = for_cloudwatch("full", [], [])

PLACES = {
    Pooling.CORES: Place.CORE,
    Pooling.DEVICES: Place.DEVICE,
    Pooling.RUNTIMES: Place.RUNTIME,
    Pooling.MACHINE: Place.MACHINE,
    Pooling.HEARTBEAT: Place.MACHINE,
}


def percentiles(p50: float) -> dict[str, float]:
    """Latencies of which the median is known."""
    return {"p0": p50 / 2, "p50": p50, "p100": p50 * 2}


def vcpu(user: float, system: float) -> dict[str, Any]:
    """`neuron_runtime_vcpu_usage`."""
    return group(vcpu_usage={"user": user, "system": system})


REPORT = report(
    runtime(
        1,
        "a",
        neuroncore_counters=cores(_0=50, _1=0, _2=0, _3=0),
        execution_stats=executions(10, percentiles(0.1), percentiles(0.05), timed_out=1),
        memory_used=memory({"0": {"tensors": 10}, "1": {"constants": 30}}, host=7),
        neuron_runtime_vcpu_usage=vcpu(4, 1),
    ),
    runtime(
        2,
        "b",
        neuroncore_counters=cores(_0=25, _1=0, _2=10, _3=0),
        execution_stats=executions(6, percentiles(0.4), percentiles(0.2), incorrect_input=2),
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
    "ExecutionLatency": {0.05: 3, 0.1: 4, 0.2: 3 + 2, 0.4: 2, 0.8: 2},
    "ExecutionDeviceLatency": {0.025: 3, 0.05: 4, 0.1: 3 + 2, 0.2: 2, 0.4: 2},
    "HostCpuUtilization": {0.30: 1},
    "HostMemoryUtilization": {0.25: 1},
    "HostMemoryUsed": {100: 1},
    "HostSwapUsed": {5: 1},
}
"""What one report gives, in the unit of the row, and how often."""

RISES = {
    "ExecutionsCompleted": 16,
    "ExecutionErrors": 3,
    "ExecutionsTimedOut": 1,
    "ExecutionsIncorrectInput": 2,
    "EccUncorrected": 0,
    "EccCorrected": 0,
}
"""What the first report adds to each counter: of ECC it is only known where it stands."""


def sent() -> list[tuple[MetricSpec, CloudWatchMetric]]:
    """Every metric of CloudWatch, and its row."""
    return [(row, metric) for row in CATALOGUE for metric in row.cloudwatch]


def gathered(*documents: Any) -> Window:
    """A window with these reports."""
    windows, bench = Windows(FULL, 60), Bench()
    for number, document in enumerate(documents):
        wall = START + 5 * number
        windows.add(replace(bench.collect(document).snapshot, taken_at=Moment(wall, wall)))
    (window,) = windows.take(START + 60)
    return window


@pytest.mark.parametrize("name", VALUES)
def test_each_metric_pools_what_it_says(name: str) -> None:
    """One report gives one value for each core, device, runtime or the machine, and no other."""
    values = gathered(REPORT).values[MACHINE, name]
    assert {round(value, 9): count for value, count in values.items()} == VALUES[name]


@pytest.mark.parametrize("name", RISES)
def test_each_counter_gives_its_rise(name: str) -> None:
    """One value an interval: what was counted in it, over all runtimes and devices."""
    assert gathered(REPORT).rises[MACHINE, name] == RISES[name]
    assert gathered(REPORT, REPORT).rises[MACHINE, name] == 2 * RISES[name]


def test_healthy_and_idle_is_zero() -> None:
    """Nothing runs: the metrics that alarms need are there all the same, and 0."""
    idle = report(system_data=REPORT["system_data"], neuron_hardware_info=HARDWARE)
    window = gathered(idle)
    for name in ("ExecutionsCompleted", "ExecutionErrors", "EccUncorrected"):
        assert window.rises[MACHINE, name] == 0
    assert window.values[MACHINE, "NeuronCoreUtilization"] == {0.0: 4}
    assert window.values[MACHINE, "NeuronCoresInUse"] == {0.0: 1}
    assert (MACHINE, "ExecutionLatency") not in window.values


def test_every_pooling_is_of_its_place() -> None:
    """A metric says to pool what its row is about; what rises is a counter."""
    for row, metric in sent():
        if metric.pooling is Pooling.DELTA:
            assert row.kind is Kind.COUNTER, metric.name
        else:
            assert row.place is PLACES[metric.pooling], metric.name


def test_no_two_metrics_have_one_name() -> None:
    """A name stands for one row, one unit and one pooling."""
    names = [metric.name for _, metric in sent()]
    assert len(set(names)) == len(names)
