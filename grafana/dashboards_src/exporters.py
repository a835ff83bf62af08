"""Table of exporters, the worst first: which of them is down, does not report, or restarts."""

from __future__ import annotations

from grafana.dashboards_src import colors, tables
from grafana.dashboards_src.layout import LINKS
from grafana.dashboards_src.panels import Panel
from grafana.dashboards_src.queries import EXPORTER, TARGET, increase, named, select
from grafana.dashboards_src.tables import table_query
from grafana.dashboards_src.triage import STATES, Texts
from neuron_exporter.facts.problems import BY_REASON
from neuron_exporter.model import SourceState

_TEXTS = {
    SourceState.MISSING_PROGRAM: "no reports: neuron-monitor does not exist",
    SourceState.NO_DRIVER: "no reports: neuron-monitor finds no device",
    SourceState.EXITED: "no reports: neuron-monitor ended",
    SourceState.STALLED: "no reports: neuron-monitor is silent",
    SourceState.GARBAGE: "no reports: the output contains none",
    SourceState.PAUSED: "paused",
    SourceState.STARTING: "starting: no report yet",
    SourceState.OK: "reports",
}
"""Texts of the source's states, the worst first."""

_QUIET = {
    state: colors.STATES[state]
    for state in (SourceState.PAUSED, SourceState.STARTING, SourceState.OK)
}
"""Colors of the states that are no problem."""

_DOWN = len(_TEXTS)
_CODES = {state: len(_TEXTS) - 1 - place for place, state in enumerate(_TEXTS)}
_PROBLEM_COLOR = STATES[BY_REASON["source_down"].rank][1]
_STATES: Texts = {
    _DOWN: STATES[BY_REASON["exporter_down"].rank],
    **{code: (_TEXTS[state], _QUIET.get(state, _PROBLEM_COLOR)) for state, code in _CODES.items()},
}
"""Text and color of the state of an exporter and its source. The largest number is the worst."""


def exporters_worst_first() -> Panel:
    """Return a table of all exporters with their state."""
    restarts = increase("neuron_exporter_source_restarts_total", EXPORTER)
    last_report = select("neuron_exporter_last_report_timestamp_seconds", EXPORTER)
    columns = {
        "State": _state(),
        "Last report": f"max by ({TARGET}) (1000 * ({last_report} > 0))",
        "Restarts": f"sum by ({TARGET}) ({restarts})",
    }
    version = f"max by ({TARGET}, version) ({select('neuron_exporter_build_info', EXPORTER)})"
    return tables.table(
        "Exporters, worst first",
        "Whether each exporter answers and neuron-monitor reports, when it reported last, and how "
        "often it was started again in the time shown. Click a machine to open it. A machine whose "
        "id is unknown has the address of its exporter.",
        {
            "machine": "Machine",
            "instance": "Exporter",
            **tables.values(columns),
            "version": "Version",
        },
        *(table_query(named(each)) for each in columns.values()),
        table_query(named(version, "version")),
        units={"Last report": "dateTimeFromNow"},
        texts={"State": _STATES},
        steps={"Restarts": (colors.UNKNOWN, colors.Step(1, "orange"))},
        decimals={"Restarts": 0},
        widths={
            "Machine": 200,
            "Exporter": 200,
            "Last report": 150,
            "Restarts": 110,
            "Version": 90,
        },
        links=LINKS,
        sort={"State": True, "Restarts": True},
        no_value="-",
        width=24,
        height=9,
    )


def _state() -> str:
    """Return the code of each exporter's state."""
    metric = "neuron_exporter_source_state"
    states = (
        f"max by ({TARGET}) ({code} * ({_matching(metric, state)} == 1))"
        for state, code in _CODES.items()
    )
    down = f"{_DOWN} + max by ({TARGET}) ({select('up', EXPORTER)} == 0)"
    return " or ".join([down, *states])


def _matching(metric: str, state: str) -> str:
    matcher = f'state="{state}"'
    return select(metric, EXPORTER, matcher)
