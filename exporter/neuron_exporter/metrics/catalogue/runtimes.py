"""Metrics of runtimes, which are the processes that use Neuron."""

from __future__ import annotations

from functools import partial

from neuron_exporter.metrics.catalogue.builders import (
    ALL_LAYOUTS,
    ONLY_AWS,
    counter,
    distribution,
    gauge,
    metric,
)
from neuron_exporter.model import EntityKind, Group, MetricSpec, Preset, Unit

_usage = partial(gauge, entity_kind=EntityKind.RUNTIME, group=Group.MEMORY_USED)
_count = partial(
    counter,
    entity_kind=EntityKind.RUNTIME_TOTALS,
    group=Group.EXECUTION_STATS,
    preset=Preset.STANDARD,
)
_percentiles = partial(
    gauge, entity_kind=EntityKind.RUNTIME, group=Group.EXECUTION_STATS, split_by="percentile"
)
_gap = partial(
    gauge,
    entity_kind=EntityKind.RUNTIME,
    group=Group.EXECUTION_STATS,
    extra_groups=frozenset({Group.NEURONCORE_COUNTERS}),
    preset=Preset.STANDARD,
)
_latencies = partial(
    distribution, entity_kind=EntityKind.RUNTIME, group=Group.EXECUTION_STATS, unit=Unit.SECONDS
)

EXECUTION_STATUS = _count(
    "execution_status_total",
    "Executions of the runtime by outcome.",
    "statuses",
    split_by="status_type",
    layouts=ALL_LAYOUTS,
)

EXECUTION_ERRORS = _count(
    "execution_errors_total",
    "Errors of the runtime's executions by type.",
    "errors",
    split_by="error_type",
)

RUNTIMES: tuple[MetricSpec, ...] = (
    _usage(
        "neuron_runtime_memory_used_bytes",
        "Memory that the runtime uses on the host or on Neuron devices, in bytes.",
        "memory",
        split_by="memory_location",
        layouts=ALL_LAYOUTS,
        preset=Preset.STANDARD,
        cloudwatch=[
            metric("RuntimeHostMemoryUsed", only=("host",)),
            metric("RuntimeDeviceMemoryUsed", only=("neuron_device",)),
        ],
    ),
    _usage(
        "neuron_runtime_host_memory_used_bytes",
        "Memory that the runtime uses on the host by category, in bytes.",
        "host_memory",
        split_by="category",
        since="2.4",
    ),
    _usage(
        "neuron_runtime_vcpu_usage_ratio",
        "Fraction of the host's CPU time that the runtime's process used.",
        "vcpu",
        group=Group.RUNTIME_VCPU_USAGE,
        split_by="usage_type",
        layouts=ALL_LAYOUTS,
        cloudwatch=[
            metric("RuntimeCpuUser", only=("user",)),
            metric("RuntimeCpuSystem", only=("system",)),
        ],
    ),
    EXECUTION_STATUS,
    EXECUTION_ERRORS,
    _count(
        "execution_errors_total",
        "Errors of the runtime's executions by type, including generic, which neuron-monitor of "
        "2022 reports as a level.",
        "all_errors",
        split_by="error_type",
        layouts=ONLY_AWS,
    ),
    _percentiles(
        "execution_latency_seconds",
        "Percentiles of the total latency of executions in the period.",
        "latency",
        layouts=ALL_LAYOUTS,
        preset=Preset.STANDARD,
    ),
    _percentiles(
        "execution_device_latency_seconds",
        "Percentiles of the latency of executions on the device in the period.",
        "device_latency",
    ),
    _gap(
        "neuron_execution_gap_seconds",
        "Seconds for which the runtime's cores have been busy while no execution ended.",
        "gap",
    ),
    _gap(
        "neuron_execution_gap_max_seconds",
        "Longest neuron_execution_gap_seconds that ended with a completed execution in the last "
        "six hours; absent if none did.",
        "longest_gap",
    ),
    _latencies(
        "execution_latency_distribution",
        "Total latency of executions: each runtime's percentiles, weighted by its completed "
        "executions; an approximation.",
        "latencies",
        cloudwatch=[metric("ExecutionLatency", Preset.STANDARD)],
    ),
    _latencies(
        "execution_device_latency_distribution",
        "Latency of executions on the device: each runtime's percentiles, weighted by its "
        "completed executions; an approximation.",
        "device_latencies",
        cloudwatch=[metric("ExecutionDeviceLatency")],
    ),
)
