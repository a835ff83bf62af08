"""Panels that say what is wrong, where and since when: firing alerts, and machines, worst first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as models

from grafana.dashboards_src import colors, panels, tables
from grafana.dashboards_src.layout import LINKS
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import FLEET, JOB, TARGET, select
from grafana.dashboards_src.tables import table_query
from grafana.rules_src.alerts import GROUPS
from neuron_exporter.facts.problems import PROBLEMS

SEVERITIES = {"critical": "red", "warning": "orange", "info": "blue"}
"""Colors of problems and alerts."""

_MACHINE = f"{TARGET}, instance_id, instance_type"
RULES_MISSING = 1000
"""Stands for a rank where no machine is recorded."""

_MIN_CRITICAL = min(each.rank for each in PROBLEMS if each.severity == "critical")
_ALERTS = 'alertname=~"Neuron.+"'
_FIRING = 'alertstate="firing"'
_RANK = select("instance:neuron_problem:rank", FLEET)
_MACHINES = select("instance:neuron_machine:info", FLEET)
_WORST = f"max by ({_MACHINE}) ({_RANK})"

_WIDTHS = {"Machine": 160, "Exporter": 140, "Since": 140, "Alert": 70, "Type": 115}
_NUMBERS = {"Utilization": 90, "Failed": 65, "p99": 75}
"""Widths of the columns in pixels. The state has the rest: about 340 on a page of 1,280."""

Texts = Mapping[float, tuple[str, str]]
"""Text and color by value."""

STATES: Texts = {
    **{float(each.rank): (each.text, SEVERITIES[each.severity]) for each in PROBLEMS},
    0: ("well", "green"),
    RULES_MISSING: ("unknown: no exporter, or grafana/rules are not loaded", "orange"),
}
"""What the rank of a machine's worst problem means."""

_ALERT_STATES: Texts = {
    1: ("pending", "blue"),
    2: ("fires", "blue"),
    3: ("fires", "orange"),
    4: ("fires", "red"),
}


def firing_alerts(runbook: str) -> Panel:
    """Return the firing alerts, the most severe first, with links to the runbook if it is known."""
    targets = [
        query(
            f"count by (alertname) (count by (alertname, {TARGET}) "
            f"({select('ALERTS', JOB, _ALERTS, _FIRING, _severity(severity))}))",
            "{{alertname}}",
            instant=True,
        )
        for severity in SEVERITIES
    ]
    panel: Any = panels.stat(
        "Firing alerts",
        "Alerts of the exporters' rules that fire now, and on how many machines. Red ones page the "
        "on-call engineer.",
        *targets,
        no_value="No alert fires",
        width=13,
        height=5,
    )
    for letter, color in zip("ABC", SEVERITIES.values(), strict=True):
        fixed = {"mode": "fixed", "fixedColor": color}
        panel = panel.override_by_query(letter, [models.DynamicConfigValue("color", fixed)])
    for name in (alert.name for group in GROUPS for alert in group.rules):
        properties = [models.DynamicConfigValue("displayName", _words(name))]
        if runbook:
            link = {"title": "Open the runbook", "url": f"{runbook}#{name.lower()}"}
            properties.append(models.DynamicConfigValue("links", [link]))
        panel = panel.override_by_name(name, properties)
    size = common.VizTextDisplayOptions().title_size(11).value_size(28)
    return panel.text(size).text_mode(commons.BigValueTextMode.VALUE_AND_NAME).wide_layout(False)


def _words(alert: str) -> str:
    """Return the name of an alert in words, such as `Uncorrected ECC`."""
    first, *rest = re.findall("[A-Z][a-z]+", alert.removeprefix("Neuron"))
    words = " ".join([first, *map(str.lower, rest)])
    return words.replace("ecc", "ECC").replace("Timeouts", "Executions time out")


def machines_with_problems() -> Panel:
    """Return the number of machines that are not well."""
    return panels.stat(
        "Machines that are not well",
        "Machines with at least one problem. The table below says which.",
        query(f"count({_WORST}) or 0 * count({_MACHINES})", instant=True),
        steps=colors.RED_FROM_1,
        texts={0: ("All machines are well", "green")},
        no_value="rules are not loaded",
        width=5,
        height=5,
    )


