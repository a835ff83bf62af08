"""Which panels of the dashboards have data for which of the rig's machines."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.dashboard_rig import BROKEN, DOWN, REPORTING, WITH_DRIVER, WITH_JOB_ID

ALL = REPORTING | {BROKEN, DOWN}
ANSWERING = REPORTING | {BROKEN}
BUSY = REPORTING - {"idle", "compile", "allocated"}
EXECUTING = BUSY - {"hang"}
WITH_PODS = {"pods", "allocated"}
DRIVER = frozenset({WITH_DRIVER})
PUBLISHING = {"inference", "training", "mixed", "compile"}

JOBS_PANELS = (
    "Machines of each job, slowest first",
    "Utilization on the machines of each job",
    "Completed executions on the machines of each job",
)
IDLE_CORES = "Idle cores, at $core_price USD an hour each"
UTILIZATION_ON_EACH_MACHINE = (
    "Utilization on each machine (gray: idle, blue: busy, yellow: no execution ends, red: hung)"
)

FILLED: Mapping[str, Mapping[str, frozenset[str] | set[str]]] = {
    "fleet": {
        "Machines that are not well": ANSWERING,
        "Machines, worst first": ALL,
        "Workloads, worst first": BUSY | {"allocated"},
        "CloudWatch per month": ANSWERING,
        "Failure ratio": EXECUTING,
        "Slowest machines": EXECUTING,
        **dict.fromkeys(("Unhealthy devices", "Resets of devices"), DRIVER),
    },
    "machine": {
        "Effective FLOPS": BUSY,
        "Processes that use cores": BUSY,
        "Workloads, worst first": BUSY | {"allocated"},
        "Latency": EXECUTING,
        "Latency on the device": EXECUTING,
        "No execution for": BUSY,
        "Time without an execution ending": BUSY,
        # The group has an error there, so its readings are not exported.
        "CPU of processes": BUSY - {"garbage"},
        "Host memory of processes": BUSY,
        **dict.fromkeys(
            ("Power of each device", "Hardware faults", "Unhealthy devices",
             "Cores with hardware faults"),
            DRIVER,
        ),
    },
    "workload by runtime_tag": {
        **dict.fromkeys(
            ("Cores", "Utilization", "Throughput", UTILIZATION_ON_EACH_MACHINE,
             "Workloads, worst first", "Workloads on each machine, worst first",
             "Utilization by workload", "Cores by workload",
             "Throughput by workload", "Failed executions", "Errors", "Memory"),
            BUSY,
        ),
        **dict.fromkeys(
            ("Failure ratio", "p99", "Latency", "Latency on the device"), EXECUTING
        ),
        "CPU on the busiest host": BUSY - {"garbage"},
        **dict.fromkeys(JOBS_PANELS, frozenset({WITH_JOB_ID})),
        "Allocated but idle": set(),
        "Current idle allocations": set(),
    },
    "workload by pod": {
        **dict.fromkeys(
            ("Cores", "Utilization", "Throughput", UTILIZATION_ON_EACH_MACHINE,
             "Utilization by workload", "Cores by workload",
             "Throughput by workload", "Failed executions", "Errors", "Memory",
             "Failure ratio", "p99", "Latency", "Latency on the device", "CPU on the busiest host"),
            frozenset({"pods"}),
        ),
        **dict.fromkeys(
            ("Workloads, worst first", "Workloads on each machine, worst first"), WITH_PODS
        ),
        **dict.fromkeys(JOBS_PANELS, frozenset[str]()),
        "Allocated but idle": WITH_PODS,
        "Current idle allocations": {"allocated"},
    },
    "exporter": {
        **dict.fromkeys(("Exporters down", "Exporters, worst first"), ALL),
        "Sinks down": PUBLISHING,
        "Dropped requests": {"compile"},
        **dict.fromkeys(
            ("Sources down", "Rejected configurations", "Over budget", "Source states",
             "Reports", "Dropped and unknown", "CloudWatch metrics",
             "CPU", "Memory", "Versions", "Time per report and per scrape", "Exporters by version",
             "Configurations by job", "Restarts", "Restarts of sources"),
            ANSWERING,
        ),
        "Report errors": {"garbage"},
        "Groups with errors": {"garbage"},
        "Requests": PUBLISHING,
        "Backlog": PUBLISHING,
        "Sinks of each exporter, worst first": PUBLISHING,
        "Time since the last delivery": {"inference", "mixed"},
        "Sink errors": {"training", "compile"},
        "Spool": {"training"},
        "Oldest request in the spool": {"training"},
        "OTLP points": {"mixed"},
        "OTLP bytes": {"mixed"},
    },
}  # fmt: skip
"""Jobs for which a panel has data, for the panels that do not have data for REPORTING."""

INTERMITTENT = {
    "Firing alerts": ALL,
    **dict.fromkeys(
        ("Current memory of each core", "Current state of each core", "Processes that use cores"),
        frozenset({"crash", "garbage"}),
    ),
    "Fullest devices": {"garbage"},
}
"""Jobs for which a panel has data at times."""

UNANSWERED: Mapping[str, set[str]] = {
    # Alerts fire after minutes: see VALUES.
    "Firing alerts": {"A", "B", "C"},
    # A hang is judged after minutes, and no machine is slow: see test_dashboard_workloads.
    "Workloads, worst first": {"Hung on", "Slow on"},
}
"""Queries that may have no data for any machine, by panel: their headings or letters."""

VIEWS: Mapping[str, list[dict[str, str]]] = {
    "workload": [{"by": "runtime_tag"}, {"by": "pod"}],
}
"""Variables that select between several views of a dashboard."""
