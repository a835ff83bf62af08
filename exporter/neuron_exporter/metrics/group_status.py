"""What was read of a report, what failed, and what this version does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from neuron_exporter.facts.report_names import KNOWN_NAMES
from neuron_exporter.metrics.counters import NamedValues
from neuron_exporter.model import Group
from neuron_exporter.report.schema import Section
from neuron_exporter.text import sanitize_text

_STATS_PATH = "neuron_runtime_data[].report.execution_stats"

_Merge = Callable[[float, float], float]

S = TypeVar("S", bound=Section)


class GroupStatus:
    """Groups that were read in a report, and the errors of those that were not."""

    def __init__(self) -> None:
        self.groups_read: set[str] = set()
        self.runtimes_dropped = 0
        self.series_evicted = 0
        self.unknown_names: set[str] = set()
        self.error_counts: dict[str, int] = {}
        self.error_texts: dict[str, str] = {}

    def add_error(self, group: str, text: str) -> None:
        """Record an error of a group."""
        self.error_counts[group] = self.error_counts.get(group, 0) + 1
        self.error_texts[group] = sanitize_text(text)

    def named(self, field: str, values: NamedValues | None, merge: _Merge) -> NamedValues:
        """Return the values of a map of `execution_stats` by names that are fit for labels.

        Names that become equal are merged. Names that a later SDK has added are recorded.
        """
        known = KNOWN_NAMES[field]
        if not values or known.issuperset(values):  # the usual case
            return values or {}
        merged: dict[str, float | None] = {}
        for name, value in values.items():
            shown = sanitize_text(name)
            other = merged.get(shown)
            if value is not None and other is not None:
                value = merge(value, other)
            merged[shown] = other if value is None else value
            if shown not in known:
                self.unknown_names.add(f"{_STATS_PATH}.{field}.{shown}")
        return merged

    def usable(self, section: S | None, name: Group) -> S | None:
        """Record the status of the section, and return it unless it has an error."""
        if section is not None and section.error:
            self.add_error(name, section.error)
            return None
        if section is not None:
            self.groups_read.add(name)
        return section
