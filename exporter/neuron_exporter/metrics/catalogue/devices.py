"""Neuron devices."""

from __future__ import annotations

from neuron_exporter.metrics.catalogue.builders import BOTH, counter, gauge, rise, send
from neuron_exporter.model import Group, MetricSpec, Place, Pooling, Preset, Unit

DEVICES: tuple[MetricSpec, ...] = (
    counter(
        "hardware_ecc_events_total",
        "ECC events of the Neuron device's memory and SRAM by type.",
        place=Place.DEVICE,
        group=Group.HW_COUNTERS,
        layouts=BOTH,
        reads="ecc",
        by="event_type",
        starts="ecc_start",
        preset=Preset.MINIMAL,
        sends=(
            rise(
                "EccUncorrected",
                Preset.MINIMAL,
                only=("mem_ecc_uncorrected", "sram_ecc_uncorrected"),
            ),
            rise("EccCorrected", only=("mem_ecc_corrected", "sram_ecc_corrected")),
        ),
        since="1.16",
    ),
    gauge(
        "neurondevice_ecc_reading",
        "ECC events as neuron-monitor last read them: a level or a tally, which nobody tells.",
        place=Place.DEVICE,
        group=Group.HW_COUNTERS,
        reads="ecc_reading",
        by="event_type",
        since="1.16",
    ),
    gauge(
        "neurondevice_memory_used_bytes",
        "Memory of the Neuron device that runtimes use, in bytes.",
        place=Place.DEVICE,
        group=Group.MEMORY_USED,
        reads="memory_used",
        unit=Unit.BYTES,
        preset=Preset.STANDARD,
        sends=(send("NeuronDeviceMemoryUsed", "Bytes", Pooling.DEVICES),),
        since="2.4",
    ),
    gauge(
        "neurondevice_memory_utilization_ratio",
        "Share of the Neuron device's memory that runtimes use; absent where its size is not "
        "known.",
        place=Place.DEVICE,
        group=Group.MEMORY_USED,
        reads="memory_utilization",
        unit=Unit.RATIO,
        preset=Preset.MINIMAL,
        sends=(
            send(
                "NeuronDeviceMemoryUtilization",
                "Percent",
                Pooling.DEVICES,
                Preset.STANDARD,
                scale=100,
            ),
        ),
        since="2.4",
    ),
)
