"""Every metric there is: one row for one metric. To add a metric, add a row.

Names, types and labels are those of AWS's neuron-monitor-prometheus.py wherever it has the metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from exporter.model import (
    CloudWatchMetric,
    Column,
    Group,
    Kind,
    Layout,
    MetricSpec,
    Place,
    Pooling,
    Preset,
    Unit,
)

_ONLY_CLOUDWATCH: frozenset[Layout] = frozenset()


def _nothing(_: Any) -> dict[str, Column]:
    return {}


def _core_memory(category: str, name: str, what: str) -> MetricSpec:
    return MetricSpec(
        name=f"neuroncore_memory_usage_{category}",
        kind=Kind.GAUGE,
        unit=Unit.BYTES,
        help=f"Device memory of the NeuronCore that {what} take up, all runtimes together.",
        place=Place.CORE,
        read=attrgetter(category),
        # AWS's script sets this label, always to this value.
        constant_labels=(("memory_location", "None"),),
        group=Group.MEMORY_USED,
        preset=Preset.STANDARD,
        cloudwatch=(CloudWatchMetric(name=name, unit="Bytes", pooling=Pooling.CORES),),
    )


def _delta(
    name: str,
    preset: Preset = Preset.FULL,
    only: tuple[str, ...] = (),
    all_but: tuple[str, ...] = (),
) -> CloudWatchMetric:
    return CloudWatchMetric(
        name=name,
        unit="Count",
        pooling=Pooling.DELTA,
        preset=preset,
        only=only,
        all_but=all_but,
    )


CATALOGUE: tuple[MetricSpec, ...] = (
    # NeuronCores
    MetricSpec(
        name="neuroncore_utilization_ratio",
        kind=Kind.GAUGE,
        unit=Unit.RATIO,
        help="Share of the period in which the NeuronCore was busy, all runtimes together.",
        place=Place.CORE,
        read=attrgetter("utilization"),
        group=Group.NEURONCORE_COUNTERS,
        preset=Preset.MINIMAL,
        cloudwatch=(
            CloudWatchMetric(
                name="NeuronCoreUtilization",
                unit="Percent",
                pooling=Pooling.CORES,
                scale=100,
                preset=Preset.MINIMAL,
            ),
        ),
    ),
    MetricSpec(
        name="neuroncores_in_use",
        kind=Kind.GAUGE,
        help="NeuronCores of the machine that were busy in the period.",
        place=Place.MACHINE,
        read=attrgetter("cores_in_use"),
        group=Group.NEURONCORE_COUNTERS,
        preset=Preset.MINIMAL,
        cloudwatch=(
            CloudWatchMetric(
                name="NeuronCoresInUse",
                unit="Count",
                pooling=Pooling.MACHINE,
                preset=Preset.STANDARD,
            ),
        ),
    ),
    MetricSpec(
        name="neuroncore_effective_flops",
        kind=Kind.GAUGE,
        unit=Unit.FLOPS,
        help="Effective floating-point operations per second of the NeuronCore.",
        place=Place.CORE,
        read=attrgetter("effective_flops"),
        group=Group.NEURONCORE_COUNTERS,
        preset=Preset.STANDARD,
        since="2.17",
        cloudwatch=(
            CloudWatchMetric(
                name="NeuronCoreEffectiveFlops", unit="Count/Second", pooling=Pooling.CORES
            ),
        ),
    ),
    _core_memory("constants", "NeuronCoreMemoryConstants", "constants of models"),
    _core_memory("model_code", "NeuronCoreMemoryModelCode", "models' executable code"),
    _core_memory(
        "model_shared_scratchpad",
        "NeuronCoreMemorySharedScratchpad",
        "scratchpads that models share",
    ),
    _core_memory("runtime_memory", "NeuronCoreMemoryRuntime", "structures of the Neuron Runtime"),
    _core_memory("tensors", "NeuronCoreMemoryTensors", "tensors"),
    MetricSpec(
        name="neuroncore_runtime_info",
        kind=Kind.INFO,
        help="Which runtime holds the NeuronCore: it was busy there or has memory there.",
        place=Place.HOLDER,
        read=attrgetter("one"),
        group=Group.NEURONCORE_COUNTERS,
    ),
    # Runtimes
    MetricSpec(
        name="neuron_runtime_memory_used_bytes",
        kind=Kind.GAUGE,
        unit=Unit.BYTES,
        help="Memory that the runtime uses on the host or on Neuron devices, in bytes.",
        place=Place.RUNTIME,
        read=attrgetter("memory"),
        by="memory_location",
        group=Group.MEMORY_USED,
        preset=Preset.STANDARD,
        cloudwatch=(
            CloudWatchMetric(
                name="RuntimeHostMemoryUsed",
                unit="Bytes",
                pooling=Pooling.RUNTIMES,
                only=("host",),
            ),
            CloudWatchMetric(
                name="RuntimeDeviceMemoryUsed",
                unit="Bytes",
                pooling=Pooling.RUNTIMES,
                only=("neuron_device",),
            ),
        ),
    ),
    MetricSpec(
        name="neuron_runtime_vcpu_usage_ratio",
        kind=Kind.GAUGE,
        unit=Unit.RATIO,
        help="Share of the host's CPU time that the runtime's process used.",
        place=Place.RUNTIME,
        read=attrgetter("vcpu"),
        by="usage_type",
        group=Group.RUNTIME_VCPU_USAGE,
        cloudwatch=(
            CloudWatchMetric(
                name="RuntimeCpuUser",
                unit="Percent",
                pooling=Pooling.RUNTIMES,
                scale=100,
                only=("user",),
            ),
            CloudWatchMetric(
                name="RuntimeCpuSystem",
                unit="Percent",
                pooling=Pooling.RUNTIMES,
                scale=100,
                only=("system",),
            ),
        ),
    ),
    MetricSpec(
        name="execution_status_total",
        kind=Kind.COUNTER,
        help="Executions of the runtime by how they ended.",
        place=Place.RUNTIME,
        read=attrgetter("statuses"),
        by="status_type",
        group=Group.EXECUTION_STATS,
        preset=Preset.STANDARD,
    ),
    MetricSpec(
        name="execution_errors_total",
        kind=Kind.COUNTER,
        help="Errors of the runtime's executions by type.",
        place=Place.RUNTIME,
        read=attrgetter("errors"),
        by="error_type",
        group=Group.EXECUTION_STATS,
        preset=Preset.STANDARD,
    ),
    MetricSpec(
        name="execution_latency_seconds",
        kind=Kind.GAUGE,
        unit=Unit.SECONDS,
        help="Percentiles of the time that an execution took in all, in the period.",
        place=Place.RUNTIME,
        read=attrgetter("latency"),
        by="percentile",
        group=Group.EXECUTION_STATS,
        preset=Preset.STANDARD,
    ),
    MetricSpec(
        name="execution_device_latency_seconds",
        kind=Kind.GAUGE,
        unit=Unit.SECONDS,
        help="Percentiles of the time that an execution spent on the device, in the period.",
        place=Place.RUNTIME,
        read=attrgetter("device_latency"),
        by="percentile",
        group=Group.EXECUTION_STATS,
    ),
    # Totals of the machine
    MetricSpec(
        name="neuron_executions_total",
        kind=Kind.COUNTER,
        help="Executions of all runtimes of the machine by how they ended.",
        place=Place.MACHINE,
        read=attrgetter("statuses"),
        by="status_type",
        group=Group.EXECUTION_STATS,
        preset=Preset.MINIMAL,
        cloudwatch=(
            _delta("ExecutionsCompleted", Preset.STANDARD, only=("completed",)),
            _delta("ExecutionErrors", Preset.MINIMAL, all_but=("completed",)),
            _delta("ExecutionsCompletedWithError", only=("completed_with_err",)),
            _delta("ExecutionsCompletedWithNumericalError", only=("completed_with_num_err",)),
            _delta("ExecutionsTimedOut", only=("timed_out",)),
            _delta("ExecutionsIncorrectInput", only=("incorrect_input",)),
            _delta("ExecutionsFailedToQueue", only=("failed_to_queue",)),
        ),
    ),
    MetricSpec(
        name="neuron_execution_errors_total",
        kind=Kind.COUNTER,
        help="Errors of all executions of the machine by type.",
        place=Place.MACHINE,
        read=attrgetter("errors"),
        by="error_type",
        group=Group.EXECUTION_STATS,
        preset=Preset.MINIMAL,
        cloudwatch=(
            _delta("ExecutionErrorsNumerical", only=("numerical",)),
            _delta("ExecutionErrorsTransient", only=("transient",)),
            _delta("ExecutionErrorsModel", only=("model",)),
            _delta("ExecutionErrorsRuntime", only=("runtime",)),
            _delta("ExecutionErrorsHardware", only=("hardware",)),
        ),
    ),
    MetricSpec(
        name="execution_latency_distribution",
        kind=Kind.DISTRIBUTION,
        unit=Unit.SECONDS,
        help="How long executions took in all, from each runtime's percentiles weighted by what it "
        "completed: an approximation.",
        place=Place.MACHINE,
        read=attrgetter("latency"),
        group=Group.EXECUTION_STATS,
        layouts=_ONLY_CLOUDWATCH,
        cloudwatch=(
            CloudWatchMetric(
                name="ExecutionLatency",
                unit="Seconds",
                pooling=Pooling.RUNTIMES,
                preset=Preset.STANDARD,
            ),
        ),
    ),
    MetricSpec(
        name="execution_device_latency_distribution",
        kind=Kind.DISTRIBUTION,
        unit=Unit.SECONDS,
        help="How long executions spent on the device, from each runtime's percentiles weighted by "
        "what it completed: an approximation.",
        place=Place.MACHINE,
        read=attrgetter("device_latency"),
        group=Group.EXECUTION_STATS,
        layouts=_ONLY_CLOUDWATCH,
        cloudwatch=(
            CloudWatchMetric(
                name="ExecutionDeviceLatency", unit="Seconds", pooling=Pooling.RUNTIMES
            ),
        ),
    ),
    # Devices
    MetricSpec(
        name="hardware_ecc_events_total",
        kind=Kind.COUNTER,
        help="ECC events of the Neuron device's memory and SRAM by type.",
        place=Place.DEVICE,
        read=attrgetter("ecc"),
        by="event_type",
        start=attrgetter("ecc_start"),
        group=Group.HW_COUNTERS,
        preset=Preset.MINIMAL,
        cloudwatch=(
            _delta(
                "EccUncorrected",
                Preset.MINIMAL,
                only=("mem_ecc_uncorrected", "sram_ecc_uncorrected"),
            ),
            _delta("EccCorrected", only=("mem_ecc_corrected", "sram_ecc_corrected")),
        ),
    ),
    MetricSpec(
        name="neurondevice_memory_used_bytes",
        kind=Kind.GAUGE,
        unit=Unit.BYTES,
        help="Memory of the Neuron device that runtimes use, in bytes.",
        place=Place.DEVICE,
        read=attrgetter("memory_used"),
        group=Group.MEMORY_USED,
        preset=Preset.STANDARD,
        cloudwatch=(
            CloudWatchMetric(name="NeuronDeviceMemoryUsed", unit="Bytes", pooling=Pooling.DEVICES),
        ),
    ),
    MetricSpec(
        name="neurondevice_memory_utilization_ratio",
        kind=Kind.GAUGE,
        unit=Unit.RATIO,
        help="Share of the Neuron device's memory that runtimes use; absent where its size is not "
        "known.",
        place=Place.DEVICE,
        read=attrgetter("memory_utilization"),
        group=Group.MEMORY_USED,
        preset=Preset.MINIMAL,
        cloudwatch=(
            CloudWatchMetric(
                name="NeuronDeviceMemoryUtilization",
                unit="Percent",
                pooling=Pooling.DEVICES,
                scale=100,
                preset=Preset.STANDARD,
            ),
        ),
    ),
    # The host
    MetricSpec(
        name="system_vcpu_count",
        kind=Kind.GAUGE,
        help="CPUs of the host.",
        place=Place.MACHINE,
        read=attrgetter("vcpu_count"),
        group=Group.VCPU_USAGE,
    ),
    MetricSpec(
        name="system_vcpu_usage_ratio",
        kind=Kind.GAUGE,
        unit=Unit.RATIO,
        help="Share of the host's CPU time: user with nice, system with waiting and interrupts.",
        place=Place.MACHINE,
        read=attrgetter("vcpu"),
        by="usage_type",
        group=Group.VCPU_USAGE,
        preset=Preset.STANDARD,
    ),
    MetricSpec(
        name="system_vcpu_utilization_ratio",
        kind=Kind.GAUGE,
        unit=Unit.RATIO,
        help="Share of the host's CPU time that was busy.",
        place=Place.MACHINE,
        read=attrgetter("vcpu_utilization"),
        group=Group.VCPU_USAGE,
        layouts=_ONLY_CLOUDWATCH,
        cloudwatch=(
            CloudWatchMetric(
                name="HostCpuUtilization",
                unit="Percent",
                pooling=Pooling.MACHINE,
                scale=100,
                preset=Preset.STANDARD,
            ),
        ),
    ),
    MetricSpec(
        name="system_memory_total_bytes",
        kind=Kind.GAUGE,
        unit=Unit.BYTES,
        help="Memory of the host, in bytes.",
        place=Place.MACHINE,
        read=attrgetter("memory_total"),
        group=Group.MEMORY_INFO,
        preset=Preset.STANDARD,
    ),
    MetricSpec(
        name="system_memory_used_bytes",
        kind=Kind.GAUGE,
        unit=Unit.BYTES,
        help="Memory of the host that is in use, in bytes.",
        place=Place.MACHINE,
        read=attrgetter("memory_used"),
        group=Group.MEMORY_INFO,
        preset=Preset.STANDARD,
        cloudwatch=(
            CloudWatchMetric(name="HostMemoryUsed", unit="Bytes", pooling=Pooling.MACHINE),
        ),
    ),
    MetricSpec(
        name="system_memory_utilization_ratio",
        kind=Kind.GAUGE,
        unit=Unit.RATIO,
        help="Share of the host's memory that is in use.",
        place=Place.MACHINE,
        read=attrgetter("memory_utilization"),
        group=Group.MEMORY_INFO,
        layouts=_ONLY_CLOUDWATCH,
        cloudwatch=(
            CloudWatchMetric(
                name="HostMemoryUtilization",
                unit="Percent",
                pooling=Pooling.MACHINE,
                scale=100,
                preset=Preset.STANDARD,
            ),
        ),
    ),
    MetricSpec(
        name="system_swap_total_bytes",
        kind=Kind.GAUGE,
        unit=Unit.BYTES,
        help="Swap space of the host, in bytes.",
        place=Place.MACHINE,
        read=attrgetter("swap_total"),
        group=Group.MEMORY_INFO,
    ),
    MetricSpec(
        name="system_swap_used_bytes",
        kind=Kind.GAUGE,
        unit=Unit.BYTES,
        help="Swap space of the host that is in use, in bytes.",
        place=Place.MACHINE,
        read=attrgetter("swap_used"),
        group=Group.MEMORY_INFO,
        cloudwatch=(CloudWatchMetric(name="HostSwapUsed", unit="Bytes", pooling=Pooling.MACHINE),),
    ),
    # Identity
    MetricSpec(
        name="instance_info",
        kind=Kind.INFO,
        help="The machine that the series are from.",
        place=Place.MACHINE,
        read=attrgetter("one"),
        group=None,
        preset=Preset.MINIMAL,
    ),
    MetricSpec(
        name="neuron_hardware_info",
        kind=Kind.INFO,
        help="The Neuron devices of the machine: how many, their logical cores, their memory.",
        place=Place.HARDWARE,
        read=attrgetter("one"),
        group=None,
        preset=Preset.MINIMAL,
    ),
    # The exporter
    MetricSpec(
        name="exporter_heartbeat",
        kind=Kind.GAUGE,
        help="1 for every window in which the source lived, 0 for every other.",
        place=Place.MACHINE,
        read=_nothing,
        group=None,
        layouts=_ONLY_CLOUDWATCH,
        cloudwatch=(
            CloudWatchMetric(
                name="ExporterHeartbeat",
                unit="Count",
                pooling=Pooling.HEARTBEAT,
                preset=Preset.MINIMAL,
            ),
        ),
    ),
)


def by_name() -> Mapping[str, MetricSpec]:
    """The rows by their names."""
    return {row.name: row for row in CATALOGUE}
