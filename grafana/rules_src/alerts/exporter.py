"""Alerts on the exporter's own process and version."""

from __future__ import annotations

from grafana.rules_src.alerts.fragments import COUNT, JOB_NAME, PERCENT
from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import JOB, MEMORY_RATIO, WINDOW


def _versions(metric: str, component: str) -> str:
    """Return an expression for the versions of a component, one series each."""
    return (
        f"label_replace(group by ({JOB}, version) (last_over_time({metric}[{WINDOW}])),\n"
        f'    "component", "{component}", "", "")'
    )


ALERTS = (
    Alert(
        name="NeuronExporterMemoryHigh",
        expr=(
            f"avg_over_time(neuron_exporter_memory_used_bytes[{WINDOW}])\n"
            f"  / last_over_time(neuron_exporter_memory_limit_bytes[{WINDOW}]) > {MEMORY_RATIO}"
        ),
        for_="15m",
        severity="warning",
        summary="The exporter's container on {{ $labels.instance }} uses "
        f"{PERCENT} of its memory limit.",
        description="The exporter, neuron-monitor and the other processes of the container on "
        f"{{{{ $labels.instance }}}} use {PERCENT} of its memory limit. At the limit, the kernel "
        "kills one of them.",
        rationale="Only containers, and units of systemd, with a limit have both series.",
    ),
    Alert(
        name="NeuronLogLinesDropped",
        expr="increase(neuron_exporter_log_lines_dropped_total[15m]) > 0",
        for_="5m",
        severity="info",
        summary="The exporter on {{ $labels.instance }} drops lines of its log.",
        description=f"The exporter on {{{{ $labels.instance }}}} dropped about {COUNT} lines of "
        "its log in 15 minutes, because it wrote more than 100 a second or nothing reads its "
        "standard error.",
        rationale="What the log says about another alert may be incomplete.",
    ),
    Alert(
        name="NeuronVersionsDiffer",
        expr=(
            f"count by ({JOB}, component) (\n"
            f"  {_versions('neuron_exporter_build_info', 'exporter')}\n"
            f"  or {_versions('neuron_driver_info', 'driver')}\n"
            ") > 1"
        ),
        for_="6h",
        severity="info",
        summary=f"{{{{ $value }}}} versions of the {{{{ $labels.component }}}} run in {JOB_NAME}.",
        description=f"For six hours, the machines of {JOB_NAME} have had {{{{ $value }}}} versions "
        "of the {{ $labels.component }}.",
        rationale="A rollout takes hours in a large fleet; one that stopped halfway stays.",
    ),
)
