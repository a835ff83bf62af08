"""NeuronCores."""

from __future__ import annotations

from functools import partial

from neuron_exporter.metrics.catalogue.builders import ONLY_AWS, gauge, info, send
from neuron_exporter.model import Group, MetricSpec, Place, Pooling, Preset, Unit


def _memory(category: str, name: str, what: str) -> tuple[MetricSpec, MetricSpec]:
    row = partial(
        gauge,
        f"neuroncore_memory_usage_{category}",
        group=Group.MEMORY_USED,
        reads=category,
        unit=Unit.BYTES,
        # AWS's script sets this label, always to this value.
        labels=(("memory_location", "None"),),
        preset=Preset.STANDARD,
        since="2.4",
    )
    return (
        row(
            f"Device memory of the NeuronCore taken up by {what}, all runtimes together.",
            place=Place.CORE,
            sends=(send(name, "Bytes", Pooling.CORES),),
        ),
        row(
            f"Device memory of the NeuronCore taken up by {what} of one runtime.",
            place=Place.RUNTIME_CORE,
            layouts=ONLY_AWS,
        ),
    )


UTILIZATION = gauge(
    "neuroncore_utilization_ratio",
    "Share of the period in which the NeuronCore was busy, all runtimes together.",
    place=Place.CORE,
    group=Group.NEURONCORE_COUNTERS,
    reads="utilization",
    unit=Unit.RATIO,
    preset=Preset.MINIMAL,
    sends=(send("NeuronCoreUtilization", "Percent", Pooling.CORES, Preset.MINIMAL, scale=100),),
)

CORES: tuple[MetricSpec, ...] = (
    UTILIZATION,
    gauge(
        "neuroncore_utilization_ratio",
        "Share of the period in which one runtime kept the NeuronCore busy.",
        place=Place.RUNTIME_CORE,
        group=Group.NEURONCORE_COUNTERS,
        reads="utilization",
        unit=Unit.RATIO,
        layouts=ONLY_AWS,
        preset=Preset.MINIMAL,
    ),
    gauge(
        "neuroncore_physical_utilization_ratio",
        "Share of the period in which the physical core was busy, of which logical ones are made.",
        place=Place.PHYSICAL_CORE,
        group=Group.NEURONCORE_COUNTERS,
        reads="utilization",
        unit=Unit.RATIO,
        since="2.21",
    ),
    gauge(
        "neuroncores_in_use",
        "NeuronCores of the machine that were busy in the period.",
        place=Place.MACHINE,
        group=Group.NEURONCORE_COUNTERS,
        reads="cores_in_use",
        preset=Preset.MINIMAL,
        per_owner=UTILIZATION,
        sends=(send("NeuronCoresInUse", "Count", Pooling.MACHINE, Preset.STANDARD),),
    ),
    gauge(
        "neuroncore_allocated",
        "1 where the NeuronCore was given to a pod, busy or not, 0 where it was given to none; "
        "absent where nobody tells.",
        place=Place.CORE,
        group=None,
        reads="allocated",
        preset=Preset.STANDARD,
    ),
    gauge(
        "neuroncore_flops",
        "Floating-point operations per second of the NeuronCore, all runtimes together.",
        place=Place.CORE,
        group=Group.NEURONCORE_COUNTERS,
        reads="flops",
        unit=Unit.FLOPS,
        sends=(send("NeuronCoreFlops", "Count/Second", Pooling.CORES),),
        since="2.7",
    ),
    gauge(
        "neuroncore_effective_flops",
        "Effective floating-point operations per second of the NeuronCore.",
        place=Place.CORE,
        group=Group.NEURONCORE_COUNTERS,
        reads="effective_flops",
        unit=Unit.FLOPS,
        preset=Preset.STANDARD,
        sends=(send("NeuronCoreEffectiveFlops", "Count/Second", Pooling.CORES),),
        since="2024",
    ),
    *_memory("constants", "NeuronCoreMemoryConstants", "constants of models"),
    *_memory("model_code", "NeuronCoreMemoryModelCode", "models' executable code"),
    *_memory(
        "model_shared_scratchpad",
        "NeuronCoreMemorySharedScratchpad",
        "scratchpads that models share",
    ),
    *_memory("runtime_memory", "NeuronCoreMemoryRuntime", "structures of the Neuron Runtime"),
    *_memory("tensors", "NeuronCoreMemoryTensors", "tensors"),
    info(
        "neuroncore_runtime_info",
        "Which runtime holds the NeuronCore: it was busy there or has memory there.",
        place=Place.HOLDER,
        group=Group.NEURONCORE_COUNTERS,
        also=frozenset({Group.MEMORY_USED}),
    ),
)
