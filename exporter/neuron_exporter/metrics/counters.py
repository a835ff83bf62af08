"""Counters that only rise, made of tallies of periods and of ambiguous readings.

They are keyed by what is counted (a process, a device), never by the labels under which they are
shown: a label that comes late resets nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from neuron_exporter.model import Spot

STATUSES = (
    "completed",
    "completed_with_err",
    "completed_with_num_err",
    "timed_out",
    "incorrect_input",
    "failed_to_queue",
)
"""neuron-monitor's `execution_summary`; a machine's totals stand at 0 for each from the start."""

ERROR_TYPES = ("numerical", "transient", "model", "runtime", "hardware")
"""neuron-monitor's `error_summary`, without the `generic` of 2022, which is a level."""

GENERIC = "generic"

ECC_EVENTS = (
    "mem_ecc_corrected",
    "mem_ecc_uncorrected",
    "sram_ecc_corrected",
    "sram_ecc_uncorrected",
)
"""neuron-monitor's ECC readings of a device."""

KEPT_AFTER_EXIT = 600.0
"""Seconds: the last tally of a runtime that has gone must be scraped."""

MOST_RETIRED = 4096
"""Label sets of runtimes that have gone; beyond these the one that is gone the longest ends."""

MOST_NAMES = 32
"""Statuses or error types of one tally: a bound on what a broken stream can make of them."""

Readings = Mapping[str, float | None]


class RuntimeKey(NamedTuple):
    """A process: tags alone are not unique across containers, nor are pids of namespaces."""

    pid: int | None
    tag: str | None


@dataclass(slots=True)
class Tallies:
    """Sums of tallies, by status and by error type; `generic` stands where its level stood."""

    statuses: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    generic: float | None = None

    def begin(self, statuses: Readings, errors: Readings) -> None:
        """Stand at 0 for everything that is told of, so that its first rise is seen."""
        for sums, amounts in ((self.statuses, statuses), (self.errors, errors)):
            names = [name for name, amount in amounts.items() if amount is not None]
            sums.update(dict.fromkeys(names[:MOST_NAMES], 0.0))
            sums.pop(GENERIC, None)

    def merge(self, others: Tallies) -> None:
        """Add what others have counted."""
        for sums, amounts in ((self.statuses, others.statuses), (self.errors, others.errors)):
            for name, amount in amounts.items():
                sums[name] = sums.get(name, 0.0) + amount
        if others.generic is not None:
            self.generic = (self.generic or 0.0) + others.generic

    def copy(self) -> Tallies:
        """The same sums, to be changed without changing these."""
        return Tallies(dict(self.statuses), dict(self.errors), self.generic)


def _add(own: dict[str, float], total: dict[str, float], amounts: Readings) -> None:
    """Add the tallies of a period to a runtime's and to the machine's."""
    for name, amount in amounts.items():
        if amount and name != GENERIC:  # most tallies of most periods are 0
            for sums in (own, total):
                if name in sums or len(sums) < MOST_NAMES:
                    sums[name] = sums.get(name, 0.0) + amount


class Rises:
    """A counter made of readings of which nobody says whether they are levels or tallies.

    Modes:
        reset_aware: rises are added; a fall is a reset, after which the new value is added.
        level: rises are added; a fall adds nothing.
        tally: every reading is added.

    The first reading of a level is where the counter starts; nothing was counted by it.
    """

    __slots__ = ("_last", "_mode", "start", "value")

    def __init__(self, mode: str, first: float) -> None:
        self._mode = mode
        self._last = first
        self.value = first
        self.start = 0.0 if mode == "tally" else first

    def observe(self, reading: float) -> None:
        """Count a further reading."""
        if self._mode == "tally":
            self.value += reading
        elif reading >= self._last:
            self.value += reading - self._last
        elif self._mode == "reset_aware":
            self.value += reading
        self._last = reading


@dataclass(slots=True)
class _Runtime:
    spot: Spot
    shown: bool = False
    tallies: Tallies = field(default_factory=Tallies)
    generic: Rises | None = None
    level: float | None = None


@dataclass(slots=True)
class _Retired:
    tallies: Tallies
    last_seen: float


class EccCounts(NamedTuple):
    """A device's counters in the order of `ECC_EVENTS`, and where each of them started."""

    values: tuple[float | None, ...]
    starts: tuple[float, ...]


_NO_COUNTS = EccCounts((), ())


@dataclass(slots=True)
class _Device:
    rises: list[Rises | None]
    last: tuple[float | None, ...] = ()
    counts: EccCounts = _NO_COUNTS


