"""Values of the host, groups with errors, and machines without a driver."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.model import SourceState
from tests.support.reports import HARDWARE, Harness, ecc, group, report, runtime


def average(**changes: float | None) -> dict[str, float | None]:
    """Return `average_usage` with these values, in percent."""
    idle = dict.fromkeys(("user", "nice", "system", "idle", "io_wait", "irq", "soft_irq"), 0)
    return {**idle, **changes}


def host(**shares: float | None) -> dict[str, Any]:
    """Return a report with these host CPU shares in percent."""
    return report(system_data={"vcpu_usage": group(average_usage=average(**shares))})


def test_host_cpu_ratios_are_summed_as_in_aws_script() -> None:
    samples = Harness().samples(host(user=10, nice=5, system=1, io_wait=2, irq=3, soft_irq=4))
    assert samples.values("system_vcpu_usage_ratio") == {("user",): 0.15, ("system",): 0.1}
    assert samples.value("system_vcpu_utilization_ratio") == pytest.approx(0.25)


def test_host_cpu_ratios_are_capped_at_one() -> None:
    samples = Harness().samples(host(user=99, nice=2, system=100, io_wait=3))
    assert samples.values("system_vcpu_usage_ratio") == {("user",): 1, ("system",): 1}
    assert samples.value("system_vcpu_utilization_ratio") == 1


def test_host_cpu_ratio_with_missing_part_is_absent() -> None:
    samples = Harness().samples(host(user=10, nice=None, system=5))
    assert samples.values("system_vcpu_usage_ratio") == {("system",): 0.05}
    assert samples.value("system_vcpu_utilization_ratio") is None


def test_unreadable_names_of_cpus() -> None:
    """How many there are is unknown, and those with a readable name have series."""
    busy = average(user=10)
    cpus = {"0": busy, "x": busy, "y": busy}
    usage = group(average_usage=busy, usage_data=cpus)
    samples = Harness().samples(report(system_data={"vcpu_usage": usage}))
    assert samples.value("system_vcpu_count") is None
    assert set(samples.values("system_cpu_usage_ratio")) == {("0", "user"), ("0", "system")}


def test_host_memory() -> None:
    info = group(
        memory_total_bytes=200, memory_used_bytes=50, swap_total_bytes=0, swap_used_bytes=None
    )
    samples = Harness().samples(report(system_data={"memory_info": info}))
    assert samples.value("system_memory_total_bytes") == 200
    assert samples.value("system_memory_used_bytes") == 50
    assert samples.value("system_memory_utilization_ratio") == 0.25
    assert samples.value("system_swap_total_bytes") == 0
    assert samples.value("system_swap_used_bytes") is None


def test_hardware_info() -> None:
    """One series has the properties of the devices as labels, except unknown ones."""
    known = {**HARDWARE, "neuron_device_memory_size": 34359738368}
    assert set(
        Harness().samples(report(neuron_hardware_info=known)).values("neuron_hardware_info")
    ) == {("2", "2", "34359738368")}
    assert set(Harness().samples(report()).values("neuron_hardware_info")) == {("2", "2")}
    assert Harness().samples(report(neuron_hardware_info=None)).values("neuron_hardware_info") == {}


@pytest.mark.parametrize(
    "broken",
    [
        {"memory_info": group("failed", memory_total_bytes=1, memory_used_bytes=1)},
        {"vcpu_usage": group("failed", average_usage=average(user=10), usage_data={"0": {}})},
        {"neuron_hw_counters": ecc({"mem_ecc_corrected": 1}, error="failed")},
    ],
)
def test_group_with_error_is_counted_and_not_exported(broken: dict[str, Any]) -> None:
    harness = Harness()
    collected = harness.collect(report(system_data=broken))
    (name,) = broken
    assert collected.group_errors == {name: 1}
    assert collected.error_texts == {name: "failed"}
    shown = {series.spec.group for series in collected.snapshot.shape}
    values = [
        v
        for s, v in zip(collected.snapshot.shape, collected.snapshot.values, strict=True)
        if s.spec.group == name
    ]
    assert set(values) <= {None}, shown


def test_errors_of_all_runtimes_are_counted() -> None:
    failing = group("no such file", vcpu_usage={"user": 0, "system": 0})
    collected = Harness().collect(
        report(
            runtime(1, "a", neuron_runtime_vcpu_usage=failing),
            runtime(2, "b", neuron_runtime_vcpu_usage=failing),
            runtime(3, "c", error="gone"),
        )
    )
    assert collected.group_errors == {"neuron_runtime_vcpu_usage": 2, "neuron_runtime": 1}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, SourceState.OK),
        ({"neuron_hardware_info": {"error": "driver?"}}, SourceState.NO_DRIVER),
        ({"neuron_hardware_info": {"neuron_device_count": 0}}, SourceState.NO_DRIVER),
        ({"neuron_hardware_info": None}, SourceState.OK),
        (
            {
                "neuron_hardware_info": None,
                "system_data": {"neuron_hw_counters": group(neuron_devices=None)},
            },
            SourceState.NO_DRIVER,
        ),
        ({"system_data": {"neuron_hw_counters": group(neuron_devices=None)}}, SourceState.OK),
    ],
)
def test_machine_without_driver_has_its_own_state(
    sections: dict[str, Any], expected: SourceState
) -> None:
    assert Harness().collect(report(**sections)).snapshot.health.state is expected


def test_host_metrics_are_shown_without_driver() -> None:
    document = report(
        neuron_hardware_info={"error": "no driver", "neuron_device_count": 0},
        system_data={
            "memory_info": group(memory_total_bytes=7),
            "neuron_hw_counters": group(neuron_devices=None),
        },
    )
    samples = Harness().samples(document)
    assert samples.value("system_memory_total_bytes") == 7
    assert samples.values("neuroncore_utilization_ratio") == {}
    assert samples.values("hardware_ecc_events_total") == {}
