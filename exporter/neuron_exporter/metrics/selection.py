"""Which metrics a sink publishes: a preset, what is added to it, and what is taken away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.tables import LABELS
from neuron_exporter.model import Group, Layout, MetricSpec, Place, Preset, Selection, Series

_ENTRY = re.compile(r"(?P<name>[^{}]+?)(?:\{(?P<labels>[^{}]*)\})?")
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"([^"]*)"\s*')
_MOST_SHOWN = 3

_NOT_OF_A_TASK = (None, Group.HW_COUNTERS, Group.VCPU_USAGE, Group.MEMORY_INFO)
"""The groups of what all tasks of a machine share; without a group is what the exporter tells."""

_OWNED = (Place.CORE, Place.DEVICE, Place.RUNTIME, Place.RUNTIME_CORE, Place.HOLDER)

OWNER_LABELS = ("namespace", "pod", "container", "task_family", "service")


class Problem(NamedTuple):
    """An entry that cannot be used: the key of its list, what was given, what is wrong."""

    key: str
    given: str
    message: str


class _Entry(NamedTuple):
    name: str
    labels: tuple[tuple[str, str], ...]


def for_prometheus(
    preset: str, include: Sequence[str], exclude: Sequence[str], layout: Layout = Layout.CORE
) -> tuple[Selection, list[Problem]]:
    """The rows and series for Prometheus, by Prometheus names with label globs."""
    offered = {row.name: row for row in CATALOGUE if layout in row.layouts}
    problems: list[Problem] = []
    added = _parse("include", include, offered, problems)
    taken = _parse("exclude", exclude, offered, problems)
    level = Preset[preset.upper()]
    in_preset = {name for name, row in offered.items() if row.preset <= level}
    rows = tuple(
        row
        for name, row in offered.items()
        if (name in in_preset or _names(added, name))
        and not any(fnmatchcase(name, entry.name) and not entry.labels for entry in taken)
    )

    _check_some(rows, exclude, problems)

    def takes(series: Series) -> bool:
        if not (series.spec.name in in_preset or any(_matches(e, series) for e in added)):
            return False
        return not any(_matches(e, series) for e in taken)

    labelled = any(entry.labels for entry in (*added, *taken))
    return Selection(rows, takes if labelled else _everything), problems


def for_cloudwatch(
    preset: str,
    include: Sequence[str],
    exclude: Sequence[str],
    keep: Sequence[str] = (),
    *,
    of_task: bool = False,
    per_owner: bool = False,
) -> tuple[Selection, list[Problem]]:
    """The rows for CloudWatch, by CloudWatch names; each keeps only the metrics that are chosen.

    A CloudWatch metric pools all series of its row, so an entry cannot choose among them. With
    `of_task` there are only metrics of cores and runtimes, for a machine that several tasks share;
    with `per_owner` the rows are there that tell owners apart. `keep` is only looked through.
    """
    metrics = [
        (row, metric)
        for row in CATALOGUE
        for metric in row.cloudwatch
        if not (of_task and row.group in _NOT_OF_A_TASK)
    ]
    offered = {metric.name: row for row, metric in metrics}
    presets = {metric.name: metric.preset for _, metric in metrics}
    problems: list[Problem] = []
    added = _parse("include", include, offered, problems, cloudwatch=True)
    taken = _parse("exclude", exclude, offered, problems, cloudwatch=True)
    _parse("budget.keep", keep, offered, problems, cloudwatch=True)
    if of_task:
        problems = [_of_the_machine(each, offered) for each in problems]
    level = Preset[preset.upper()]
    chosen = {
        name
        for name in offered
        if (presets[name] <= level or _names(added, name)) and not _names(taken, name)
    }
    rows = [row for row in CATALOGUE if any(m.name in chosen for m in row.cloudwatch)]
    _check_some(rows, exclude, problems)
    if per_owner:
        rows += [
            row.per_owner for row in rows if row.per_owner is not None and row.per_owner not in rows
        ]
    return Selection(tuple(rows), _everything, frozenset(chosen)), problems


def _of_the_machine(problem: Problem, offered: Mapping[str, MetricSpec]) -> Problem:
    """The same problem, better explained where the entry names what a task does not send."""
    everything = [metric.name for row in CATALOGUE for metric in row.cloudwatch]
    if not any(fnmatchcase(name, problem.given) for name in everything if name not in offered):
        return problem
    return problem._replace(message="is of the whole machine, which scope task does not send")


def _check_some(
    rows: Sequence[MetricSpec], exclude: Iterable[str], problems: list[Problem]
) -> None:
    if not rows and not problems:
        problems.append(Problem("exclude", ", ".join(exclude), "leaves no metric"))


def _everything(_: Series) -> bool:
    return True


def _names(entries: Iterable[_Entry], name: str) -> bool:
    return any(fnmatchcase(name, entry.name) for entry in entries)


def _matches(entry: _Entry, series: Series) -> bool:
    if not fnmatchcase(series.spec.name, entry.name):
        return False
    labels = dict(series.labels)
    return all(fnmatchcase(labels.get(name, ""), glob) for name, glob in entry.labels)


def _parse(
    key: str,
    texts: Iterable[str],
    offered: dict[str, MetricSpec],
    problems: list[Problem],
    *,
    cloudwatch: bool = False,
) -> list[_Entry]:
    entries = []
    for text in texts:
        entry, complaint = _parse_entry(text, offered, cloudwatch=cloudwatch)
        if entry is not None:
            entries.append(entry)
        else:
            problems.append(Problem(key, text, complaint))
    return entries


def _parse_entry(
    text: str, offered: dict[str, MetricSpec], *, cloudwatch: bool
) -> tuple[_Entry | None, str]:
    """An entry, or None and what is wrong with the text."""
    match = _ENTRY.fullmatch(text)
    labels = _parse_labels(match["labels"]) if match else None
    if match is None or labels is None:
        example = "NeuronCore*" if cloudwatch else 'neuroncore_*{neuroncore="1?"}'
        return None, f"must be a metric name or glob, as in {example}"
    name = match["name"].strip()
    rows = [row for each, row in offered.items() if fnmatchcase(each, name)]
    if not rows:
        return None, _near_misses(name, list(offered), cloudwatch)
    if labels and cloudwatch:
        return None, "labels choose among Prometheus series; a CloudWatch metric pools all of them"
    known = sorted(set().union(*(label_names(row) for row in rows)))
    unknown = [label for label, _ in labels if label not in known]
    if unknown:
        return None, f"no label {', '.join(unknown)} there; its labels are {', '.join(known)}"
    return _Entry(name, labels), ""


def _parse_labels(text: str | None) -> tuple[tuple[str, str], ...] | None:
    """Label names and globs; None where the text is not a list of them."""
    if not text or not text.strip():
        return ()
    found = [_LABEL.fullmatch(part) for part in text.split(",")]
    if None in found:
        return None
    return tuple((match[1], match[2]) for match in found if match)


def label_names(row: MetricSpec) -> set[str]:
    """Every label that a series of the row may carry, the machine's own aside."""
    names = {*LABELS[row.place], *(name for name, _ in row.constant_labels)}
    if row.by:
        names.add(row.by)
    if row.place in (Place.RUNTIME, Place.RUNTIME_CORE):
        names.add("pid")
    if row.place in _OWNED:
        names.update(OWNER_LABELS)
    return names


def _near_misses(name: str, offered: list[str], cloudwatch: bool) -> str:
    """Says that nothing has this name, and what comes near to it."""
    if cloudwatch:
        twin = [m.name for row in CATALOGUE if fnmatchcase(row.name, name) for m in row.cloudwatch]
        kind = "CloudWatch"
    else:
        twin = [
            row.name
            for row in CATALOGUE
            if row.name in offered
            and any(fnmatchcase(metric.name, name) for metric in row.cloudwatch)
        ]
        kind = "Prometheus"
    lower = {each.lower(): each for each in offered}
    close = get_close_matches(name.strip("*?").lower(), lower, _MOST_SHOWN, 0.5)
    near = twin or [lower[each] for each in close]
    if not near:
        return "matches no metric; `neuron-exporter metrics` lists them"
    words = f"the {kind} name is" if twin else "did you mean"
    return f"matches no metric; {words} {', '.join(near[:_MOST_SHOWN])}" + ("" if twin else "?")
