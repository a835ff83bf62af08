"""Selects the metrics of a sink: `include` adds to a preset, and `exclude` wins over both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.tables import ENTITY_LABELS, RUNTIME_KINDS
from neuron_exporter.model import (
    OWNER_LABELS,
    CloudWatchMetric,
    EntityKind,
    Group,
    Layout,
    MetricSpec,
    Pooling,
    Preset,
    Selection,
    Series,
)
from neuron_exporter.validation import SettingProblem

_PATTERN = re.compile(r"(?P<name>[^{}]+?)(?:\{(?P<labels>[^{}]*)\})?")
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"([^"]*)"\s*')
_MAX_SUGGESTIONS = 3

_MACHINE_GROUPS = (None, Group.HW_COUNTERS, Group.VCPU_USAGE, Group.MEMORY_INFO)
"""Groups of metrics that all tasks of a machine share; those of the exporter have no group."""

_OWNED = {EntityKind.CORE, EntityKind.DEVICE, *RUNTIME_KINDS}


class _Pattern(NamedTuple):
    name: str
    labels: tuple[tuple[str, str], ...]


def select_for_prometheus(
    preset: str,
    include: Sequence[str],
    exclude: Sequence[str],
    layout: Layout = Layout.CORE,
    keep: Sequence[str] = (),
) -> tuple[Selection, list[SettingProblem]]:
    """Select rows and series by Prometheus names and label globs. `keep` is only validated: a
    budget drops a metric with all its series, so its patterns have no labels."""
    available = {row.name: row for row in CATALOGUE if layout in row.layouts}
    problems: list[SettingProblem] = []
    included = _parse("include", include, available, problems)
    excluded = _parse("exclude", exclude, available, problems)
    kept = _parse("budget.keep", keep, available, problems)
    problems += (
        SettingProblem("budget.keep", text, "must have no labels: the budget drops whole metrics")
        for text, pattern in zip(keep, kept, strict=False)
        if pattern.labels
    )
    level = _level(preset)
    in_preset = {name for name, row in available.items() if row.preset <= level}
    rows = tuple(
        row
        for name, row in available.items()
        if (name in in_preset or _matches_name(included, name))
        and not _matches_name((each for each in excluded if not each.labels), name)
    )
    _check_not_empty(rows, preset, include, exclude, problems)

    def accepts(series: Series) -> bool:
        if not (series.spec.name in in_preset or _matches_series(included, series)):
            return False
        return not _matches_series(excluded, series)

    has_labels = any(pattern.labels for pattern in (*included, *excluded))
    return Selection(rows, accepts if has_labels else _accept_all), problems


def select_for_cloudwatch(
    preset: str,
    include: Sequence[str],
    exclude: Sequence[str],
    keep: Sequence[str] = (),
    *,
    task_scope: bool = False,
    per_owner: bool = False,
) -> tuple[Selection, list[SettingProblem]]:
    """Select rows and metrics by CloudWatch names.

    A CloudWatch metric pools all series of its row, so patterns have no labels. `keep` is only
    validated. `task_scope` leaves out the metrics that all tasks of a machine share, and the
    heartbeat unless `include` names it. `per_owner` adds the rows that distinguish owners.
    """
    metrics = [
        (row, metric)
        for row in CATALOGUE
        for metric in row.cloudwatch
        if not task_scope
        or row.per_task
        or row.group not in _MACHINE_GROUPS
        or _is_heartbeat(metric)
    ]
    available = {metric.name: row for row, metric in metrics}
    problems: list[SettingProblem] = []
    included = _parse("include", include, available, problems, cloudwatch=True)
    excluded = _parse("exclude", exclude, available, problems, cloudwatch=True)
    _parse("budget.keep", keep, available, problems, cloudwatch=True)
    if task_scope:
        problems = [_explain_task_scope(problem, available) for problem in problems]
    level = _level(preset)

    def in_preset(metric: CloudWatchMetric) -> bool:
        return metric.preset <= level and not (task_scope and _is_heartbeat(metric))

    names = frozenset(
        metric.name
        for _, metric in metrics
        if (in_preset(metric) or _matches_name(included, metric.name))
        and not _matches_name(excluded, metric.name)
    )
    rows = [row for row in CATALOGUE if any(metric.name in names for metric in row.cloudwatch)]
    _check_not_empty(rows, preset, include, exclude, problems)
    if per_owner:
        rows += [row.per_owner for row in rows if row.per_owner and row.per_owner not in rows]
    return Selection(tuple(rows), _accept_all, names), problems


def _explain_task_scope(
    problem: SettingProblem, available: Mapping[str, MetricSpec]
) -> SettingProblem:
    """Return a better message if the pattern names metrics that `task_scope` leaves out."""
    names = {metric.name for row in CATALOGUE for metric in row.cloudwatch} - available.keys()
    if not any(fnmatchcase(name, str(problem.value)) for name in names):
        return problem
    message = "is a metric of the whole machine, which is not sent with scope: task"
    return problem._replace(message=message)


def _level(preset: str) -> int:
    """Return the last preset whose metrics are published; 0 for `none`, which has no metrics."""
    return 0 if preset == "none" else Preset[preset.upper()]


def _is_heartbeat(metric: CloudWatchMetric) -> bool:
    return metric.pooling is Pooling.HEARTBEAT


def _check_not_empty(
    rows: Sequence[MetricSpec],
    preset: str,
    include: Sequence[str],
    exclude: Sequence[str],
    problems: list[SettingProblem],
) -> None:
    if rows or problems:
        return
    if preset == "none" and not include:
        message = "must name the metrics to publish, since the preset is none"
        problems.append(SettingProblem("include", "[]", message))
    else:
        problems.append(SettingProblem("exclude", ", ".join(exclude), "leaves no metric"))


def _accept_all(_: Series) -> bool:
    return True


def _matches_name(patterns: Iterable[_Pattern], name: str) -> bool:
    return any(fnmatchcase(name, pattern.name) for pattern in patterns)


def _matches_series(patterns: Iterable[_Pattern], series: Series) -> bool:
    labels = dict(series.labels)
    return any(
        fnmatchcase(series.spec.name, pattern.name)
        and all(fnmatchcase(labels.get(name, ""), glob) for name, glob in pattern.labels)
        for pattern in patterns
    )


def _parse(
    key: str,
    texts: Iterable[str],
    available: dict[str, MetricSpec],
    problems: list[SettingProblem],
    *,
    cloudwatch: bool = False,
) -> list[_Pattern]:
    patterns = []
    for text in texts:
        pattern, message = _parse_pattern(text, available, cloudwatch=cloudwatch)
        if pattern is not None:
            patterns.append(pattern)
        else:
            problems.append(SettingProblem(key, text, message))
    return patterns


def _parse_pattern(
    text: str, available: dict[str, MetricSpec], *, cloudwatch: bool
) -> tuple[_Pattern | None, str]:
    """Return the pattern, or None and an error message."""
    match = _PATTERN.fullmatch(text)
    labels = _parse_labels(match["labels"]) if match else None
    if match is None or labels is None:
        example = "NeuronCore*" if cloudwatch else 'neuroncore_*{neuroncore="1?"}'
        return None, f"must be a metric name or glob, as in {example}"
    name = match["name"].strip()
    rows = [row for each, row in available.items() if fnmatchcase(each, name)]
    if not rows:
        return None, _no_match(name, list(available), cloudwatch)
    if labels and cloudwatch:
        return None, "labels select Prometheus series; a CloudWatch metric pools all series"
    known = sorted(set().union(*(label_names(row) for row in rows)))
    unknown = [label for label, _ in labels if label not in known]
    if unknown:
        return None, f"has no label {', '.join(unknown)}; its labels are {', '.join(known)}"
    return _Pattern(name, labels), ""


def _parse_labels(text: str | None) -> tuple[tuple[str, str], ...] | None:
    """Return label names and globs; None if the text is not a list of them."""
    if not text or not text.strip():
        return ()
    matches = [_LABEL.fullmatch(part) for part in text.split(",")]
    if None in matches:
        return None
    return tuple((match[1], match[2]) for match in matches if match)


def label_names(row: MetricSpec) -> set[str]:
    """Return the labels that series of the row may have, except those of the machine."""
    names = {*ENTITY_LABELS[row.entity_kind], *(name for name, _ in row.constant_labels)}
    if row.split_by:
        names.add(row.split_by)
    if row.entity_kind in RUNTIME_KINDS:
        names.add("pid")
    if row.entity_kind in _OWNED:
        names.update(OWNER_LABELS)
    return names


def _no_match(name: str, available: list[str], cloudwatch: bool) -> str:
    """Return an error message with the name in the other system, or with similar names."""
    if cloudwatch:
        kind = "CloudWatch"
        same = [m.name for row in CATALOGUE if fnmatchcase(row.name, name) for m in row.cloudwatch]
    else:
        kind = "Prometheus"
        same = [
            row.name
            for row in CATALOGUE
            if row.name in available
            and any(fnmatchcase(metric.name, name) for metric in row.cloudwatch)
        ]
    if same:
        names = ", ".join(same[:_MAX_SUGGESTIONS])
        return f"matches no metric; the {kind} name is {names}"
    by_lower = {each.lower(): each for each in available}
    similar = get_close_matches(name.strip("*?").lower(), by_lower, _MAX_SUGGESTIONS, 0.5)
    if similar:
        return f"matches no metric; did you mean {', '.join(by_lower[each] for each in similar)}?"
    return "matches no metric; `neuron-exporter metrics` lists them"
