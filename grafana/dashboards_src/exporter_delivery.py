"""Delivery to CloudWatch and OTLP: the exporters that do not deliver first."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.models import dashboard as models

from grafana.dashboards_src import colors, panels, tables
from grafana.dashboards_src.layout import LINKS
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import (
    EXPORTER,
    TARGET,
    age,
    highest,
    increase,
    named,
    rate,
    select,
)
from grafana.dashboards_src.tables import table_query

_SINK = f"{TARGET}, sink"
_LAST_DELIVERY = select("neuron_exporter_sink_last_success_timestamp_seconds", EXPORTER)
_WAITING = select("neuron_exporter_sink_queue_requests", EXPORTER)
_OLDEST = select("neuron_exporter_spool_oldest_timestamp_seconds", EXPORTER)
_DROPPED = increase("neuron_exporter_sink_dropped_requests_total", EXPORTER)
_SPOOL = select("neuron_exporter_spool_bytes", EXPORTER)
_MOST_WAITING = (
    f"topk(10, sum by ({_SINK}) (last_over_time({_WAITING}[$__rate_interval] @ end())) > 0)"
)
_STATES = {0: ("does not deliver", "red"), 1: ("delivers", "green")}


def delivery() -> list[Panel]:
    """Return the panels."""
    return [
        _sinks_worst_first(),
        panels.rates(
            "Requests",
            "Requests per second, by sink and outcome.",
            query(
                f"sum by (sink, outcome) ({rate('neuron_exporter_sink_requests_total', EXPORTER)})",
                "{{sink}} {{outcome}}",
            ),
            names=colors.OUTCOMES,
        ),
        panels.rates(
            "Sink errors",
            "Errors per second, by sink and code.",
            query(
                f"sum by (sink, code) ({rate('neuron_exporter_sink_errors_total', EXPORTER)})",
                "{{sink}} {{code}}",
            ),
            hue="orange",
        ),
        panels.graph(
            "Time since the last delivery",
            "By machine and sink; the ten longest now. A regular sawtooth is normal.",
            query(
                named(highest(_LAST_DELIVERY, _SINK, age), "sink"),
                "{{machine}} {{sink}}",
            ),
            unit="s",
        ),
        panels.graph(
            "Backlog",
            "Requests that wait for another attempt, by machine and sink; the ten longest now.",
            query(named(highest(_WAITING, _SINK), "sink"), "{{machine}} {{sink}}"),
        ),
        panels.graph(
            "Spool",
            "Memory and disk that the spool takes, by machine and sink; the ten with most waiting "
            "requests now. Empty while nothing waits.",
            query(
                named(f"{_SPOOL} and on ({_SINK}) {_MOST_WAITING}", "sink"), "{{machine}} {{sink}}"
            ),
            unit="bytes",
        ),
        panels.graph(
            "Oldest request in the spool",
            "Age of the oldest request that waits, by machine and sink; the ten oldest now.",
            query(named(highest(_OLDEST, _SINK, age), "sink"), "{{machine}} {{sink}}"),
            unit="s",
        ),
    ]


def _sinks_worst_first() -> Panel:
    columns = {
        "State": f"max by ({_SINK}) ({select('neuron_exporter_sink_up', EXPORTER)})",
        "Last delivery": f"max by ({_SINK}) (1000 * ({_LAST_DELIVERY} > 0))",
        "Waiting": f"sum by ({_SINK}) ({_WAITING})",
        "Dropped": f"sum by ({_SINK}) ({_DROPPED})",
    }
    panel: Any = tables.table(
        "Sinks of each exporter, worst first",
        "Whether each exporter delivers, when it did last, how many requests wait for another "
        "attempt, and how many were dropped in the time shown.",
        {
            "machine": "Machine",
            **tables.values(columns),
            "sink": "Sink",
            "instance": "Exporter",
        },
        *(table_query(named(each, "sink")) for each in columns.values()),
        units={"Last delivery": "dateTimeFromNow"},
        texts={"State": _STATES},
        decimals={"Dropped": 0},
        widths={"Waiting": 90, "Dropped": 90, "Last delivery": 150},
        steps={
            "Waiting": (colors.UNKNOWN, colors.Step(1, "orange")),
            "Dropped": (colors.UNKNOWN, colors.Step(1, "red")),
        },
        links=LINKS,
        sort={"State": False, "Last delivery": False},
        no_value="-",
        width=24,
        height=9,
    )
    never = models.DynamicConfigValue("noValue", "never")
    return panel.override_by_name("Last delivery", [never])
