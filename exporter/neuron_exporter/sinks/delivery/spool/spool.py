"""Keeps requests until CloudWatch has taken them, on disk if that can be, else in memory.

A request is written as in flight before it is sent; the answer deletes it or makes it pending. What
is found in flight when a file is opened was being sent when the exporter ended: whether it arrived
is not known. It becomes pending and is counted as ambiguous, since it may arrive twice. Requests
are taken one at a time, so that this is one at most.

Next is the request that failed least often while others were delivered, and of these the oldest.

Trouble with a file is never raised. What cannot be written is kept in memory, and moves to the disk
when that is well again. A request that is in flight is in memory too, whatever becomes of the disk.

The clock may be wrong for hours or by years, before it is first set for example, so age alone drops
nothing. What CloudWatch would not take by this clock is not given out, and waits. It is dropped
only after a delivery under this very clock (`confirm_clock`): AWS refuses what is signed by a clock
that is more than some minutes wrong. Once the clock is set by more than `CLOCK_TOLERANCE`, that
proof is void until the next delivery. In a long outage it is therefore the bytes that bound the
spool, not the age.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from neuron_exporter.log import get_logger
from neuron_exporter.sinks.cloudwatch.datums import LONGEST_AHEAD, LONGEST_PAST
from neuron_exporter.sinks.delivery.spool.rows import (
    Entry,
    Memory,
    Place,
    Row,
    batches,
    pack,
    unpack,
)

if TYPE_CHECKING:  # SQLite is loaded by those who have a path
    from neuron_exporter.sinks.delivery.spool.disk import Disk

MOST_IN_MEMORY = 16 * 2**20
"""Bytes without a disk: days of a standard machine, and a quarter of what the exporter may hold."""

CLOCK_TOLERANCE = 300.0
"""Seconds by which the clock may move against the one that was confirmed."""

QUIET = 3600.0
"""Seconds without a drop after which the next one is news again."""

_log = get_logger(sink="cloudwatch")


class Kept(NamedTuple):
    """A request that was taken; `failures` is how often it failed while others were delivered."""

    key: int
    entry: Entry
    failures: int


class _Held(NamedTuple):
    """A row that is in flight, and where it is on disk."""

    row: Row
    place: Place | None


class Spool:
    """Keeps requests until they are settled; for one thread, but for what is said to be of any.

    `on_drop` is told why, and how many requests are lost: `spool_full`, `too_old`, `too_far_ahead`,
    `corrupt`, `stopped`. `path` is None for memory only; `template` is the path before its
    placeholders were replaced, by which orphans are found.
    """

    def __init__(
        self,
        path: Path | None,
        max_bytes: int,
        max_age: float,
        on_drop: Callable[[str, int], None],
        *,
        template: str = "",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_bytes` bounds the file with its log; in memory, `MOST_IN_MEMORY` does too.
        `max_age` is in seconds. Files are opened by the first call that needs them."""
        self.oldest: float | None = None
        self._max_age = min(max_age, LONGEST_PAST)
        self._clock = clock
        self._monotonic = monotonic
        self._on_drop = on_drop
        self._memory = Memory(min(max_bytes, MOST_IN_MEMORY))
        self._held: dict[int, _Held] = {}
        self._keys = count(1)
        self._confirmed: float | None = None
        self._last_drop: dict[str, float] = {}
        self._disk: Disk | None = None
        if path is not None:
            from neuron_exporter.sinks.delivery.spool.disk import Disk

            self._disk = Disk(
                path,
                template,
                max_bytes,
                clock,
                monotonic,
                dropped=self._dropped,
                rescue=self._remember,
                held=lambda: [held.place for held in self._held.values() if held.place],
            )

    # From any thread.

    def __len__(self) -> int:
        """Pending requests, those of an adopted orphan included."""
        return len(self._memory) + (self._disk.pending if self._disk else 0)

    @property
    def bytes(self) -> int:
        """What they take, in memory and in the exporter's own file with its log."""
        return self._memory.bytes + (self._disk.bytes if self._disk else 0)

    @property
    def volatile(self) -> int:
        """Requests that are in memory alone: a kill would lose them."""
        return len(self._memory) + sum(held.place is None for held in [*self._held.values()])

    @property
    def ambiguous(self) -> int:
        """Requests that were found in flight: each may arrive twice."""
        return self._disk.ambiguous if self._disk else 0

    @property
    def state(self) -> str:
        """`disk`, or `memory: ` and why."""
        if self._disk is None:
            return "memory: no path is configured"
        trouble = self._disk.trouble
        return f"memory: {trouble.reason}: {trouble}" if trouble else "disk"

    # From the one thread.

    def keep(self, entry: Entry) -> int:
        """Write a request as in flight, before it is sent; gives the key to settle or return."""
        row, key = pack(entry), next(self._keys)
        places = self._disk.write([row], in_flight=True) if self._disk else None
        self._held[key] = _Held(row, places[0] if places else None)
        return key

    def add(self, entry: Entry) -> None:
        """Write a request as pending: its turn to be sent comes later."""
        self._put(pack(entry))

    def next(self) -> Kept | None:
        """Take the pending request whose turn it is, marked as in flight; None if none can be sent
        now."""
        while (held := self._take()) is not None:
            key = next(self._keys)
            self._held[key] = held
            try:
                return Kept(key, unpack(held.row), held.row.failures)
            except ValueError:
                self.settled(key)
                self._dropped("corrupt", 1)
        return None

    def returned(self, key: int, *, failed: bool = False) -> None:
        """A request has to be sent again. If it `failed` while others did not, these go first."""
        row, place = self._held[key]
        row = row._replace(failures=row.failures + failed)
        if not (self._disk and place and self._disk.give_back(place, row.failures)):
            self._put(row)
        del self._held[key]

    def settled(self, key: int) -> None:
        """A request was delivered, or never will be: forget it."""
        place = self._held[key].place
        if self._disk and place:
            self._disk.delete(place)
        del self._held[key]

    def confirm_clock(self) -> None:
        """CloudWatch has just taken a request: the clock is right."""
        self._confirmed = self._clock() - self._monotonic()

    def upkeep(self) -> None:
        """Once a cycle: try the disk again, drop what is too old, adopt orphans, free space."""
        if self._disk:
            self._disk.upkeep()
        self._move_to_disk()
        self._drop_untimely()
        stamps = [row.stamp for row in self._memory]
        if self._disk:
            stamp = self._disk.oldest()
            stamps += [] if stamp is None else [stamp]
        self.oldest = min(stamps, default=None)

    def close(self) -> int:
        """Let go of the files; gives how many requests stay in them. What is pending in memory and
        fits no file is lost, and counted."""
        self._move_to_disk()
        if len(self._memory):
            self._dropped("stopped", len(self._memory))
        if self._disk is None:
            return 0
        stay = self._disk.pending
        self._disk.close()
        return stay

    def _put(self, row: Row) -> None:
        if not (self._disk and self._disk.write([row], in_flight=False)):
            self._remember(row)

    def _remember(self, row: Row) -> None:
        dropped = self._memory.add(row)
        if dropped:
            self._dropped("spool_full", dropped)

    def _bounds(self) -> tuple[float, float]:
        """Between which stamps CloudWatch takes a request now, in Unix seconds."""
        now = self._clock()
        return now - self._max_age, now + LONGEST_AHEAD

    def _take(self) -> _Held | None:
        bounds = self._bounds()
        for turn, place in self._disk.turns(*bounds) if self._disk else ():
            row = self._memory.first(*bounds)
            if row is not None and row[:2] <= turn[:2]:
                break
            taken = self._disk.take(place) if self._disk else None
            if taken is not None:
                return _Held(taken, place)
        row = self._memory.first(*bounds)
        if row is None:
            return None
        self._memory.remove(row)
        return _Held(row, None)

    def _move_to_disk(self) -> None:
        """Move what is in memory, in as few transactions as the file allows; and what is in flight,
        if its file was lost."""
        if self._disk is None:
            return
        self._disk.open()
        oldest_first = sorted(self._memory, key=lambda row: row.stamp)
        for batch in batches(oldest_first, self._disk.largest):
            if self._disk.write(batch, in_flight=False) is None:
                return
            for row in batch:
                self._memory.remove(row)
        for key, (row, place) in list(self._held.items()):
            if place is None or not self._disk.holds(place):
                places = self._disk.write([row], in_flight=True)
                if places is not None:
                    self._held[key] = _Held(row, places[0])
                    if place is not None:
                        self._disk.delete(place)

    def _drop_untimely(self) -> None:
        now = self._clock() - self._monotonic()
        if self._confirmed is None or abs(now - self._confirmed) > CLOCK_TOLERANCE:
            return
        bounds = self._bounds()
        early, late = self._memory.drop_outside(*bounds)
        if self._disk:
            more = self._disk.drop_outside(*bounds)
            early, late = early + more[0], late + more[1]
        self._dropped("too_old", early)
        self._dropped("too_far_ahead", late)

    def _dropped(self, reason: str, number: int) -> None:
        """Tell of lost requests; the log hears of it when it begins."""
        if not number:
            return
        now = self._monotonic()
        if now - self._last_drop.get(reason, -QUIET) >= QUIET:
            _log.warning("spool_dropping", reason=reason, requests=number)
        self._last_drop[reason] = now
        self._on_drop(reason, number)
