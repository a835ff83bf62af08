"""Gaps between executions: times in which cores are busy and no execution ends.

A long gap is a hang, or one long execution. The longest gap of a runtime's recent history tells
them apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from neuron_exporter.facts.problems import HANG_HISTORY_SECONDS, HANG_UTILIZATION
from neuron_exporter.metrics.counters import NamedValues, RuntimeKey

_COMPLETED = ("completed", "completed_with_err", "completed_with_num_err")
_NEVER_RAN = frozenset({"incorrect_input", "failed_to_queue"})
"""Statuses of executions that did not reach a core. Those on a hung core end so as well."""

_BUSY_PERCENT = 100 * HANG_UTILIZATION
_SLOT_SECONDS = 900.0
_SLOTS = int(HANG_HISTORY_SECONDS / _SLOT_SECONDS)


class Activity(NamedTuple):
    """A runtime in one report.

    `cores` are those on which it was busy, and those whose reading is missing. `statuses` counts
    its executions in the last `period` seconds. None means that the group was not read.
    """

    key: RuntimeKey
    cores: Collection[int] | None
    statuses: NamedValues | None
    period: float | None


class Gap(NamedTuple):
    """Seconds since the end of an execution, and the longest such time; None if unknown."""

    current: float | None
    longest: float | None


@dataclass(slots=True)
class _Runtime:
    """`gap` is in seconds. `own_gap` also grows while another runtime uses a shared core;
    `has_begin` is whether the report in which it began was read."""

    read_at: float
    gap: float = 0.0
    own_gap: float = 0.0
    has_begin: bool = False
    slots: dict[int, float] = field(default_factory=dict)
    """The longest gap that ended in each slot of the monotonic clock."""

    def advance(self, period: float | None, now: float, max_pause: float) -> None:
        """Add the time that a report covers; a pause without reports is no busy time."""
        elapsed, self.read_at = now - self.read_at, now
        if elapsed > max_pause:
            self.gap, self.own_gap, self.has_begin = 0.0, 0.0, False
            return
        covered = elapsed if period is None else min(elapsed, period)
        self.gap += covered
        self.own_gap += covered
        if elapsed > 1.5 * covered + 1:  # executions may have ended in a lost report
            self.has_begin = False

    def end(self, now: float, *, is_completed: bool) -> None:
        """End the gap. One that a failure ends says nothing about a healthy runtime."""
        if is_completed and self.has_begin:
            slot = int(now // _SLOT_SECONDS)
            self.slots[slot] = max(self.slots.get(slot, 0.0), self.own_gap)
        self.gap, self.own_gap, self.has_begin = 0.0, 0.0, True

    def longest(self, now: float) -> float | None:
        """Return the longest gap that ended recently, None if none did."""
        oldest = int(now // _SLOT_SECONDS) - _SLOTS
        while self.slots and next(iter(self.slots)) < oldest:
            del self.slots[next(iter(self.slots))]
        return max(self.slots.values(), default=None)


class ExecutionGaps:
    """The gap of each runtime that is present. A new exporter knows no gaps."""

    def __init__(self) -> None:
        self._runtimes: dict[RuntimeKey, _Runtime] = {}

    def observe(
        self,
        activities: Sequence[Activity],
        utilization: Mapping[int, float],
        now: float,
        max_pause: float,
    ) -> list[Gap]:
        """Return the gap of each runtime in a report.

        A shared core counts only if no execution of any of its runtimes ended. `utilization` is the
        percent of each core, summed over runtimes. After more than `max_pause` seconds without a
        reading, a gap begins anew.
        """
        ended = [_ended(each.statuses) for each in activities]
        alive: set[int] = set()
        uncertain: set[int] = set()
        for each, has_ended in zip(activities, ended, strict=True):
            if has_ended is not False:
                (alive if has_ended else uncertain).update(each.cores or ())
        known, self._runtimes = self._runtimes, {}
        gaps = []
        for each, has_ended in zip(activities, ended, strict=True):
            runtime = self._runtimes[each.key] = known.get(each.key) or _Runtime(now)
            is_busy: bool | None = None
            shares_busy_core = False
            if has_ended:
                is_busy = False
            elif has_ended is not None and each.cores is not None:
                cores = set(each.cores)
                is_busy = _is_busy(cores - alive, uncertain, utilization)
                shares_busy_core = bool(_is_busy(cores & alive, set(), utilization))
            if is_busy is not None:
                runtime.advance(each.period, now, max_pause)
                if shares_busy_core and not is_busy:
                    runtime.gap = 0.0
                elif not is_busy:
                    completed = map((each.statuses or {}).get, _COMPLETED)
                    runtime.end(now, is_completed=any(completed))
            gaps.append(Gap(None if is_busy is None else runtime.gap, runtime.longest(now)))
        return gaps


def _is_busy(cores: Set[int], uncertain: Set[int], utilization: Mapping[int, float]) -> bool | None:
    """Return whether one of the cores is busy; None if that is unknown."""
    if any(utilization.get(core, 0.0) > _BUSY_PERCENT for core in cores - uncertain):
        return True
    return None if cores & uncertain or not utilization.keys() >= cores else False


def _ended(statuses: NamedValues | None) -> bool | None:
    """Return whether an execution ended on a core; None if that is unknown."""
    if not statuses:
        return None
    if statuses.get("completed"):  # the usual case
        return True
    if any(count for name, count in statuses.items() if name not in _NEVER_RAN):
        return True
    return None if None in statuses.values() else False
