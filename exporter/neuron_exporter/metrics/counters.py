"""Cumulative counters, built from the deltas and the ambiguous readings of reports.

Counters are made reset-proof here: they are keyed by what is counted (a process, a device) and not
by labels, so that neither a late label, nor a restart of the source, nor the exit of a runtime
resets one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from neuron_exporter.model import Entity

STATUSES = (
    "completed",
    "completed_with_err",
    "completed_with_num_err",
    "timed_out",
    "incorrect_input",
    "failed_to_queue",
)
"""Names in neuron-monitor's `execution_summary`; the machine's totals start at 0 for each."""

ERROR_TYPES = ("numerical", "transient", "model", "runtime", "hardware")
"""Names in neuron-monitor's `error_summary`, except `generic`."""

GENERIC = "generic"
"""Error type that neuron-monitor of 2022 reports as a level that rises by itself."""

ECC_EVENTS = (
    "mem_ecc_corrected",
    "mem_ecc_uncorrected",
    "sram_ecc_corrected",
    "sram_ecc_uncorrected",
)
"""Names of a device's ECC readings in neuron-monitor's report."""

RETENTION_AFTER_EXIT = 600.0
"""Seconds for which the counters of an exited runtime stay, so that the last value is scraped."""

MAX_RETIRED = 4096
"""Maximum number of label sets of exited runtimes; the oldest is dropped first."""

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
    """Executions by status and by error type. `generic` is the last value of that level."""

    statuses: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    generic: float | None = None

    def start_at_zero(self, statuses: NamedValues, errors: NamedValues) -> None:
        """Set every reported name to 0, so that its first increase is visible."""
        for totals, deltas in ((self.statuses, statuses), (self.errors, errors)):
            names = [name for name, delta in deltas.items() if delta is not None]
            totals.update(dict.fromkeys(names[:MAX_NAMES], 0.0))
            totals.pop(GENERIC, None)

    def add(self, other: ExecutionTotals) -> None:
        """Add the totals of another runtime."""
        for totals, amounts in ((self.statuses, other.statuses), (self.errors, other.errors)):
            for name, amount in amounts.items():
                totals[name] = totals.get(name, 0.0) + amount
        if other.generic is not None:
            self.generic = (self.generic or 0.0) + other.generic

    def copy(self) -> ExecutionTotals:
        """Return an independent copy."""
        return ExecutionTotals(dict(self.statuses), dict(self.errors), self.generic)


def _add_deltas(own: dict[str, float], machine: dict[str, float], deltas: NamedValues) -> None:
    """Add the deltas of one period to the totals of a runtime and of the machine."""
    for name, delta in deltas.items():
        if delta and name != GENERIC:  # most deltas of most periods are 0
            for totals in (own, machine):
                if name in totals or len(totals) < MAX_NAMES:
                    totals[name] = totals.get(name, 0.0) + delta


class CumulativeCounter:
    """Counter made of readings that may be levels or deltas (neuron-monitor does not document it).

    Modes, as in the configuration key `counters.ecc`:
        reset_aware: Add increases. A decrease is a reset, after which the new reading is added.
        level: Add increases, ignore decreases.
        tally: Add every reading.

    The first reading of a level only sets the value from which the counter starts.
    """

    __slots__ = ("_last", "_mode", "start", "value")

    def __init__(self, mode: str, first: float) -> None:
        self._mode = mode
        self._last = first
        self.value = first
        self.start = 0.0 if mode == "tally" else first

    def observe(self, reading: float) -> None:
        """Count another reading."""
        if self._mode == "tally":
            self.value += reading
        elif reading >= self._last:
            self.value += reading - self._last
        elif self._mode == "reset_aware":
            self.value += reading
        self._last = reading


@dataclass(slots=True)
class _Runtime:
    entity: Entity
    shown: bool = False
    totals: ExecutionTotals = field(default_factory=ExecutionTotals)
    generic: CumulativeCounter | None = None
    last_generic: float | None = None


@dataclass(slots=True)
class _Retired:
    totals: ExecutionTotals
    last_seen: float


class EccCounts(NamedTuple):
    """Counters of a device and the values from which they started, in the order of `ECC_EVENTS`."""

    values: tuple[float | None, ...]
    starts: tuple[float, ...]


_NO_COUNTS = EccCounts((), ())


@dataclass(slots=True)
class _Device:
    counters: list[CumulativeCounter | None]
    last_readings: tuple[float | None, ...] = ()
    counts: EccCounts = _NO_COUNTS


