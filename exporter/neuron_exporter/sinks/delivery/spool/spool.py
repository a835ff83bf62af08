"""Queue that keeps requests until they are delivered, on disk where possible, else in memory.

A request is pending, or in flight while it is being sent. It is written as in flight before it is
sent; the outcome deletes it or makes it pending. If a file contains a request in flight when it is
opened, the exporter ended while it sent that request, which may have arrived. The request becomes
pending and counts as ambiguous, because it may arrive twice. There is at most one, since requests
are taken one at a time.

The next request to send is the one that failed least often while others were delivered. Among
equals it is the oldest.

File errors are never raised. Requests that cannot be written are kept in memory, and move to disk
when the disk has recovered. A request in flight is also in memory, whatever happens to the disk.

The clock may be wrong by hours or years, for example before it is first set. A request whose stamp
the receiver would reject by this clock therefore waits. It is dropped only after a delivery has
confirmed the clock (`confirm_clock`): AWS rejects the signatures of a clock that is wrong by more
than some minutes. A clock step of more than `CLOCK_TOLERANCE` revokes the confirmation until the
next delivery. In a long outage, the spool is therefore limited by its size, not by age.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple

from neuron_exporter.log import get_logger
from neuron_exporter.sinks.delivery.spool.paths import Destination, SpoolOptions
from neuron_exporter.sinks.delivery.spool.rows import Codec, MemoryQueue, Row, RowRef
from neuron_exporter.sinks.delivery.transport import AcceptedAges, R, split

if TYPE_CHECKING:  # SQLite is imported only if a path is configured
    from neuron_exporter.sinks.delivery.spool.disk import Disk

MAX_IN_MEMORY = 16 * 2**20
"""Bytes kept without a disk: days of requests with the standard preset, and a quarter of the
exporter's memory."""

CLOCK_TOLERANCE = 300.0
"""Seconds by which the clock may move against the confirmed one."""

MAX_DAMAGED = 100
"""Damaged requests that one call skips: their number may be that of a planted file."""

QUIET_SECONDS = 3600.0
"""Seconds without a drop after which the next one is logged again."""

_log = get_logger()


class TakenRequest(NamedTuple, Generic[R]):
    """A request to send. `failures` counts failures while other requests were delivered."""

    key: int
    request: R
    failures: int


_InFlight = tuple[Row, RowRef | None]
"""A row in flight, and the reference to it on disk, if it is there."""


