"""Table of workloads, the worst first: which of them hangs, fails or is slow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.models import dashboard as models

from grafana.dashboards_src import colors, tables
from grafana.dashboards_src.layout import LINKS, dashboard_link
from grafana.dashboards_src.panels import Panel
from grafana.dashboards_src.queries import (
    COMPLETED,
    FAILED,
    FLEET,
    JOB,
    MACHINE,
    P99,
    TARGET,
    WORKLOAD,
    select,
)
from grafana.dashboards_src.tables import table_query
from grafana.dashboards_src.triage import SEVERITIES, STATES, Texts
from grafana.rules_src.parameters import LATENCY_FACTOR, MIN_EXECUTIONS
from grafana.rules_src.problems import RANK
from neuron_exporter.facts.problems import BY_REASON, ERROR_RATIO, MIN_FAILURES, STALLED_SECONDS

_HUNG, _FAILING, _STALLED = (BY_REASON[name].rank for name in ("hung", "failing", "stalled"))
_SLOW, _IDLE = 20, 5
_STATES: Texts = {
    **{float(rank): STATES[rank] for rank in (_HUNG, _FAILING)},
    _SLOW: (f"slow: p99 is over {LATENCY_FACTOR} times its usual", "orange"),
    _STALLED: STATES[_STALLED],
    _IDLE: ("idle: allocated cores are not used", SEVERITIES["info"]),
    0: STATES[0],
}
"""Text and color of the worst problem of a workload."""

_SHORT_STATES: Texts = {
    rank: (re.split("[:;]", text)[0], color) for rank, (text, color) in _STATES.items()
}
"""The same for tables without room for explanations."""

_EXPLANATIONS = (
    "hung (cores are busy, but no execution ends), "
    f"failing (more than {ERROR_RATIO:.0%} of the executions), "
    f"slow (p99 is over {LATENCY_FACTOR} times its usual) or "
    "idle (allocated cores are not used)"
)

_MACHINES = ("Machines", "Hung on", "Failing on", "Slow on")
"""Columns with numbers of machines."""

_RATE_SECONDS = 300
"""Window of the recorded rates."""

_WINDOW = "5m"
"""Window of the p99 that NeuronLatencyHigh looks at."""

_DAY = "[1d:10m] offset 1h"
"""The day that NeuronLatencyHigh compares with, in steps that are cheap for a whole fleet."""

_WIDTHS = {
    "Machines": 80,
    "Hung on": 73,
    "Failing on": 80,
    "Slow on": 70,
    "Cores": 55,
    "Utilization": 82,
    "Executions/s": 103,
    "Failed": 62,
    "No execution for": 128,
    "p99": 72,
    "p99 / usual": 117,
    "Namespace": 95,
    "Machine": 160,
}
"""Widths of the columns in pixels. Workload and state have the rest."""


@dataclass(frozen=True)
class Names:
    """How series are assigned to workloads.

    Args:
        scope: matchers of the series.
        sources: labels whose value is the name of a workload; the last one that is set is it.
        more: labels that a workload is known by in addition, with their headings.
        omitted: columns that are not shown.
    """

    scope: str
    sources: tuple[str, ...]
    more: Mapping[str, str] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()

    @property
    def labels(self) -> str:
        """Labels of a workload."""
        return ", ".join(["workload", *self.more])

    def by(self, function: str, vector: str, *more: str) -> str:
        """Aggregate a vector by workload, and by more labels."""
        for source in self.sources:
            vector = f'label_replace({vector}, "workload", "$1", "{source}", "(.+)")'
            if "by" in self.more:
                vector = f'label_replace({vector}, "by", "{source}", "{source}", ".+")'
        return f"{function} by ({', '.join([self.labels, *more])}) ({vector})"

    def select(self, metric: str, *more: str) -> str:
        """Return a selector for the series of a metric that belong to workloads."""
        return select(metric, self.scope, *more)


CHOSEN = Names(WORKLOAD, ("$by",))
"""Workloads by the label that the variable `by` names."""

CHOSEN_BY_MACHINE = Names(
    WORKLOAD, ("$by",), {"instance_id": "Machine"}, omitted=(*_MACHINES, "No execution for")
)
"""The same, on each machine."""

_SOURCES = ("runtime_tag", "task_family", "service", "pod", "job_id")
_MORE = {"by": "By", "namespace": "Namespace"}

ALL = Names(FLEET, _SOURCES, _MORE, omitted=("No execution for",))
"""Workloads of a fleet, which may be on Kubernetes, on ECS and elsewhere."""

OF_MACHINE = Names(MACHINE, _SOURCES, _MORE, omitted=_MACHINES)
"""Workloads of one machine."""


def workloads_worst_first(title: str, names: Names, height: int) -> Panel:
    """Return a table of all workloads with their state."""
    cores = names.select("workload:neuroncores:count")
    busy = names.by("sum", names.select("workload:neuroncore_utilization:sum"))
    problems = _problems(names)
    columns = {
        "State": _state(names, problems),
        "Machines": _count(names, names.by("group", cores, TARGET)),
        "Hung on": _count(names, problems[_HUNG]),
        "Failing on": _count(names, problems[_FAILING]),
        "Slow on": _count(names, problems[_SLOW]),
        "Cores": names.by("sum", cores),
        "Utilization": f"{busy} / {names.by('sum', cores)}",
        "Executions/s": _rate(names, COMPLETED),
        "Failed": _failed(names),
        "No execution for": names.by("max", names.select("neuron_execution_gap_seconds")),
        "p99": names.by("max", _p99(names)),
        "p99 / usual": names.by("max", _relative_p99(names)),
    }
    columns = {name: value for name, value in columns.items() if name not in names.omitted}
    is_on_several = "Machines" in columns
    worst = (
        f"worst problem on any machine: {_EXPLANATIONS}. The numbers of machines say on how many "
        "each of them occurs"
        if is_on_several
        else "worst problem"
    )
    label = "${__data.fields.By}" if "by" in names.more else "${by}"
    panel: Any = tables.table(
        title,
        f"The state is a workload's {worst}. Usual is the average p99 of the day that ended an "
        "hour ago or, without such a day, p99 in the best tenth of the time shown. At 200 %, it "
        "has doubled.",
        {"workload": "Workload", **names.more, **tables.values(columns)},
        *(table_query(each) for each in columns.values()),
        units={
            "Utilization": "percentunit",
            "Executions/s": "ops",
            "Failed": "percentunit",
            "No execution for": "s",
            "p99": "s",
            "p99 / usual": "percentunit",
        },
        steps={
            "Hung on": (colors.UNKNOWN, colors.Step(1, "red")),
            "Failing on": (colors.UNKNOWN, colors.Step(1, "orange")),
            "Slow on": (colors.UNKNOWN, colors.Step(1, "orange")),
            "Failed": (colors.UNKNOWN, colors.Step(ERROR_RATIO, "orange")),
            "No execution for": colors.NO_EXECUTION_SECONDS,
            "p99 / usual": (colors.UNKNOWN, colors.Step(LATENCY_FACTOR, "orange")),
        },
        texts={"State": _SHORT_STATES if is_on_several else _STATES},
        links={
            **LINKS,
            "Workload": dashboard_link(
                "neuron-exporter-workload", "Open the workload", "workload", "Workload", by=label
            ),
        },
        widths=_WIDTHS if is_on_several else {**_WIDTHS, "Workload": 170},
        decimals={"Failed": 2},
        sort={"State": True, "p99 / usual": True},
        no_value="-",
        width=24,
        height=height,
    )
    # The link of a workload's name needs it.
    return panel.override_by_name("By", [models.DynamicConfigValue("custom.hidden", True)])


def _problems(names: Names) -> dict[int, str]:
    """Return, by rank, expressions for the workloads with a problem on each machine, worst first.

    A machine may have a workload of which several processes have different problems.
    """
    gap = f"{names.select('neuron_execution_gap_seconds')} >= {STALLED_SECONDS}"
    is_hung = 'reason="hung"'
    hung = f"max by ({TARGET}) ({select(RANK, JOB, is_hung)})"
    idle = names.select("holder:neuroncores_allocated_idle:count5m")
    failures = f"{_rate(names, FAILED, per=_EACH)} * {_RATE_SECONDS} >= {MIN_FAILURES}"
    executions = f"{_rate(names, COMPLETED, per=_EACH)} * {_RATE_SECONDS} >= {MIN_EXECUTIONS}"
    slow = f"{names.by('max', _relative_p99(names), TARGET)} > {LATENCY_FACTOR}"
    return {
        _HUNG: names.by("max", f"0 * ({gap}) + on ({TARGET}) group_left () {hung}", TARGET),
        _FAILING: f"{_failed(names, per=_EACH)} > {ERROR_RATIO} and {failures}",
        _SLOW: f"{slow} and {executions}",
        _STALLED: names.by("max", gap, TARGET),
        _IDLE: names.by("max", idle, TARGET),
    }


def _state(names: Names, problems: Mapping[int, str]) -> str:
    """Return the rank of the worst problem of each workload on any machine, 0 if it is well."""
    ranks = [f"0 * ({value}) + {rank}" for rank, value in problems.items()]
    well = f"0 * {names.by('max', names.select('workload:neuroncores:count'), TARGET)}"
    return f"max by ({names.labels}) ({' or '.join([*ranks, well])})"


def _count(names: Names, machines: str) -> str:
    """Return the number of machines of each workload."""
    return f"count by ({names.labels}) ({machines})"


_EACH = (TARGET,)
"""Additional labels of values for each machine."""


def _rate(names: Names, *matchers: str, per: Sequence[str] = ()) -> str:
    executions = names.select("workload:neuron_executions_by_status:rate5m", *matchers)
    return names.by("sum", executions, *per)


def _failed(names: Names, per: Sequence[str] = ()) -> str:
    return f"{_rate(names, FAILED, per=per)} / ({_rate(names, per=per)} > 0)"


def _p99(names: Names) -> str:
    """Return the p99 latency of each runtime, without single slow executions."""
    return f"quantile_over_time(0.5, {names.select('execution_latency_seconds', P99)}[{_WINDOW}])"


def _relative_p99(names: Names) -> str:
    """Return the p99 latency of each runtime as a multiple of its usual one.

    The tag of a process has a history that outlives a rollout. Without it, a low quantile is what
    was usual also when most of the time shown was slow.
    """
    baseline = select("workload:execution_latency_p99_seconds:avg5m", FLEET)
    day = f"max by ({TARGET}, runtime_tag) (avg_over_time({baseline}{_DAY}))"
    shown = names.select("execution_latency_seconds", P99)
    return (
        f"{_p99(names)} / on ({TARGET}, runtime_tag) group_left () {day} "
        f"or {_p99(names)} / quantile_over_time(0.1, {shown}[$__range])"
    )
