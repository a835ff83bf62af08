"""What the host and the devices show, and what an error or an absence costs."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.model import SourceState
from tests.support.reports import HARDWARE, Bench, ecc, group, report, runtime


def average(**changes: float | None) -> dict[str, float | None]:
    """`average_usage` with these values."""
    nothing = dict.fromkeys(("user", "nice", "system", "idle", "io_wait", "irq", "soft_irq"), 0)
    return {**nothing, **changes}


def host(**shares: float | None) -> dict[str, Any]:
    """A report with these host CPU shares in percent."""
    return report(system_data={"vcpu_usage": group(average_usage=average(**shares))})


def test_host_shares_are_added_as_awss_script_does() -> None:
    """user has nice in it; system has waiting and interrupts."""
    samples = Bench().samples(host(user=10, nice=5, system=1, io_wait=2, irq=3, soft_irq=4))
    assert samples.of("system_vcpu_usage_ratio") == {("user",): 0.15, ("system",): 0.1}
    assert samples.one("system_vcpu_utilization_ratio") == pytest.approx(0.25)


def test_host_shares_are_clipped() -> None:
    """Rounding in the source never makes a share above 1."""
    samples = Bench().samples(host(user=99, nice=2, system=100, io_wait=3))
    assert samples.of("system_vcpu_usage_ratio") == {("user",): 1, ("system",): 1}
    assert samples.one("system_vcpu_utilization_ratio") == 1


def test_a_share_with_a_part_missing_is_absent() -> None:
    """No part of a sum has a default of zero, and half a total is not shown."""
    samples = Bench().samples(host(user=10, nice=None, system=5))
    assert samples.of("system_vcpu_usage_ratio") == {("system",): 0.05}
    assert samples.one("system_vcpu_utilization_ratio") is None


def test_host_memory() -> None:
    """Bytes are shown as they are told, and the share where both are."""
    info = group(
        memory_total_bytes=200, memory_used_bytes=50, swap_total_bytes=0, swap_used_bytes=None
    )
    samples = Bench().samples(report(system_data={"memory_info": info}))
    assert samples.one("system_memory_total_bytes") == 200
    assert samples.one("system_memory_used_bytes") == 50
    assert samples.one("system_memory_utilization_ratio") == 0.25
    assert samples.one("system_swap_total_bytes") == 0
    assert samples.one("system_swap_used_bytes") is None


def test_hardware_info_is_in_labels() -> None:
    """What the machine's devices are is one series with labels; what is not told has no label."""
    known = {**HARDWARE, "neuron_device_memory_size": 34359738368}
    assert set(Bench().samples(report(neuron_hardware_info=known)).of("neuron_hardware_info")) == {
        ("2", "2", "34359738368")
    }
    assert set(Bench().samples(report()).of("neuron_hardware_info")) == {("2", "2")}
    assert Bench().samples(report(neuron_hardware_info=None)).of("neuron_hardware_info") == {}


@pytest.mark.parametrize(
    "broken",
    [
        {"memory_info": group("failed", memory_total_bytes=1, memory_used_bytes=1)},
        {"vcpu_usage": group("failed", average_usage=average(user=10), usage_data={"0": {}})},
        {"neuron_hw_counters": ecc({"mem_ecc_corrected": 1}, error="failed")},
    ],
)
def test_values_of_a_group_with_an_error_are_no_readings(broken: dict[str, Any]) -> None:
    """A group with an error text is counted and named, and its zeros are not exported."""
    bench = Bench()
    collected = bench.collect(report(system_data=broken))
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
    """Each runtime's failing group counts, and a runtime's own error as neuron_runtime."""
    failing = group("no such file", vcpu_usage={"user": 0, "system": 0})
    collected = Bench().collect(
        report(
            runtime(1, "a", neuron_runtime_vcpu_usage=failing),
            runtime(2, "b", neuron_runtime_vcpu_usage=failing),
            runtime(3, "c", error="gone"),
        )
    )
    assert collected.group_errors == {"neuron_runtime_vcpu_usage": 2, "neuron_runtime": 1}


@pytest.mark.parametrize(
    ("sections", "wanted"),
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
def test_a_machine_without_a_driver_is_told_apart(
    sections: dict[str, Any], wanted: SourceState
) -> None:
    """A report without hardware is no failure of the source, and not healthy either."""
    assert Bench().collect(report(**sections)).snapshot.health.state is wanted


def test_host_metrics_survive_without_a_driver() -> None:
    """On a machine without devices the host is still shown, and no core is made up."""
    document = report(
        neuron_hardware_info={"error": "no driver", "neuron_device_count": 0},
        system_data={
            "memory_info": group(memory_total_bytes=7),
            "neuron_hw_counters": group(neuron_devices=None),
        },
    )
    samples = Bench().samples(document)
    assert samples.one("system_memory_total_bytes") == 7
    assert samples.of("neuroncore_utilization_ratio") == {}
    assert samples.of("hardware_ecc_events_total") == {}
