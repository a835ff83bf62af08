"""Cores of one machine, the processes that use them, and their owners."""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.models.dashboard import DataTransformerConfig

from grafana.dashboards_src import colors, panels, tables
from grafana.dashboards_src.layout import dashboard_link
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import (
    JOB,
    MACHINE,
    MEMORY,
    TARGET,
    pad_core,
    select,
    utilization,
)
from grafana.dashboards_src.tables import table_query
from grafana.rules_src.problems import RANK
from neuron_exporter.facts.problems import STALLED_SECONDS

_UTILIZATION = utilization(MACHINE)

_RUNTIMES = {
    "runtime_tag": "Tag",
    "pid": "Process",
    "namespace": "Namespace",
    "pod": "Pod",
    "task_family": "Task family",
    "service": "Service",
    "container": "Container",
    "job_id": "Job",
}
"""Labels of a runtime and of its owner, with their headings."""

_WORKLOADS = {
    _RUNTIMES[label]: dashboard_link(
        "neuron-exporter-workload", "Open the workload", "workload", _RUNTIMES[label], by=label
    )
    for label in ("runtime_tag", "pod", "task_family", "service", "job_id")
}


def cores() -> list[Panel]:
    """Return the panels."""
    info = select("neuroncore_runtime_info", MACHINE)
    memory = " + ".join(select(f"neuroncore_memory_usage_{each}", MACHINE) for each in MEMORY)
    size = select("neuron_hardware_info", MACHINE)
    allocated = f"({select('neuroncore_allocated', MACHINE)} == 1)"

    def by_core(values: str) -> str:
        """Return values per core with the labels of its runtimes and the size of a device.

        A core without a runtime has the labels of the pod to which it is allocated.
        """
        value = f"sum by ({TARGET}, neuroncore) ({values})"
        used = f"{value} * on ({TARGET}, neuroncore) group_right () {info}"
        unused = f"{value} unless on ({TARGET}, neuroncore) {info}"
        owned = f"({unused}) * on ({TARGET}, neuroncore) group_right () {allocated}"
        free = f"{unused} unless on ({TARGET}, neuroncore) {allocated}"
        each = f"({used} or {owned} or {free})"
        with_size = f"{each} * on ({TARGET}) group_left (neuroncore_per_device_count) {size}"
        return f"{with_size} or {each} unless on ({TARGET}) {size}"

    return [
        panels.timeline(
            "Utilization of each core",
            "One band per core, the darker the busier; a gap means that the core was not read. "
            f"After {STALLED_SECONDS} s without an execution ending, the cores of a process are "
            "yellow, and red once that is a hang.",
            query(pad_core(_bands()), "core {{core}}"),
            hangs=True,
            unit="percentunit",
            width=24,
            height=16,
        ),
        tables.table(
            "Current state of each core",
            "Core, its device, and the process that uses it, or the pod to which it is allocated "
            "although no process uses it. A shared core has a row per process. "
            "Click a tag, pod, task family or service to see it on all machines.",
            {
                "neuroncore": "Core",
                "device": "Device",
                "Value #A": "Utilization",
                "Value #B": "Memory",
                **_RUNTIMES,
            },
            table_query(by_core(_UTILIZATION)),
            table_query(by_core(memory)),
            units={"Utilization": "percentunit", "Memory": "bytes"},
            widths={"Core": 80, "Device": 80, "Utilization": 110, "Memory": 110},
            links=_WORKLOADS,
            transformations=_with_device(),
            sort={"Core": False},
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
        tables.table(
            "Processes that use cores",
            "Processes that were busy on cores or have memory there, with their owners.",
            {"Value": "Cores", **_RUNTIMES},
            table_query(f"count by ({', '.join(_RUNTIMES)}) ({info})"),
            links=_WORKLOADS,
            widths={"Cores": 80, "Process": 90},
            sort={"Cores": True},
        ),
    ]


_HUNG = 'reason="hung"'


def _bands() -> str:
    """Return the utilization of each core, or the mark of a hang of its process."""
    info = select("neuroncore_runtime_info", MACHINE)
    gap = select("neuron_execution_gap_seconds", MACHINE)
    runtime = ", ".join([TARGET, *(label for label in _RUNTIMES if label != "pid")])
    stalled = (
        f"max by ({TARGET}, neuroncore) ({info} and on ({runtime}) {gap} >= {STALLED_SECONDS})"
    )
    hung = f"max by ({TARGET}) ({select(RANK, JOB, _HUNG)})"
    mark = f"0 * {stalled} + on ({TARGET}) group_left () (0 * {hung} + {colors.HUNG})"
    unjudged = f"0 * {stalled} + {colors.NO_EXECUTION}"
    busy = f"max by ({TARGET}, neuroncore) ({_UTILIZATION})"
    return f"max by (neuroncore) ({mark} or {unjudged} or {busy})"


def _with_device() -> list[DataTransformerConfig]:
    """Return the transformations that add a core's device: its index by the cores per device."""
    size = "neuroncore_per_device_count"

    def calculate(alias: str, options: Mapping[str, object]) -> DataTransformerConfig:
        return DataTransformerConfig(id_val="calculateField", options={"alias": alias, **options})

    quotient = {"left": "neuroncore", "operator": "/", "right": size}
    floor = {"operator": "floor", "fieldName": "quotient"}
    return [
        tables.number("neuroncore", size),
        calculate("quotient", {"mode": "binary", "binary": quotient}),
        calculate("device", {"mode": "unary", "unary": floor}),
    ]
