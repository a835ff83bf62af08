"""Metrics of NeuronCores."""

from __future__ import annotations

from functools import partial

from neuron_exporter.metrics.catalogue.builders import ONLY_AWS, counter, gauge, info, metric
from neuron_exporter.model import EntityKind, Group, MetricSpec, Preset, Unit

_DEVICES = frozenset({Group.HW_COUNTERS})
"""Group that lists the devices, and so which cores exist."""

_counters = partial(gauge, group=Group.NEURONCORE_COUNTERS, extra_groups=_DEVICES)
_core = partial(_counters, entity_kind=EntityKind.CORE)


def _memory(category: str, cloudwatch_name: str, purpose: str) -> tuple[MetricSpec, MetricSpec]:
    memory = partial(
        gauge,
        f"neuroncore_memory_usage_{category}",
        column=category,
        group=Group.MEMORY_USED,
        extra_groups=_DEVICES,
        unit=Unit.BYTES,
        # AWS's script sets this label, always to this value.
        constant_labels=(("memory_location", "None"),),
        preset=Preset.STANDARD,
        since="2.4",
    )
    return (
        memory(
            f"Bytes of device memory used on the NeuronCore for {purpose}, summed over runtimes.",
            entity_kind=EntityKind.CORE,
            cloudwatch=[metric(cloudwatch_name)],
        ),
        memory(
            f"Bytes of device memory used on the NeuronCore by one runtime for {purpose}.",
            entity_kind=EntityKind.RUNTIME_CORE,
            layouts=ONLY_AWS,
        ),
    )


UTILIZATION = _core(
    "neuroncore_utilization_ratio",
    "Fraction of the period in which the NeuronCore was busy, summed over runtimes, at most 1.",
    "utilization",
    preset=Preset.MINIMAL,
    cloudwatch=[metric("NeuronCoreUtilization", Preset.MINIMAL)],
)

CORES: tuple[MetricSpec, ...] = (
    UTILIZATION,
    _counters(
        "neuroncore_utilization_ratio",
        "Fraction of the period in which one runtime kept the NeuronCore busy.",
        "utilization",
        entity_kind=EntityKind.RUNTIME_CORE,
        layouts=ONLY_AWS,
        preset=Preset.MINIMAL,
    ),
    _counters(
        "neuroncore_physical_utilization_ratio",
        "Fraction of the period in which the physical core of a logical NeuronCore was busy.",
        "utilization",
        entity_kind=EntityKind.PHYSICAL_CORE,
        since="2.21",
    ),
    _counters(
        "neuroncores_in_use",
        "Number of NeuronCores of the machine that were busy in the period.",
        "cores_in_use",
        entity_kind=EntityKind.MACHINE,
        preset=Preset.MINIMAL,
        per_owner=UTILIZATION,
        cloudwatch=[metric("NeuronCoresInUse", Preset.STANDARD)],
    ),
    _core(
        "neuroncore_allocated",
        "1 if the NeuronCore is allocated to a pod, busy or not, 0 if it is free; absent if the "
        "allocation is unknown.",
        "allocated",
        group=None,
        preset=Preset.STANDARD,
    ),
    _core(
        "neuroncore_flops",
        "Floating-point operations per second of the NeuronCore, summed over runtimes.",
        "flops",
        cloudwatch=[metric("NeuronCoreFlops")],
        since="2.7",
    ),
    _core(
        "neuroncore_effective_flops",
        "Effective floating-point operations per second of the NeuronCore, summed over runtimes.",
        "effective_flops",
        preset=Preset.STANDARD,
        cloudwatch=[metric("NeuronCoreEffectiveFlops")],
        since="2024",
    ),
    *_memory("constants", "NeuronCoreMemoryConstants", "constants of models"),
    *_memory("model_code", "NeuronCoreMemoryModelCode", "executable code of models"),
    *_memory(
        "model_shared_scratchpad",
        "NeuronCoreMemorySharedScratchpad",
        "scratchpads shared by models",
    ),
    *_memory("runtime_memory", "NeuronCoreMemoryRuntime", "structures of the Neuron Runtime"),
    *_memory("tensors", "NeuronCoreMemoryTensors", "tensors"),
    counter(
        "neuroncore_hardware_errors_total",
        "Errors of the NeuronCore's executions that the driver blames on the hardware, by type; "
        "absent if the core is unknown.",
        "hardware_errors",
        entity_kind=EntityKind.CORE,
        group=None,
        split_by="error_type",
        preset=Preset.STANDARD,
        per_task=True,
        cloudwatch=[metric("HardwareErrors")],
        since="2.4",
    ),
    info(
        "neuroncore_runtime_info",
        "Runtime that uses the NeuronCore: it was busy there or has memory there.",
        entity_kind=EntityKind.CORE_RUNTIME,
        group=Group.NEURONCORE_COUNTERS,
        extra_groups=frozenset({Group.MEMORY_USED}),
        preset=Preset.STANDARD,
    ),
)