class Spool(Generic[R]):
    """Queue of the requests of one sink, for one thread except where noted.

    `on_drop` is called with a reason (`spool_full`, `too_old`, `too_far_ahead`, `corrupt`,
    `stopped`) and the number of lost requests. Without a `path` the spool is in memory. `template`
    is the path before its placeholders were replaced; orphans are found by it. `sink` names the
    sink in log events. `oldest` is the stamp of the oldest pending request, in Unix seconds.
    """

    def __init__(
        self,
        path: Path | None,
        max_bytes: int,
        accepted: AcceptedAges,
        on_drop: Callable[[str, int], None],
        *,
        codec: Codec[R],
        destination: Destination,
        sink: str,
        template: str = "",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`destination` is the only one to which spooled requests are sent. `max_bytes` limits
        the file with its log; in memory, `MAX_IN_MEMORY` applies as well.
        Files are opened by the first call that needs them."""
        self.oldest: float | None = None
        self._codec = codec
        self._accepted = accepted
        self._clock = clock
        self._monotonic = monotonic
        self._on_drop = on_drop
        self._sink = sink
        self._memory = MemoryQueue(min(max_bytes, MAX_IN_MEMORY))
        self._in_flight: dict[int, _InFlight] = {}
        self._keys = count(1)
        self._confirmed_offset: float | None = None
        self._last_drop: dict[str, float] = {}
        self._disk: Disk | None = None
        if path is not None:
            from neuron_exporter.sinks.delivery.spool.disk import Disk

            self._disk = Disk(
                SpoolOptions(path, template, max_bytes, destination, clock, monotonic, sink),
                on_drop=self._dropped,
                rescue=self._add_to_memory,
                in_flight=lambda: [ref for _, ref in self._in_flight.values() if ref],
            )

    # From any thread.

    def __len__(self) -> int:
        """Return the number of pending requests, those of an adopted orphan included."""
        return len(self._memory) + (self._disk.pending if self._disk else 0)

    @property
    def bytes(self) -> int:
        """Size in memory and in the exporter's own file with its log."""
        return self._memory.bytes + (self._disk.bytes if self._disk else 0)

    @property
    def volatile(self) -> int:
        """Number of requests in memory only, which a kill would lose."""
        return len(self._memory) + sum(ref is None for _, ref in [*self._in_flight.values()])

    @property
    def ambiguous(self) -> int:
        """Number of requests that were in flight when their file was opened."""
        return self._disk.ambiguous if self._disk else 0

    @property
    def others(self) -> int:
        """Number of requests in files that are for other destinations, and are not sent."""
        return self._disk.others if self._disk else 0

    @property
    def state(self) -> str:
        """`disk`, or `memory:` and the reason."""
        if self._disk is None:
            return "memory: no path is configured"
        error = self._disk.error
        return f"memory: {error.reason}: {error}" if error else "disk"

    # From the sink's thread.

    def add_in_flight(self, request: R) -> int:
        """Write a request as in flight, before it is sent. Return the key to discard or requeue."""
        row, key = self._codec.pack(request), next(self._keys)
        refs = self._disk.write([row], in_flight=True) if self._disk else None
        self._in_flight[key] = row, refs[0] if refs else None
        return key

    def add(self, request: R) -> None:
        """Write a request as pending, to be sent later."""
        self._add_row(self._codec.pack(request))

    def take(self) -> TakenRequest[R] | None:
        """Mark the next pending request as in flight and return it; None if no request can be sent
        now."""
        for _ in range(MAX_DAMAGED):
            taken = self._take_row()
            if taken is None:
                break
            key = next(self._keys)
            self._in_flight[key] = taken
            try:
                return TakenRequest(key, self._codec.unpack(taken[0]), taken[0].failures)
            except ValueError:
                self.discard(key)
                self._dropped("corrupt", 1)
        return None

    def requeue(self, key: int, *, failed: bool = False) -> None:
        """Make a request pending again. With `failed`, it failed while others were delivered, and
        is sent after them."""
        row, ref = self._in_flight[key]
        row = row._replace(failures=row.failures + failed)
        if not (self._disk and ref and self._disk.requeue(ref, row.failures)):
            self._add_row(row)
        del self._in_flight[key]

    def discard(self, key: int) -> None:
        """Delete a request that was delivered, or never will be."""
        _, ref = self._in_flight[key]
        if self._disk and ref:
            self._disk.delete(ref)
        del self._in_flight[key]

    def confirm_clock(self) -> None:
        """Record that the receiver has just accepted a request: the clock is right."""
        self._confirmed_offset = self._clock() - self._monotonic()

    def maintain(self) -> None:
        """Retry the disk, drop requests that would be rejected, adopt orphans, free space. The
        caller does this once per cycle."""
        if self._disk:
            self._disk.maintain()
        self._move_to_disk()
        self._drop_untimely()
        stamps = [row.stamp for row in self._memory]
        if self._disk:
            stamp = self._disk.oldest()
            stamps += [] if stamp is None else [stamp]
        self.oldest = min(stamps, default=None)

    def close(self) -> int:
        """Close the files; return how many requests stay in them. Requests that are pending in
        memory and cannot be written are lost, and reported as `stopped`."""
        self._move_to_disk()
        if len(self._memory):
            self._dropped("stopped", len(self._memory))
        if self._disk is None:
            return 0
        remaining = self._disk.pending
        self._disk.close()
        return remaining

    def _add_row(self, row: Row) -> None:
        if not (self._disk and self._disk.write([row], in_flight=False)):
            self._add_to_memory(row)

    def _add_to_memory(self, row: Row) -> None:
        self._dropped("spool_full", self._memory.add(row))

    def _take_row(self) -> _InFlight | None:
        bounds = self._accepted.bounds(self._clock())
        for order, ref in self._disk.candidates(*bounds) if self._disk else ():
            row = self._memory.first(*bounds)
            if row is not None and row[:2] <= order[:2]:
                break
            taken = self._disk.take(ref) if self._disk else None
            if taken is not None:
                return taken, ref
        row = self._memory.first(*bounds)
        if row is None:
            return None
        self._memory.remove(row)
        return row, None

    def _move_to_disk(self) -> None:
        """Move rows from memory to disk, in as few transactions as the file allows. Rows that are
        too large for the file stay. Rows in flight are written again if their file was lost."""
        if self._disk is None:
            return
        self._disk.open()
        max_bytes = self._disk.max_batch_bytes
        rows = [row for row in self._memory if row.size <= max_bytes]
        oldest_first = sorted(rows, key=lambda row: row.stamp)
        for batch in split(((row, row.size) for row in oldest_first), sys.maxsize, max_bytes):
            if self._disk.write(batch, in_flight=False) is None:
                return
            for row in batch:
                self._memory.remove(row)
        for key, (row, ref) in list(self._in_flight.items()):
            if ref is None or not self._disk.is_open(ref):
                refs = self._disk.write([row], in_flight=True)
                if refs is not None:
                    self._in_flight[key] = row, refs[0]
                    if ref is not None:
                        self._disk.delete(ref)

    def _drop_untimely(self) -> None:
        offset = self._clock() - self._monotonic()
        confirmed = self._confirmed_offset
        if confirmed is None or abs(offset - confirmed) > CLOCK_TOLERANCE:
            return
        bounds = self._accepted.bounds(self._clock())
        early, late = self._memory.drop_outside(*bounds)
        if self._disk:
            more = self._disk.drop_outside(*bounds)
            early, late = early + more[0], late + more[1]
        self._dropped("too_old", early)
        self._dropped("too_far_ahead", late)

    def _dropped(self, reason: str, number: int) -> None:
        """Report lost requests. Only the first of a series of drops is logged."""
        if not number:
            return
        now = self._monotonic()
        if now - self._last_drop.get(reason, -QUIET_SECONDS) >= QUIET_SECONDS:
            _log.warning("spool_requests_dropped", sink=self._sink, reason=reason, requests=number)
        self._last_drop[reason] = now
        self._on_drop(reason, number)
