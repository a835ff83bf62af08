"""Machine: cores, executions, memory, errors and host of one machine."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards_src import colors, common, devices, panels, tables, variables
from grafana.dashboards_src.layout import LINKS, dashboard
from grafana.dashboards_src.machine_cores import cores
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import (
    CORRECTED,
    FAILED,
    JOB,
    MACHINE,
    MEMORY,
    TARGET,
    UNCORRECTED,
    events,
    increase,
    select,
)
from grafana.dashboards_src.tables import table_query
from grafana.dashboards_src.triage import RULES_MISSING, STATES, since_when
from grafana.dashboards_src.workloads import OF_MACHINE, workloads_worst_first
from grafana.rules_src.problems import MACHINES, RANK

_DEVICE_MEMORY = select("neurondevice_memory_utilization_ratio", MACHINE)
_GAP = select("neuron_execution_gap_seconds", MACHINE)
_BUILD = select("neuron_exporter_build_info", JOB)
_PRESENT = f"last_over_time({select('instance_info', MACHINE)}[$__range])"

_RUNTIME = "{{runtime_tag}} {{pod}}{{task_family}}"
"""Name of the series of a runtime."""


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
        "Cores, executions, memory, errors, power and host of one machine.",
        choices,
        {
            "": _overview(),
            "Cores": cores(),
            "Executions": _executions(),
            "Memory": _memory(),
            "ECC": _ecc(),
            "Power, faults and health": devices.of_machine(),
            "Host and processes": _host(),
        },
    )


def _overview() -> list[Panel]:
    failed = increase("neuron_executions_total", MACHINE, FAILED)
    return [
        _problems(),
        tables.table(
            "Machine and its exporter",
            "Click the exporter to see its reports, deliveries and resources.",
            {
                "instance": "Exporter",
                "instance_type": "Type",
                "availability_zone": "Zone",
                "version": "Version",
                "instance_name": "Name",
                "node": "Node",
            },
            table_query(
                f"{_PRESENT} * on ({TARGET}) group_left (version) {_BUILD} "
                f"or {_PRESENT} unless on ({TARGET}) {_BUILD}"
            ),
            links=LINKS,
            widths={"Exporter": 135, "Type": 105, "Zone": 95},
            paged=False,
            width=8,
            height=5,
        ),
        panels.stat(
            "Source",
            "Whether neuron-monitor reports. If not, the other panels show no new data.",
            query(f"min({select('neuron_exporter_up', JOB)} and on ({TARGET}) {_PRESENT})"),
            texts=colors.SOURCE,
            width=3,
            height=5,
        ),
        panels.stat(
            "Missing devices",
            "Neuron devices of the instance type that neuron-monitor does not report.",
            query(
                f"max({select('neuron_devices_expected', MACHINE)}) "
                f"- max({select('neuron_devices_present', MACHINE)})"
            ),
            steps=colors.RED_FROM_1,
            no_value="unknown",
            width=4,
            height=5,
        ),
        common.cores_in_use(MACHINE),
        common.average_utilization(MACHINE),
        panels.stat(
            "No execution for",
            "Longest time for which cores of a process have been busy without an execution "
            "ending. Yellow may be a hang, red is one, unless executions of this length are "
            "usual for the process; Problems says which.",
            query(f"max({_GAP})"),
            unit="s",
            decimals=0,
            steps=colors.NO_EXECUTION_SECONDS,
            no_value="no process",
        ),
        panels.stat(
            "Failed executions",
            "Executions in the time shown that did not complete.",
            query(f"sum({failed})", instant=True),
            steps=colors.RED_FROM_1,
            decimals=0,
        ),
        panels.stat(
            "Fullest device",
            "Memory utilization of the fullest device.",
            query(f"max({_DEVICE_MEMORY})"),
            unit="percentunit",
            steps=colors.NEARLY_FULL,
            decimals=0,
            no_value="unknown",
        ),
        common.uncorrected_ecc(MACHINE),
    ]


def _problems() -> Panel:
    here = f"{select(RANK, JOB)} and on ({TARGET}) {_PRESENT}"
    known = f"max by ({TARGET}) ({select(MACHINES, JOB)}) and on ({TARGET}) {_PRESENT}"
    well = f"0 * ({known} unless on ({TARGET}) {select(RANK, JOB)})"
    missing = f"{RULES_MISSING} * (absent({select(MACHINES, JOB)}) and on () {_PRESENT})"
    return tables.table(
        "Problems",
        "Problems of this machine, the worst first. They are shown before an alert fires for them.",
        {"Value #A": "Problem", "Value #B": "Since"},
        table_query(f"{here} or {well} or {missing}"),
        table_query(since_when(JOB, f"and on ({TARGET}) {_PRESENT}")),
        units={"Since": "dateTimeFromNow"},
        texts={"Problem": STATES},
        widths={"Since": 140},
        no_value="-",
        sort={"Problem": True},
        paged=False,
        width=9,
        height=5,
    )


def _executions() -> list[Panel]:
    return [
        workloads_worst_first("Workloads, worst first", OF_MACHINE, 8),
        common.latency(
            "Latency",
            "Median, 99th percentile and maximum of the total execution latency, for the slowest "
            "process.",
            "execution_latency_seconds",
            MACHINE,
        ),
        common.latency(
            "Latency on the device",
            "Median, 99th percentile and maximum of the time on the device. The rest of the total "
            "latency is waiting and work of the host.",
            "execution_device_latency_seconds",
            MACHINE,
        ),
        *common.executions_and_errors(MACHINE),
        panels.graph(
            "Time without an execution ending",
            "By process, while its cores are busy. A regular sawtooth is normal for long "
            "executions; a line that only rises is a hang.",
            query(f"max by (runtime_tag, pod, task_family) ({_GAP})", _RUNTIME),
            unit="s",
            width=24,
        ),
    ]


def _memory() -> list[Panel]:
    categories = {
        name: select(f"neuroncore_memory_usage_{suffix}", MACHINE)
        for suffix, name in MEMORY.items()
    }
    return [
        tables.bars(
            "Current memory of each core",
            "Device memory per core, by category.",
            "neuroncore",
            {"neuroncore": "Core", **tables.values(categories)},
            *(table_query(f"sum by (neuroncore) ({each})") for each in categories.values()),
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
            width=8,
        ),
        panels.graph(
            "Memory of each device",
            "Device memory in use, per device.",
            query(
                "max by (neuron_device_index) "
                f"({select('neurondevice_memory_used_bytes', MACHINE)})",
                "device {{neuron_device_index}}",
            ),
            unit="bytes",
            width=8,
        ),
        panels.graph(
            "Memory utilization of each device",
            "Share of the device's memory in use. Empty where the device's size is unknown.",
            query(
                f"max by (neuron_device_index) ({_DEVICE_MEMORY})", "device {{neuron_device_index}}"
            ),
            unit="percentunit",
            steps=colors.NEARLY_FULL,
            width=8,
        ),
    ]


def _ecc() -> list[Panel]:
    def new(title: str, description: str, matcher: str, hue: str) -> Panel:
        return panels.graph(
            title,
            f"{description} The bars add up to the total in the legend.",
            query(
                "sum by (neuron_device_index, event_type) "
                f"({events('hardware_ecc_events_total', MACHINE, matcher)})",
                "device {{neuron_device_index}} {{event_type}}",
                interval="1m",
            ),
            hue=hue,
            bars=True,
            totals=True,
            height=7,
        )

    return [
        new(
            "Uncorrected",
            "New errors that could not be corrected. Results may be wrong.",
            UNCORRECTED,
            "red",
        ),
        new(
            "Corrected",
            "New errors that were corrected. Harmless unless they become frequent.",
            CORRECTED,
            "orange",
        ),
    ]


def _host() -> list[Panel]:
    process_cpu = select("neuron_runtime_vcpu_usage_ratio", MACHINE)
    process_memory = select("neuron_runtime_memory_used_bytes", MACHINE, 'memory_location="host"')
    return [
        panels.graph(
            "CPU of the host",
            "Share of the host's CPU time, by usage type.",
            query(
                f"max by (usage_type) ({select('system_vcpu_usage_ratio', MACHINE)})",
                "{{usage_type}}",
            ),
            unit="percentunit",
            stacked=True,
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
            query(f"sum by (runtime_tag, pod, task_family) ({process_cpu})", _RUNTIME),
            unit="percentunit",
        ),
        panels.graph(
            "Host memory of processes",
            "Host memory that each Neuron process uses.",
            query(f"sum by (runtime_tag, pod, task_family) ({process_memory})", _RUNTIME),
            unit="bytes",
        ),
    ]