def machines_worst_first() -> Panel:
    """Return a table of all machines with their worst problem."""
    missing = f"absent({_MACHINES}) * {RULES_MISSING}"
    state = f"{_WORST} or 0 * max by ({_MACHINE}) ({_MACHINES}) or {missing}"
    worst = f"{_RANK} == on ({TARGET}) group_left () max by ({TARGET}) ({_RANK})"
    since = f"max by ({_MACHINE}) ({since_when(FLEET, f'and on ({TARGET}, reason) ({worst})')})"
    alerts = " or ".join(
        f"{value} * max by ({TARGET}) ({select('ALERTS', JOB, _ALERTS, *more)})"
        for value, more in (
            (4, (_FIRING, _severity("critical"))),
            (3, (_FIRING, _severity("warning"))),
            (2, (_FIRING,)),
            (1, ()),
        )
    )
    alert = f"0 * {_WORST} + on ({TARGET}) group_left () ({alerts})"
    panel: Any = tables.table(
        "Machines, worst first",
        "What is wrong with each machine, and since when. A machine with several problems shows "
        "the worst. Click an id to open the machine.",
        {
            "instance_id": "Machine",
            "Value #A": "State",
            "Value #B": "Since",
            "Value #C": "Alert",
            "instance": "Exporter",
            "instance_type": "Type",
            "Value #D": "Utilization",
            "Value #E": "Failed",
            "Value #F": "p99",
        },
        table_query(state),
        table_query(since),
        table_query(alert),
        table_query(_by_machine("instance:neuroncore_utilization:avg")),
        table_query(_by_machine("instance:neuron_executions_failed:ratio_rate5m")),
        table_query(_by_machine("workload:execution_latency_p99_seconds:avg5m")),
        units={
            "Since": "dateTimeFromNow",
            "Utilization": "percentunit",
            "Failed": "percentunit",
            "p99": "s",
        },
        links=LINKS,
        texts={"State": STATES, "Alert": _ALERT_STATES},
        decimals={"Failed": 2},
        sort={"State": True},
        no_value="-",
        width=24,
        height=13,
    )
    for heading, width in {**_WIDTHS, **_NUMBERS}.items():
        align = "right" if heading in _NUMBERS else "left"
        properties = {"custom.width": width, "custom.align": align}
        panel = panel.override_by_name(
            heading, [models.DynamicConfigValue(*each) for each in properties.items()]
        )
    return panel


def since_when(scope: str, chosen: str) -> str:
    """Return the time at which each problem began, in milliseconds since 1970.

    A hang, which is judged after minutes, began with the last execution.

    Args:
        scope: matchers of the problems.
        chosen: operator and right side that choose among the problems.
    """
    gap = f"max by ({TARGET}) ({select('neuron_execution_gap_seconds', JOB)})"
    hangs = select("instance:neuron_problem:since", scope, 'reason=~"hung|stalled"')
    began = select("instance:neuron_problem:since", scope)
    last_execution = f"0 * ({hangs} {chosen}) + on ({TARGET}) group_left () (time() - {gap})"
    return f"1000 * ({last_execution} or {began} {chosen})"


def utilization_by_machine() -> Panel:
    """Return one band per machine, those with a problem first; a hang has a color of its own."""
    utilization = select("instance:neuroncore_utilization:avg", FLEET)
    bands = [
        f"0 * {select('instance:neuron_problem:rank', FLEET, _reason(reason))} + {value}"
        for reason, value in (("hung", colors.HUNG), ("stalled", colors.NO_EXECUTION))
    ]
    band = f"max by ({_MACHINE}) ({' or '.join(bands)} or on ({TARGET}) {utilization})"
    problem = f"on ({TARGET}) ({_RANK} @ end())"
    critical = f"on ({TARGET}) ({_RANK} @ end() >= {_MIN_CRITICAL})"
    return panels.timeline(
        "Utilization by machine",
        "Average of each machine's cores, the darker the busier. A gap is a machine that was not "
        "read. Machines with a problem (▲) come first.",
        query(f"{band} and {critical}", "▲ {{instance_id}}"),
        query(f"{band} and {problem} unless {critical}", "▲ {{instance_id}}"),
        query(f"{band} unless {problem}", "{{instance_id}}"),
        hangs=True,
        unit="percentunit",
        width=24,
        height=14,
    )


def _by_machine(metric: str) -> str:
    return f"max by ({_MACHINE}) ({select(metric, FLEET)})"


def _severity(name: str) -> str:
    return f'severity="{name}"'


def _reason(name: str) -> str:
    return f'reason="{name}"'
