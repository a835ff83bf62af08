"""Panels that several dashboards show, each for its own scope (see `queries`)."""

from __future__ import annotations

from grafana.dashboards_src import panels
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import UNCORRECTED, increase, rate, select, utilization


def exporters_down(scope: str) -> Panel:
    """Return the number of exporters that do not answer."""
    return count_zero("Exporters down", "Exporters that Prometheus cannot scrape.", "up", scope)


def sources_down(scope: str) -> Panel:
    """Return the number of exporters without reports."""
    return count_zero(
        "Sources down",
        "Exporters that answer but whose neuron-monitor does not report.",
        "neuron_exporter_up",
        scope,
    )


def count_zero(title: str, description: str, metric: str, scope: str) -> Panel:
    """Return the number of series of a metric that are 0, red from 1."""
    return panels.stat(
        title,
        description,
        query(f"count({select(metric, scope)} == 0) or vector(0)"),
        steps=panels.RED_FROM_1,
    )


def uncorrected_ecc(scope: str) -> Panel:
    """Return the number of uncorrected memory errors."""
    return panels.stat(
        "Uncorrected ECC",
        "Memory and SRAM errors in the time shown that could not be corrected.",
        query(f"sum({increase('hardware_ecc_events_total', scope, UNCORRECTED)})", instant=True),
        steps=panels.RED_FROM_1,
        decimals=0,
        no_value="unknown",
    )


def average_utilization(scope: str) -> Panel:
    """Return the average utilization of cores."""
    return panels.stat(
        "Utilization",
        "Average of all cores, including idle ones.",
        query(f"avg({utilization(scope)})"),
        unit="percentunit",
        decimals=1,
    )


def cores_in_use(scope: str) -> Panel:
    """Return the numbers of busy cores and of all cores."""
    return panels.stat(
        "Cores in use",
        "Number of busy cores, and of all cores.",
        query(f"sum({select('neuroncores_in_use', scope)})", "busy"),
        query(f"count({utilization(scope)})", "all"),
        sparkline=False,
    )


def executions_and_errors(scope: str) -> list[Panel]:
    """Return the rates of executions by status and of errors by type."""
    return [
        panels.rates(
            "Executions",
            "Executions per second, by final status.",
            query(f"sum by (status_type) ({rate('neuron_executions_total', scope)})"),
        ),
        panels.rates(
            "Errors",
            "Execution errors per second, by type.",
            query(f"sum by (error_type) ({rate('neuron_execution_errors_total', scope)})"),
        ),
    ]