class Counters:
    """All counters since the exporter started. The daemon keeps one object for its whole life."""

    def __init__(self, ecc: str = "reset_aware", generic: str = "ignore") -> None:
        self._ecc_mode = ecc
        self._generic_mode = generic
        types = ERROR_TYPES if generic == "ignore" else (GENERIC, *ERROR_TYPES)
        self.totals = ExecutionTotals(dict.fromkeys(STATUSES, 0.0), dict.fromkeys(types, 0.0))
        self.context_switches: float | None = None
        self._runtimes: dict[RuntimeKey, _Runtime] = {}
        self._retired: dict[Entity, _Retired] = {}
        self._to_retire: list[tuple[Entity, ExecutionTotals]] = []
        self._devices: dict[int, _Device] = {}

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
            runtime.totals.start_at_zero(statuses, errors)
        elif runtime.entity != entity and runtime.shown:
            old, runtime.totals = runtime.totals, ExecutionTotals(generic=runtime.totals.generic)
            runtime.totals.start_at_zero(statuses, errors)
            runtime.shown = False
            old.generic = None  # a level, which moves with the runtime
            self._to_retire.append((runtime.entity, old))
        runtime.entity = entity
        runtime.shown |= shown
        _add_deltas(runtime.totals.statuses, self.totals.statuses, statuses)
        _add_deltas(runtime.totals.errors, self.totals.errors, errors)
        level = errors.get(GENERIC)
        if level is not None and level != runtime.last_generic:
            runtime.last_generic = level
            self._observe_generic(runtime, level)

    def _observe_generic(self, runtime: _Runtime, level: float) -> None:
        """Add the increase of the level; the first reading only sets where it starts."""
        if runtime.generic is None:
            runtime.generic = CumulativeCounter("reset_aware", level)
        before = runtime.generic.value
        runtime.generic.observe(level)
        runtime.totals.generic = runtime.generic.value
        if self._generic_mode == "level":
            for totals in (runtime.totals, self.totals):
                so_far = totals.errors.get(GENERIC, 0.0)
                totals.errors[GENERIC] = so_far + runtime.generic.value - before

    def add_context_switches(self, delta: float) -> None:
        """Add the context switches of one period."""
        self.context_switches = (self.context_switches or 0.0) + delta

    def retire_missing(self, present: Iterable[RuntimeKey], now: float) -> None:
        """Retire the runtimes that are not `present`, and drop totals that were retired long ago.

        `now` is in seconds of the monotonic clock.
        """
        present = set(present)
        for key in [key for key in self._runtimes if key not in present]:
            exited = self._runtimes.pop(key)
            self._to_retire.append((exited.entity, exited.totals))
        for entity, totals in self._to_retire:
            retired = self._retired.get(entity)
            if retired is None:
                self._retired[entity] = _Retired(totals, now)
            else:
                retired.totals.add(totals)
        self._to_retire.clear()
        for runtime in self._runtimes.values() if self._retired else ():
            if runtime.entity in self._retired:
                self._retired[runtime.entity].last_seen = now
        for entity in [
            entity
            for entity, retired in self._retired.items()
            if now - retired.last_seen > RETENTION_AFTER_EXIT
        ]:
            del self._retired[entity]
        for entity in sorted(self._retired, key=lambda each: self._retired[each].last_seen)[
            : max(0, len(self._retired) - MAX_RETIRED)
        ]:
            del self._retired[entity]

    def totals_by_entity(
        self, exclude: Container[RuntimeKey] = ()
    ) -> dict[Entity, ExecutionTotals]:
        """Return the totals of all runtimes of each entity, exited ones included."""
        result: dict[Entity, ExecutionTotals] = {}
        copied: set[Entity] = set()
        for entity, totals in (
            *(
                (each.entity, each.totals)
                for key, each in self._runtimes.items()
                if key not in exclude
            ),
            *((entity, retired.totals) for entity, retired in self._retired.items()),
        ):
            if entity not in result:
                result[entity] = totals
                continue
            if entity not in copied:  # add to a copy, never to the totals of a runtime
                copied.add(entity)
                result[entity] = result[entity].copy()
            result[entity].add(totals)
        return result

    def observe_ecc(self, device: int, readings: tuple[float | None, ...]) -> EccCounts:
        """Count the ECC readings of a device, which are in the order of `ECC_EVENTS`."""
        known = self._devices.get(device)
        if known is None:
            known = self._devices[device] = _Device([None] * len(ECC_EVENTS))
        elif readings == known.last_readings and self._ecc_mode != "tally":
            return known.counts  # the usual case
        for index, reading in enumerate(readings):
            if reading is None:
                continue
            counter = known.counters[index]
            if counter is None:
                known.counters[index] = CumulativeCounter(self._ecc_mode, reading)
            else:
                counter.observe(reading)
        known.last_readings = readings
        known.counts = EccCounts(
            tuple(None if counter is None else counter.value for counter in known.counters),
            tuple(0.0 if counter is None else counter.start for counter in known.counters),
        )
        return known.counts
