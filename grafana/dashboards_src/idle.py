"""Idle cores of a fleet, and what they cost."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.models import dashboard as models

from grafana.dashboards_src import panels, tables
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import FLEET, allocated_idle, select
from grafana.dashboards_src.tables import table_query

_IDLE = f"sum({select('instance:neuroncores_idle:count5m', FLEET)})"
_FREE = f"sum({select('instance:neuroncores_free_idle:count5m', FLEET)})"
_ALLOCATED = allocated_idle(FLEET)
_UNKNOWN = f"clamp_min({_IDLE} - ({_ALLOCATED} or vector(0)) - ({_FREE} or vector(0)), 0)"

_ALLOCATIONS = {
    "allocated to a pod": _ALLOCATED,
    "free: allocated to no pod": _FREE,
    "allocation unknown": _UNKNOWN,
}


def idle_cores() -> Panel:
    """Return the number of idle cores and their cost."""
    panel: Any = panels.stat(
        "Idle cores, at $core_price USD an hour each",
        "Cores that were less than 5 % busy for five minutes, allocated or not, and their cost at "
        "the price that is set above. The row Load says which are allocated.",
        query(_IDLE, "idle cores"),
        query(f"{_IDLE} * $core_price", "per hour"),
        no_value="unknown",
        width=6,
        height=5,
    )
    return panel.override_by_query("B", [models.DynamicConfigValue("unit", "currencyUSD")])


def idle_cores_by_allocation() -> Panel:
    """Return the idle cores, and their cost, by what is known about their allocation."""
    named = " or ".join(
        f'label_replace({value}, "allocation", "{name}", "", "")'
        for name, value in _ALLOCATIONS.items()
    )
    return tables.table(
        "Idle cores by allocation",
        "Cores that were less than 5 % busy for five minutes. Allocations are known where the "
        "exporter has access to the kubelet.",
        {"allocation": "Idle cores", "Value #A": "Cores", "Value #B": "Per hour"},
        table_query(named),
        table_query(f"({named}) * $core_price"),
        units={"Per hour": "currencyUSD"},
        widths={"Cores": 80, "Per hour": 100},
        sort={"Cores": True},
        paged=False,
        width=9,
        height=6,
    )
