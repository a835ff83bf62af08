"""Metrics of the machine: totals of all runtimes, the host, and info metrics."""

from __future__ import annotations

from functools import partial

from neuron_exporter.facts.report_names import ERROR_TYPES, FAILED_STATUSES
from neuron_exporter.metrics.catalogue.builders import (
    ALL_LAYOUTS,
    ONLY_AWS,
    ONLY_CLOUDWATCH,
    counter,
    gauge,
    info,
    metric,
)
from neuron_exporter.metrics.catalogue.runtimes import EXECUTION_ERRORS, EXECUTION_STATUS
from neuron_exporter.model import EntityKind, Group, MetricSpec, Pooling, Preset

_total = partial(
    counter, entity_kind=EntityKind.MACHINE, group=Group.EXECUTION_STATS, preset=Preset.MINIMAL
)
_cpu = partial(gauge, entity_kind=EntityKind.MACHINE, group=Group.VCPU_USAGE)
_memory = partial(
    gauge, entity_kind=EntityKind.MACHINE, group=Group.MEMORY_INFO, layouts=ALL_LAYOUTS
)
_info = partial(info, group=None, preset=Preset.MINIMAL)

TOTALS: tuple[MetricSpec, ...] = (
    _total(
        "neuron_executions_total",
        "Executions of all runtimes of the machine by outcome.",
        "statuses",
        split_by="status_type",
        per_owner=EXECUTION_STATUS,
        cloudwatch=[
            metric("ExecutionsCompleted", Preset.STANDARD, only=("completed",)),
            metric("ExecutionErrors", Preset.MINIMAL, only=FAILED_STATUSES),
            metric("ExecutionsCompletedWithError", only=("completed_with_err",)),
            metric("ExecutionsCompletedWithNumericalError", only=("completed_with_num_err",)),
            metric("ExecutionsTimedOut", only=("timed_out",)),
            metric("ExecutionsIncorrectInput", only=("incorrect_input",)),
            metric("ExecutionsFailedToQueue", only=("failed_to_queue",)),
        ],
    ),
    _total(
        "neuron_execution_errors_total",
        "Errors of all executions of the machine by type.",
        "errors",
        split_by="error_type",
        per_owner=EXECUTION_ERRORS,
        cloudwatch=[metric(f"ExecutionErrors{kind.title()}", only=(kind,)) for kind in ERROR_TYPES],
    ),
)

HOST: tuple[MetricSpec, ...] = (
    _cpu("system_vcpu_count", "Number of CPUs of the host.", "vcpu_count", layouts=ALL_LAYOUTS),
    _cpu(
        "system_vcpu_usage_ratio",
        "Fraction of the host's CPU time: user includes nice, system includes I/O wait and "
        "interrupts.",
        "vcpu",
        split_by="usage_type",
        layouts=ALL_LAYOUTS,
        preset=Preset.STANDARD,
    ),
    _cpu(
        "system_cpu_usage_ratio",
        "Fraction of the time of one CPU: user includes nice, system includes I/O wait and "
        "interrupts.",
        "vcpu",
        entity_kind=EntityKind.CPU,
        split_by="usage_type",
        preset=Preset.NONE,
    ),
    counter(
        "system_context_switches_total",
        "Context switches of the host, summed over received reports.",
        "context_switches",
        entity_kind=EntityKind.MACHINE,
        group=Group.VCPU_USAGE,
    ),
    _cpu(
        "system_vcpu_utilization_ratio",
        "Fraction of the host's CPU time that was busy.",
        "vcpu_utilization",
        layouts=ONLY_CLOUDWATCH,
        cloudwatch=[metric("HostCpuUtilization", Preset.STANDARD)],
    ),
    _memory(
        "system_memory_total_bytes",
        "Memory of the host in bytes.",
        "memory_total",
        preset=Preset.STANDARD,
    ),
    _memory(
        "system_memory_used_bytes",
        "Memory of the host that is in use, in bytes.",
        "memory_used",
        preset=Preset.STANDARD,
        cloudwatch=[metric("HostMemoryUsed")],
    ),
    _memory(
        "system_memory_utilization_ratio",
        "Fraction of the host's memory that is in use.",
        "memory_utilization",
        layouts=ONLY_CLOUDWATCH,
        cloudwatch=[metric("HostMemoryUtilization", Preset.STANDARD)],
    ),
    _memory("system_swap_total_bytes", "Swap space of the host in bytes.", "swap_total"),
    _memory(
        "system_swap_used_bytes",
        "Swap space of the host that is in use, in bytes.",
        "swap_used",
        cloudwatch=[metric("HostSwapUsed")],
    ),
)

INFO: tuple[MetricSpec, ...] = (
    _info(
        "instance_info",
        "Instance that the series come from.",
        entity_kind=EntityKind.MACHINE,
        layouts=ALL_LAYOUTS,
    ),
    _info(
        "neuron_hardware_info",
        "Neuron devices of the machine: number, logical cores of each, memory and generation.",
        entity_kind=EntityKind.HARDWARE,
        since="1.16",
    ),
    _info(
        "neuron_hardware_info",
        "Neuron devices of the machine: number, logical cores of each and memory.",
        entity_kind=EntityKind.HARDWARE_COUNTS,
        layouts=ONLY_AWS,
        since="1.16",
    ),
    _info("neuron_driver_info", "Neuron driver of the machine.", entity_kind=EntityKind.DRIVER),
    _info(
        "neuron_tools_info",
        "Version of the package that contains neuron-monitor, if known.",
        entity_kind=EntityKind.TOOLS,
    ),
    gauge(
        "exporter_heartbeat",
        "1 if the source was healthy at the end of the window, otherwise 0.",
        "no_columns",
        entity_kind=EntityKind.MACHINE,
        group=None,
        layouts=ONLY_CLOUDWATCH,
        cloudwatch=[metric("ExporterHeartbeat", Preset.MINIMAL)],
        pooling=Pooling.HEARTBEAT,
    ),
)
