"""Runtimes: processes that use Neuron."""

from __future__ import annotations

from neuron_exporter.metrics.catalogue.builders import (
    BOTH,
    ONLY_AWS,
    counter,
    distribution,
    gauge,
    send,
)
from neuron_exporter.model import Group, MetricSpec, Place, Pooling, Preset, Unit

EXECUTION_STATUS = counter(
    "execution_status_total",
    "Executions of the runtime by how they ended.",
    place=Place.RUNTIME,
    group=Group.EXECUTION_STATS,
    layouts=BOTH,
    reads="statuses",
    by="status_type",
    preset=Preset.STANDARD,
)

EXECUTION_ERRORS = counter(
    "execution_errors_total",
    "Errors of the runtime's executions by type.",
    place=Place.RUNTIME,
    group=Group.EXECUTION_STATS,
    reads="errors",
    by="error_type",
    preset=Preset.STANDARD,
)

RUNTIMES: tuple[MetricSpec, ...] = (
    gauge(
        "neuron_runtime_memory_used_bytes",
        "Memory that the runtime uses on the host or on Neuron devices, in bytes.",
        place=Place.RUNTIME,
        group=Group.MEMORY_USED,
        layouts=BOTH,
        reads="memory",
        by="memory_location",
        unit=Unit.BYTES,
        preset=Preset.STANDARD,
        sends=(
            send("RuntimeHostMemoryUsed", "Bytes", Pooling.RUNTIMES, only=("host",)),
            send("RuntimeDeviceMemoryUsed", "Bytes", Pooling.RUNTIMES, only=("neuron_device",)),
        ),
    ),
    gauge(
        "neuron_runtime_host_memory_used_bytes",
        "Memory that the runtime uses on the host, by what is in it, in bytes.",
        place=Place.RUNTIME,
        group=Group.MEMORY_USED,
        reads="host_memory",
        by="category",
        unit=Unit.BYTES,
        since="2.4",
    ),
    gauge(
        "neuron_runtime_vcpu_usage_ratio",
        "Share of the host's CPU time that the runtime's process used.",
        place=Place.RUNTIME,
        group=Group.RUNTIME_VCPU_USAGE,
        layouts=BOTH,
        reads="vcpu",
        by="usage_type",
        unit=Unit.RATIO,
        sends=(
            send("RuntimeCpuUser", "Percent", Pooling.RUNTIMES, scale=100, only=("user",)),
            send("RuntimeCpuSystem", "Percent", Pooling.RUNTIMES, scale=100, only=("system",)),
        ),
    ),
    EXECUTION_STATUS,
    EXECUTION_ERRORS,
    counter(
        "execution_errors_total",
        "Errors of the runtime's executions by type, with the level that 2022 called generic.",
        place=Place.RUNTIME,
        group=Group.EXECUTION_STATS,
        reads="all_errors",
        by="error_type",
        layouts=ONLY_AWS,
        preset=Preset.STANDARD,
    ),
    gauge(
        "execution_latency_seconds",
        "Percentiles of the time that an execution took in all, in the period.",
        place=Place.RUNTIME,
        group=Group.EXECUTION_STATS,
        layouts=BOTH,
        reads="latency",
        by="percentile",
        unit=Unit.SECONDS,
        preset=Preset.STANDARD,
    ),
    gauge(
        "execution_device_latency_seconds",
        "Percentiles of the time that an execution spent on the device, in the period.",
        place=Place.RUNTIME,
        group=Group.EXECUTION_STATS,
        reads="device_latency",
        by="percentile",
        unit=Unit.SECONDS,
    ),
    distribution(
        "execution_latency_distribution",
        "How long executions took in all: each runtime's percentiles, weighted by what it "
        "completed; an approximation.",
        place=Place.RUNTIME,
        group=Group.EXECUTION_STATS,
        reads="latencies",
        unit=Unit.SECONDS,
        sends=(send("ExecutionLatency", "Seconds", Pooling.RUNTIMES, Preset.STANDARD),),
    ),
    distribution(
        "execution_device_latency_distribution",
        "How long executions spent on the device: each runtime's percentiles, weighted by what it "
        "completed; an approximation.",
        place=Place.RUNTIME,
        group=Group.EXECUTION_STATS,
        reads="device_latencies",
        unit=Unit.SECONDS,
        sends=(send("ExecutionDeviceLatency", "Seconds", Pooling.RUNTIMES),),
    ),
)
