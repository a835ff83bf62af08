"""Alerts on the exporter's own process and version."""

from __future__ import annotations

from grafana.rules_src.alerts.fragments import JOB_NAME, PERCENT
from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import EXPORTER_MEMORY_RATIO, JOB, WINDOW


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
            f"avg_over_time(process_resident_memory_bytes[{WINDOW}])\n"
            f"  / last_over_time(neuron_exporter_memory_limit_bytes[{WINDOW}]) "
            f"> {EXPORTER_MEMORY_RATIO}"
        ),
        for_="15m",
        severity="warning",
        summary=f"The exporter on {{{{ $labels.instance }}}} uses {PERCENT} of its memory limit.",
        description=f"The exporter on {{{{ $labels.instance }}}} uses {PERCENT} of the memory that "
        "its container may use. Above the limit, the kernel kills a process of the container.",
        rationale="Only containers with a limit have one. neuron-monitor's memory counts against "
        "the limit too, but is not known.",
    ),
    Alert(
        name="NeuronLogLinesDropped",
        expr="increase(neuron_exporter_log_lines_dropped_total[15m]) > 0",
        for_="5m",
        severity="info",
        summary="The exporter on {{ $labels.instance }} drops lines of its log.",
        description="The exporter on {{ $labels.instance }} dropped about "
        "{{ $value | humanize }} lines of its log in 15 minutes, because it wrote more than 100 a "
        "second or nothing reads its standard error.",
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
