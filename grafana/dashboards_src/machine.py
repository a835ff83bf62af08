"""Machine: what every core, device and process of one machine does."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.frame import choice, dashboard, prometheus_variables, type_variable
from grafana.source.panels import (
    ANY_IS_BAD,
    FULL,
    ZERO_IS_BAD,
    About,
    Panel,
    columns,
    lines,
    number,
    query,
    rows,
    stacks,
    states,
)
from grafana.source.queries import (
    CORRECTED,
    JOB,
    MACHINE,
    MEMORY,
    TARGET,
    UNCORRECTED,
    in_order,
    pick,
    rate,
    rise,
)

_BUSY = pick("neuroncore_utilization_ratio", MACHINE)
_DEVICE_MEMORY = pick("neurondevice_memory_utilization_ratio", MACHINE)


def machine() -> Dashboard:
    """The dashboard."""
    variables = [
        *prometheus_variables(),
        type_variable(),
        choice(
            "machine",
            "Machine",
            'label_values(instance_info{cluster=~"$cluster", job=~"$job", instance_type=~"$type"}, '
            "instance_id)",
            "The instance's id. A machine is here while it has reported in the time shown.",
            many=False,
        ),
    ]
    return dashboard(
        "neuron-exporter-machine",
        "Machine",
        "One machine: its cores, its memory, its executions, its errors, its host.",
        variables,
        {
            "": _numbers(),
            "Cores": _cores(),
            "Executions": _executions(),
            "Memory": _memory(),
            "ECC": _ecc(),
            "Host and processes": _host(),
        },
    )


def _numbers() -> list[Panel]:
    seen = f"last_over_time({pick('instance_info', MACHINE)}[$__range])"
    failed = rise("neuron_executions_total", MACHINE, 'status_type!="completed"')
    uncorrected = rise("hardware_ecc_events_total", MACHINE, UNCORRECTED)
    return [
        number(
            About(
                "Source",
                "1 while neuron-monitor reports, 0 while it does not: then nothing below is new.",
                "none",
                4,
                4,
            ),
            query(f"min({pick('neuron_exporter_up', JOB)} and on ({TARGET}) {seen})"),
            steps=ZERO_IS_BAD,
        ),
        number(
            About("Cores in use", "Cores that are busy, and all that there are.", "none", 4, 4),
            query(f"sum({pick('neuroncores_in_use', MACHINE)})", "busy"),
            query(f"count({_BUSY})", "all"),
            spark=False,
        ),
        number(
            About("Utilization", "Average of all cores, idle ones included.", "percentunit", 4, 4),
            query(f"avg({_BUSY})"),
            decimals=1,
        ),
        number(
            About("Fullest device", "Memory in use of the fullest device.", "percentunit", 4, 4),
            query(f"max({_DEVICE_MEMORY})"),
            steps=FULL,
            decimals=1,
        ),
        number(
            About(
                "Failed executions",
                "Executions in the time shown that ended in any other way than completed.",
                "none",
                4,
                4,
            ),
            query(f"sum({failed})", instant=True),
            steps=ANY_IS_BAD,
            decimals=0,
        ),
        number(
            About(
                "Uncorrected ECC",
                "Errors of memory and SRAM in the time shown that could not be corrected.",
                "none",
                4,
                4,
            ),
            query(f"sum({uncorrected})", instant=True),
            steps=ANY_IS_BAD,
            decimals=0,
            none="not known",
        ),
    ]


def _cores() -> list[Panel]:
    by_runtime = "by (runtime_tag, pid, pod, namespace, container, task_family, service)"
    return [
        states(
            About(
                "Every core",
                "A band for each core, the darker the busier; a gap is where nobody read it.",
                "percentunit",
                24,
                14,
            ),
            query(in_order(f"max by (neuroncore) ({_BUSY})"), "{{core}}"),
        ),
        lines(
            About(
                "Effective FLOPS",
                "Floating-point operations a second of all cores that were of use; reported by "
                "SDKs since 2024.",
                "flops",
            ),
            query(f"sum({pick('neuroncore_effective_flops', MACHINE)})", "effective"),
        ),
        columns(
            About(
                "Who holds cores",
                "The processes that were busy on cores or have memory there, and whose they are.",
                "none",
            ),
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
            rows(f"count {by_runtime} ({pick('neuroncore_runtime_info', MACHINE)})"),
            none="nobody",
        ),
    ]


def _executions() -> list[Panel]:
    by_percentile = "max by (percentile)"
    return [
        lines(
            About(
                "Latency",
                "Percentiles of an execution's time in all; of several processes the slowest's.",
                "s",
            ),
            query(f"{by_percentile} ({pick('execution_latency_seconds', MACHINE)})"),
        ),
        lines(
            About(
                "Latency on the device",
                "The part of that time that was spent on the device. What the other one has more "
                "was waiting or the host's work.",
                "s",
            ),
            query(f"{by_percentile} ({pick('execution_device_latency_seconds', MACHINE)})"),
        ),
        lines(
            About("Executions", "Executions a second, by how they ended.", "ops"),
            query(f"sum by (status_type) ({rate('neuron_executions_total', MACHINE)})"),
            stacked=True,
        ),
        lines(
            About("Errors", "Errors of executions a second, by type.", "ops"),
            query(f"sum by (error_type) ({rate('neuron_execution_errors_total', MACHINE)})"),
            stacked=True,
        ),
    ]


def _memory() -> list[Panel]:
    kinds = [pick(f"neuroncore_memory_usage_{kind}", MACHINE) for kind in MEMORY]
    fields = {
        f"Value #{letter}": name for letter, name in zip("ABCDE", MEMORY.values(), strict=True)
    }
    return [
        stacks(
            About(
                "Memory of each core now",
                "Device memory by core, by what is in it.",
                "bytes",
                24,
                9,
            ),
            "core",
            {"core": "Core", **fields},
            *(rows(f"sum by (core) ({in_order(each)})") for each in kinds),
        ),
        lines(
            About("Memory by category", "Device memory of all cores, by what is in it.", "bytes"),
            *(
                query(f"sum({each})", name)
                for each, name in zip(kinds, MEMORY.values(), strict=True)
            ),
            stacked=True,
        ),
        lines(
            About(
                "Memory of each device",
                "Share of each device's memory in use; nothing where its size is not known.",
                "percentunit",
            ),
            query(
                f"max by (neuron_device_index) ({_DEVICE_MEMORY})", "device {{neuron_device_index}}"
            ),
            steps=FULL,
            most=1,
        ),
    ]


def _ecc() -> list[Panel]:
    by_device = "sum by (neuron_device_index, event_type)"
    legend = "device {{neuron_device_index}} {{event_type}}"
    window = "[$__rate_interval]"
    uncorrected = pick("hardware_ecc_events_total", MACHINE, UNCORRECTED)
    corrected = pick("hardware_ecc_events_total", MACHINE, CORRECTED)
    return [
        lines(
            About(
                "Uncorrected",
                "New errors that could not be corrected: results may be wrong.",
                "none",
                12,
                7,
            ),
            query(f"{by_device} (increase({uncorrected}{window}))", legend),
            bars=True,
        ),
        lines(
            About(
                "Corrected",
                "New errors that were corrected: harmless, unless they become more and more.",
                "none",
                12,
                7,
            ),
            query(f"{by_device} (increase({corrected}{window}))", legend),
            bars=True,
        ),
    ]


def _host() -> list[Panel]:
    vcpu, memory = "neuron_runtime_vcpu_usage_ratio", "neuron_runtime_memory_used_bytes"
    return [
        lines(
            About("CPU of the host", "Share of all CPUs' time, by what they did.", "percentunit"),
            query(f"max by (usage_type) ({pick('system_vcpu_usage_ratio', MACHINE)})"),
            stacked=True,
            most=1,
        ),
        lines(
            About("Memory of the host", "In use, and all that there is; swap in use.", "bytes"),
            query(f"max({pick('system_memory_used_bytes', MACHINE)})", "in use"),
            query(f"max({pick('system_memory_total_bytes', MACHINE)})", "all"),
            query(f"max({pick('system_swap_used_bytes', MACHINE)})", "swap in use"),
        ),
        lines(
            About(
                "CPU of processes",
                "Share of the host's CPU time that each Neuron process takes.",
                "percentunit",
            ),
            query(f"sum by (runtime_tag) ({pick(vcpu, MACHINE)})"),
        ),
        lines(
            About(
                "Host memory of processes",
                "Memory that each Neuron process has on the host.",
                "bytes",
            ),
            query(f"sum by (runtime_tag) ({pick(memory, MACHINE, _ON_HOST)})"),
        ),
    ]


_ON_HOST = 'memory_location="host"'