class Counters:
    """All that was counted since the exporter started; one object for its whole life."""

    def __init__(self, ecc: str = "reset_aware", generic: str = "ignore") -> None:
        self._ecc_mode = ecc
        self._generic = generic
        types = ERROR_TYPES if generic == "ignore" else (GENERIC, *ERROR_TYPES)
        self.totals = Tallies(dict.fromkeys(STATUSES, 0.0), dict.fromkeys(types, 0.0))
        self.context_switches: float | None = None
        self._runtimes: dict[RuntimeKey, _Runtime] = {}
        self._retired: dict[Spot, _Retired] = {}
        self._left: list[tuple[Spot, Tallies]] = []
        self._devices: dict[int, _Device] = {}

    def count(
        self,
        key: RuntimeKey,
        spot: Spot,
        statuses: Readings,
        errors: Readings,
        *,
        shown: bool = True,
    ) -> None:
        """Add a runtime's tallies of one period, to it and to the machine.

        It is shown at `spot`, or would be. What was shown at another one stays there, as if the
        runtime had ended there: neither of the two falls, and nothing is counted at both.
        """
        runtime = self._runtimes.get(key)
        if runtime is None:
            runtime = self._runtimes[key] = _Runtime(spot)
            runtime.tallies.begin(statuses, errors)
        elif runtime.spot != spot and runtime.shown:
            left, runtime.tallies = runtime.tallies, Tallies(generic=runtime.tallies.generic)
            runtime.tallies.begin(statuses, errors)
            runtime.shown = False
            left.generic = None  # a level, which the runtime takes along
            self._left.append((runtime.spot, left))
        runtime.spot = spot
        runtime.shown |= shown
        _add(runtime.tallies.statuses, self.totals.statuses, statuses)
        _add(runtime.tallies.errors, self.totals.errors, errors)
        level = errors.get(GENERIC)
        if level is not None and level != runtime.level:
            runtime.level = level
            self._count_generic(runtime, level)

    def _count_generic(self, runtime: _Runtime, level: float) -> None:
        """Add the rise of a level; the first reading only says where it stands."""
        if runtime.generic is None:
            runtime.generic = Rises("reset_aware", level)
        before = runtime.generic.value
        runtime.generic.observe(level)
        runtime.tallies.generic = runtime.generic.value
        if self._generic == "level":
            for tallies in (runtime.tallies, self.totals):
                so_far = tallies.errors.get(GENERIC, 0.0)
                tallies.errors[GENERIC] = so_far + runtime.generic.value - before

    def count_context_switches(self, tally: float) -> None:
        """Add the host's tally of one period."""
        self.context_switches = (self.context_switches or 0.0) + tally

    def settle(self, present: Iterable[RuntimeKey], now: float) -> None:
        """Retire the runtimes that are not `present` and what others have left, and forget what
        nobody has to scrape.

        `now` is in seconds of the monotonic clock.
        """
        present = set(present)
        for key in [key for key in self._runtimes if key not in present]:
            gone = self._runtimes.pop(key)
            self._left.append((gone.spot, gone.tallies))
        for spot, tallies in self._left:
            kept = self._retired.get(spot)
            if kept is None:
                self._retired[spot] = _Retired(tallies, now)
            else:
                kept.tallies.merge(tallies)
        self._left.clear()
        for runtime in self._runtimes.values() if self._retired else ():
            if runtime.spot in self._retired:
                self._retired[runtime.spot].last_seen = now
        for spot in [
            spot for spot, kept in self._retired.items() if now - kept.last_seen > KEPT_AFTER_EXIT
        ]:
            del self._retired[spot]
        for spot in sorted(self._retired, key=lambda each: self._retired[each].last_seen)[
            : max(0, len(self._retired) - MOST_RETIRED)
        ]:
            del self._retired[spot]

    def by_spot(self, but: Container[RuntimeKey] = ()) -> dict[Spot, Tallies]:
        """What is to be shown: the sum of the runtimes of one spot, gone ones included, but not
        those named."""
        shown: dict[Spot, Tallies] = {}
        shared: set[Spot] = set()
        for spot, tallies in (
            *((each.spot, each.tallies) for key, each in self._runtimes.items() if key not in but),
            *((spot, kept.tallies) for spot, kept in self._retired.items()),
        ):
            if spot not in shown:
                shown[spot] = tallies
                continue
            if spot not in shared:  # sum into a copy, never into what a runtime has counted
                shared.add(spot)
                shown[spot] = shown[spot].copy()
            shown[spot].merge(tallies)
        return shown

    def ecc(self, device: int, readings: tuple[float | None, ...]) -> EccCounts:
        """Count a device's ECC readings, in the order of `ECC_EVENTS`."""
        known = self._devices.get(device)
        if known is None:
            known = self._devices[device] = _Device([None] * len(ECC_EVENTS))
        elif readings == known.last and self._ecc_mode != "tally":
            return known.counts  # as nearly always
        for at, reading in enumerate(readings):
            rises = known.rises[at]
            if reading is None:
                continue
            if rises is None:
                known.rises[at] = Rises(self._ecc_mode, reading)
            else:
                rises.observe(reading)
        known.last = readings
        known.counts = EccCounts(
            tuple(None if rises is None else rises.value for rises in known.rises),
            tuple(0.0 if rises is None else rises.start for rises in known.rises),
        )
        return known.counts
