"""Metrics of Neuron devices."""

from __future__ import annotations

from functools import partial

from neuron_exporter.metrics.catalogue.builders import ALL_LAYOUTS, counter, gauge, info, metric
from neuron_exporter.model import EntityKind, Group, MetricSpec, Preset

_count = partial(
    gauge, entity_kind=EntityKind.MACHINE, preset=Preset.MINIMAL, per_task=True, since="1.16"
)
_memory = partial(
    gauge,
    entity_kind=EntityKind.DEVICE,
    group=Group.MEMORY_USED,
    extra_groups=frozenset({Group.HW_COUNTERS}),
    since="2.4",
)

_driver = partial(gauge, entity_kind=EntityKind.DEVICE, group=None, per_task=True)

DEVICES: tuple[MetricSpec, ...] = (
    _count(
        "neuron_devices_expected",
        "Number of Neuron devices of the instance type, or of a container or task that has only "
        "some; absent if it or the number present is unknown.",
        "devices_expected",
        group=None,
        cloudwatch=[metric("NeuronDevicesExpected")],
    ),
    _count(
        "neuron_devices_present",
        "Number of Neuron devices that neuron-monitor reports; absent if it is unknown, and until "
        "the Neuron driver has answered once.",
        "devices_present",
        group=None,
        extra_groups=frozenset({Group.HW_COUNTERS}),
        cloudwatch=[metric("NeuronDevicesPresent")],
    ),
    counter(
        "hardware_ecc_events_total",
        "ECC events of the Neuron device's memory and SRAM by type.",
        "ecc",
        entity_kind=EntityKind.DEVICE,
        group=Group.HW_COUNTERS,
        split_by="event_type",
        start_column="ecc_start",
        layouts=ALL_LAYOUTS,
        preset=Preset.MINIMAL,
        cloudwatch=[
            metric(
                "EccUncorrected",
                Preset.MINIMAL,
                only=("mem_ecc_uncorrected", "sram_ecc_uncorrected"),
            ),
            metric("EccCorrected", only=("mem_ecc_corrected", "sram_ecc_corrected")),
        ],
        since="1.16",
    ),
    gauge(
        "neurondevice_ecc_reading",
        "ECC events as last reported by neuron-monitor, which does not document whether they are "
        "cumulative or per period.",
        "ecc_reading",
        entity_kind=EntityKind.DEVICE,
        group=Group.HW_COUNTERS,
        split_by="event_type",
        since="1.16",
    ),
    _memory(
        "neurondevice_memory_used_bytes",
        "Memory of the Neuron device that runtimes use, in bytes.",
        "memory_used",
        preset=Preset.STANDARD,
        cloudwatch=[metric("NeuronDeviceMemoryUsed")],
    ),
    _memory(
        "neurondevice_memory_utilization_ratio",
        "Fraction of the Neuron device's memory that runtimes use; absent if its size is unknown.",
        "memory_utilization",
        preset=Preset.MINIMAL,
        cloudwatch=[metric("NeuronDeviceMemoryUtilization", Preset.STANDARD)],
    ),
    _driver(
        "neurondevice_power_utilization_ratio",
        "Fraction of the Neuron device's maximum power in the last minute, by statistic; absent "
        "unless the driver says that it is valid.",
        "power",
        split_by="statistic",
        preset=Preset.STANDARD,
        cloudwatch=[metric("NeuronDevicePowerUtilization", only=("avg",))],
        since="2.25",
    ),
    _driver(
        "neurondevice_health",
        "1 if the driver finds this component of the Neuron device healthy, otherwise 0; the "
        "component device is the connection to it.",
        "health",
        split_by="component",
        preset=Preset.MINIMAL,
        since="2.32",
    ),
    counter(
        "neurondevice_resets_total",
        "Resets of the Neuron device or of its cores, by result; where cores differ, the highest "
        "count.",
        "resets",
        entity_kind=EntityKind.DEVICE,
        group=None,
        split_by="result",
        start_column="resets_start",
        preset=Preset.STANDARD,
    ),
    counter(
        "neurondevice_kernel_errors_total",
        "Hardware errors of the Neuron device in the kernel's log (NEURON_HW_ERR=) by type; "
        "absent unless hardware.kernel_log is on.",
        "kernel_errors",
        entity_kind=EntityKind.DEVICE,
        group=None,
        split_by="error_type",
        preset=Preset.STANDARD,
    ),
    info(
        "neurondevice_info",
        "Serial number of the Neuron device.",
        entity_kind=EntityKind.DEVICE_INFO,
        group=None,
        since="2.4",
    ),
)
