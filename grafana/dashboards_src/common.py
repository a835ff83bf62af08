"""Panels that several dashboards show, each for its own scope (see `queries`)."""

from __future__ import annotations

from grafana.dashboards_src import colors, panels
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import UNCORRECTED, increase, rate, select, utilization

PERCENTILES = {"p50": "p50", "p99": "p99", "p100": "maximum"}
"""Percentiles of latency that are shown, with their names."""


def exporters_down(scope: str, width: int = 4) -> Panel:
    """Return the number of exporters that do not answer."""
    return count_zero(
        "Exporters down", "Exporters that Prometheus cannot scrape.", "up", scope, width=width
    )


def sources_down(scope: str, width: int = 4) -> Panel:
    """Return the number of exporters without reports."""
    return count_zero(
        "Sources down",
        "Exporters that answer but whose neuron-monitor does not report.",
        "neuron_exporter_up",
        scope,
        width=width,
    )


def count_zero(
    title: str,
    description: str,
    metric: str,
    scope: str,
    *,
    no_value: str = "unknown",
    width: int = 4,
) -> Panel:
    """Return the number of series of a metric that are 0, red from 1."""
    selector = select(metric, scope)
    return panels.stat(
        title,
        description,
        query(f"count({selector} == 0) or count({selector}) * 0"),
        steps=colors.RED_FROM_1,
        no_value=no_value,
        width=width,
    )


def uncorrected_ecc(scope: str, width: int = 4) -> Panel:
    """Return the number of uncorrected memory errors."""
    return panels.stat(
        "Uncorrected ECC",
        "Memory and SRAM errors in the time shown that could not be corrected.",
        query(f"sum({increase('hardware_ecc_events_total', scope, UNCORRECTED)})", instant=True),
        steps=colors.RED_FROM_1,
        decimals=0,
        no_value="unknown",
        width=width,
    )


def average_utilization(scope: str, width: int = 4) -> Panel:
    """Return the average utilization of cores."""
    return panels.stat(
        "Utilization",
        "Average of all cores, including idle ones.",
        query(f"avg({utilization(scope)})"),
        decimals=0,
        unit="percentunit",
        width=width,
    )


def cores_in_use(scope: str, width: int = 4) -> Panel:
    """Return the numbers of busy cores and of all cores."""
    return panels.stat(
        "Cores in use",
        "Number of busy cores, and of all cores.",
        query(f"sum({select('neuroncores_in_use', scope)})", "busy"),
        query(f"count({utilization(scope)})", "all"),
        width=width,
    )


def latency(title: str, description: str, metric: str, scope: str, by: str = "") -> Panel:
    """Return the median, the 99th percentile and the maximum of a latency, by the label `by`."""
    name = f"{{{{{by}}}}} " if by else ""
    return panels.graph(
        title,
        description,
        *(
            query(f"max by ({by}) ({select(metric, scope, matcher)})", f"{name}{shown}")
            for matcher, shown in (
                (f'percentile="{percentile}"', shown) for percentile, shown in PERCENTILES.items()
            )
        ),
        logarithmic=True,
        unit="s",
    )


def executions_and_errors(scope: str) -> list[Panel]:
    """Return the rates of executions by status and of errors by type."""
    return [
        panels.rates(
            "Executions",
            "Executions per second, by final status.",
            query(
                f"sum by (status_type) ({rate('neuron_executions_total', scope)})",
                "{{status_type}}",
            ),
            names=colors.STATUSES,
        ),
        panels.rates(
            "Errors",
            "Execution errors per second, by type.",
            query(
                f"sum by (error_type) ({rate('neuron_execution_errors_total', scope)})",
                "{{error_type}}",
            ),
            names=colors.ERROR_TYPES,
        ),
    ]
