"""Machine: cores, executions, memory, errors and host of one machine."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards_src import common, panels, variables
from grafana.dashboards_src.layout import dashboard
from grafana.dashboards_src.panels import Panel, query, table_query
from grafana.dashboards_src.queries import (
    CORRECTED,
    FAILED,
    JOB,
    MACHINE,
    MEMORY,
    TARGET,
    UNCORRECTED,
    increase,
    pad_core,
    select,
    utilization,
)

_DEVICE_MEMORY = select("neurondevice_memory_utilization_ratio", MACHINE)


def machine() -> Dashboard:
    """Return the dashboard."""
    choices = [
        *variables.prometheus(),
        variables.instance_type(),
        variables.from_label(
            "machine",
            "Machine",
            'label_values(instance_info{cluster=~"$cluster", job=~"$job", instance_type=~"$type"}, '
            "instance_id)",
            "Instance id. Lists the machines that reported in the time shown.",
            multiple=False,
        ),
    ]
    return dashboard(
        "neuron-exporter-machine",
        "Machine",
        "Cores, executions, memory, errors and host of one machine.",
        choices,
        {
            "": _overview(),
            "Cores": _cores(),
            "Executions": _executions(),
            "Memory": _memory(),
            "ECC": _ecc(),
            "Host and processes": _host(),
        },
    )


def _overview() -> list[Panel]:
    present = f"last_over_time({select('instance_info', MACHINE)}[$__range])"
    failed = increase("neuron_executions_total", MACHINE, FAILED)
    return [
        panels.stat(
            "Source",
            "1 while neuron-monitor reports, otherwise 0. At 0, the other panels show no new data.",
            query(f"min({select('neuron_exporter_up', JOB)} and on ({TARGET}) {present})"),
            steps=panels.RED_BELOW_1,
        ),
        common.cores_in_use(MACHINE),
        common.average_utilization(MACHINE),
        panels.stat(
            "Fullest device",
            "Memory utilization of the fullest device.",
            query(f"max({_DEVICE_MEMORY})"),
            unit="percentunit",
            steps=panels.NEARLY_FULL,
            decimals=1,
        ),
        panels.stat(
            "Failed executions",
            "Executions in the time shown that did not complete.",
            query(f"sum({failed})", instant=True),
            steps=panels.RED_FROM_1,
            decimals=0,
        ),
        common.uncorrected_ecc(MACHINE),
    ]


def _cores() -> list[Panel]:
    by_runtime = "by (runtime_tag, pid, pod, namespace, container, task_family, service)"
    return [
        panels.timeline(
            "Utilization of each core",
            "One band per core. Darker is busier; a gap means that the core was not read.",
            query(pad_core(f"max by (neuroncore) ({utilization(MACHINE)})"), "{{core}}"),
            unit="percentunit",
            width=24,
            height=14,
        ),
        panels.graph(
            "Effective FLOPS",
            "Useful floating-point operations per second of all cores. Reported by SDKs since "
            "2024.",
            query(f"sum({select('neuroncore_effective_flops', MACHINE)})", "effective"),
            unit="flops",
        ),
        panels.table(
            "Processes that use cores",
            "Processes that were busy on cores or have memory there, with their owners.",
            {
                "runtime_tag": "Tag",
                "pid": "Process",
                "namespace": "Namespace",
                "pod": "Pod",
                "task_family": "Task family",
                "service": "Service",
                "container": "Container",
                "Value": "Cores",
            },
            table_query(f"count {by_runtime} ({select('neuroncore_runtime_info', MACHINE)})"),
            no_value="none",
        ),
    ]


def _executions() -> list[Panel]:
    latency = select("execution_latency_seconds", MACHINE)
    device_latency = select("execution_device_latency_seconds", MACHINE)
    return [
        panels.graph(
            "Latency",
            "Percentiles of the total execution latency, for the slowest process.",
            query(f"max by (percentile) ({latency})"),
            unit="s",
        ),
        panels.graph(
            "Latency on the device",
            "Percentiles of the time on the device. The rest of the total latency is waiting and "
            "work of the host.",
            query(f"max by (percentile) ({device_latency})"),
            unit="s",
        ),
        *common.executions_and_errors(MACHINE),
    ]


def _memory() -> list[Panel]:
    categories = {
        name: select(f"neuroncore_memory_usage_{suffix}", MACHINE)
        for suffix, name in MEMORY.items()
    }
    headings = {f"Value #{letter}": name for letter, name in zip("ABCDE", categories, strict=True)}
    return [
        panels.bars(
            "Current memory of each core",
            "Device memory per core, by category.",
            "core",
            {"core": "Core", **headings},
            *(table_query(f"sum by (core) ({pad_core(each)})") for each in categories.values()),
            unit="bytes",
            width=24,
            height=9,
        ),
        panels.graph(
            "Memory by category",
            "Device memory of all cores, by category.",
            *(query(f"sum({each})", name) for name, each in categories.items()),
            unit="bytes",
            stacked=True,
        ),
        panels.graph(
            "Memory of each device",
            "Memory utilization per device. Empty where the device's size is unknown.",
            query(
                f"max by (neuron_device_index) ({_DEVICE_MEMORY})", "device {{neuron_device_index}}"
            ),
            unit="percentunit",
            steps=panels.NEARLY_FULL,
            maximum=1,
        ),
    ]


def _ecc() -> list[Panel]:
    def events(title: str, description: str, matcher: str) -> Panel:
        events = increase("hardware_ecc_events_total", MACHINE, matcher, window="$__rate_interval")
        return panels.graph(
            title,
            description,
            query(
                f"sum by (neuron_device_index, event_type) ({events})",
                "device {{neuron_device_index}} {{event_type}}",
            ),
            bars=True,
            height=7,
        )

    return [
        events(
            "Uncorrected",
            "New errors that could not be corrected. Results may be wrong.",
            UNCORRECTED,
        ),
        events(
            "Corrected",
            "New errors that were corrected. Harmless unless they become frequent.",
            CORRECTED,
        ),
    ]


def _host() -> list[Panel]:
    process_cpu = select("neuron_runtime_vcpu_usage_ratio", MACHINE)
    process_memory = select("neuron_runtime_memory_used_bytes", MACHINE, 'memory_location="host"')
    return [
        panels.graph(
            "CPU of the host",
            "Share of the host's CPU time, by usage type.",
            query(f"max by (usage_type) ({select('system_vcpu_usage_ratio', MACHINE)})"),
            unit="percentunit",
            stacked=True,
            maximum=1,
        ),
        panels.graph(
            "Memory of the host",
            "Memory in use, total memory, and swap in use.",
            query(f"max({select('system_memory_used_bytes', MACHINE)})", "in use"),
            query(f"max({select('system_memory_total_bytes', MACHINE)})", "total"),
            query(f"max({select('system_swap_used_bytes', MACHINE)})", "swap in use"),
            unit="bytes",
        ),
        panels.graph(
            "CPU of processes",
            "Share of the host's CPU time that each Neuron process uses.",
            query(f"sum by (runtime_tag) ({process_cpu})"),
            unit="percentunit",
        ),
        panels.graph(
            "Host memory of processes",
            "Host memory that each Neuron process uses.",
            query(f"sum by (runtime_tag) ({process_memory})"),
            unit="bytes",
        ),
    ]
