"""Cumulative counters, built from the deltas and the ambiguous readings of reports.

Counters are made reset-proof here: what a runtime counts belongs to the entity that it is shown
as, and stays with it when the runtime exits or is shown as another. So neither a late label, nor a
restart of the source, nor the exit of a runtime resets one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from neuron_exporter.facts.report_names import ERROR_TYPES, GENERIC, STATUSES
from neuron_exporter.metrics.ecc_counters import CumulativeCounter, EccCounters, EccStore
from neuron_exporter.model import Entity, Labels

RETENTION_AFTER_EXIT = 600.0
"""Seconds for which the counters of an exited runtime stay, so that the last value is scraped."""

MAX_RETIRED_SERIES = 5000
"""Maximum number of series of exited runtimes; those of the oldest are evicted first."""

MAX_NAMES = 32
"""Maximum number of statuses or error types, in case a broken stream invents new ones."""

NamedValues = Mapping[str, float | None]
"""Values by name, such as executions by status; None where the report has none."""


class RuntimeKey(NamedTuple):
    """Key of a runtime process; neither tags nor pids alone are unique across containers."""

    pid: int | None
    tag: str | None


@dataclass(slots=True)
class ExecutionTotals:
    """Executions by status and by error type, 0 for each known name. `generic` is a level."""

    statuses: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0.0))
    errors: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ERROR_TYPES, 0.0))
    generic: float | None = None

    @property
    def series(self) -> int:
        """Number of series."""
        return len(self.statuses) + len(self.errors) + (self.generic is not None)

    def add(self, other: ExecutionTotals) -> None:
        """Add the totals of another runtime."""
        _add(other.statuses, self.statuses)
        _add(other.errors, self.errors)
        if other.generic is not None:
            self.generic = (self.generic or 0) + other.generic


def _add(deltas: NamedValues, own: dict[str, float], *others: dict[str, float]) -> None:
    """Add the deltas of one period. A new name begins with its first reading, also if that is 0."""
    for name, delta in deltas.items():
        if delta or (delta is not None and name not in own):  # most deltas of most periods are 0
            for totals in (own, *others):
                if name in totals or len(totals) < MAX_NAMES:
                    totals[name] = totals.get(name, 0.0) + delta


@dataclass(slots=True)
class _Runtime:
    """A runtime, and the totals that it adds to: its entity's once `shown`, its own before."""

    entity: Entity
    totals: ExecutionTotals = field(default_factory=ExecutionTotals)
    shown: bool = False
    generic: CumulativeCounter | None = None


@dataclass(slots=True)
class _Shown:
    """Totals of an entity, and how many of the present runtimes add to them."""

    entity: Entity
    totals: ExecutionTotals
    runtimes: int = 0


class Counters:
    """All counters since the exporter started. The daemon keeps one object for its whole life."""

    def __init__(
        self, ecc: str = "reset_aware", generic: str = "ignore", store: EccStore | None = None
    ) -> None:
        self.ecc = EccCounters(ecc, store)
        self._generic_mode = generic
        self.totals = ExecutionTotals()
        if generic == "level":
            self.totals.errors[GENERIC] = 0.0
        self.context_switches: float | None = None
        self._runtimes: dict[RuntimeKey, _Runtime] = {}
        self._shown: dict[Labels, _Shown] = {}
        self._left: list[Labels] = []
        self._retired: dict[Labels, float] = {}  # the time at which each was missed, oldest first
        self._retired_series = 0

    @property
    def by_entity(self) -> list[tuple[Entity, ExecutionTotals]]:
        """Totals of each entity: the sums over its runtimes, exited ones included."""
        return [(each.entity, each.totals) for each in self._shown.values()]

    def add_executions(
        self,
        key: RuntimeKey,
        entity: Entity,
        statuses: NamedValues,
        errors: NamedValues,
        *,
        shown: bool = True,
    ) -> None:
        """Add the deltas of one period to the runtime and to the machine.

        `entity` is what the runtime is shown as. If it changes, the totals so far stay with the old
        entity as if the runtime had exited there. So no series falls and no execution counts twice.
        """
        runtime = self._runtimes.get(key)
        if runtime is None:
            runtime = self._runtimes[key] = _Runtime(entity)
        elif runtime.entity != entity:
            if runtime.shown:
                self._leave(runtime)
                runtime.totals, runtime.shown = ExecutionTotals(), False
            runtime.entity = entity
        if shown and not runtime.shown:
            self._show(runtime)
        level = errors.get(GENERIC)
        if GENERIC in errors:
            errors = {name: delta for name, delta in errors.items() if name != GENERIC}
        _add(statuses, runtime.totals.statuses, self.totals.statuses)
        _add(errors, runtime.totals.errors, self.totals.errors)
        if level is not None:
            self._observe_generic(runtime, level)

    def _observe_generic(self, runtime: _Runtime, level: float) -> None:
        """Add the increase of the level; the first reading only sets where it starts."""
        counter = runtime.generic
        if counter is None:
            runtime.generic, increase, risen = CumulativeCounter("reset_aware", level), level, 0.0
        else:
            before = counter.value
            counter.observe(level)
            increase = risen = counter.value - before
        runtime.totals.generic = (runtime.totals.generic or 0) + increase
        if self._generic_mode == "level":
            for totals in (runtime.totals, self.totals):
                totals.errors[GENERIC] = totals.errors.get(GENERIC, 0.0) + risen

    def add_context_switches(self, delta: float) -> None:
        """Add the context switches of one period."""
        self.context_switches = (self.context_switches or 0.0) + delta

    def retire_missing(self, present: set[RuntimeKey], now: float) -> int:
        """Retire the runtimes that are not `present`, and drop totals that were retired long ago.

        `now` is in seconds of the monotonic clock. Return the number of series that were dropped
        early, because there are too many.
        """
        for key in [key for key in self._runtimes if key not in present]:
            exited = self._runtimes.pop(key)
            if not exited.shown:
                self._show(exited)
            self._leave(exited)
        for labels in dict.fromkeys(self._left):
            if not self._shown[labels].runtimes:
                self._retired[labels] = now
                self._retired_series += self._shown[labels].totals.series
        self._left.clear()
        evicted = 0
        while self._retired:
            labels, missed = next(iter(self._retired.items()))
            is_old = now - missed > RETENTION_AFTER_EXIT
            if not is_old and self._retired_series <= MAX_RETIRED_SERIES:
                break
            series = self._unretire(labels)
            del self._shown[labels]
            evicted += 0 if is_old else series
        return evicted

    def _show(self, runtime: _Runtime) -> None:
        """Add the runtime's own totals to those of its entity, and count there from now on."""
        labels = runtime.entity.labels
        shown = self._shown.get(labels)
        if shown is None:
            shown = self._shown[labels] = _Shown(runtime.entity, runtime.totals)
        else:
            if labels in self._retired:
                self._unretire(labels)
            shown.totals.add(runtime.totals)
        shown.runtimes += 1
        runtime.totals, runtime.shown = shown.totals, True

    def _leave(self, runtime: _Runtime) -> None:
        labels = runtime.entity.labels
        self._shown[labels].runtimes -= 1
        self._left.append(labels)

    def _unretire(self, labels: Labels) -> int:
        """Remove the labels from the retired ones; return the number of their series."""
        del self._retired[labels]
        series = self._shown[labels].totals.series
        self._retired_series -= series
        return series
