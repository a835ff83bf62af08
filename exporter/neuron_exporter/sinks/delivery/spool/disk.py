"""Spool files on disk: the exporter's own file, and an adopted orphan.

File errors are never raised. If a row cannot be written, the caller keeps it. If a file can be
read but not written, its rows stay in it. If a file is corrupt or was deleted, the caller receives
the rows that can still be read. A row that was sent but could not be deleted is deleted later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Concatenate, ParamSpec, TypeVar

from neuron_exporter.log import get_logger
from neuron_exporter.sinks.delivery.spool.error import Reason, StoreError
from neuron_exporter.sinks.delivery.spool.orphans import Orphans
from neuron_exporter.sinks.delivery.spool.paths import (
    FileId,
    SpoolOptions,
    file_id,
    is_linked,
    quarantine,
)
from neuron_exporter.sinks.delivery.spool.rows import Row, RowRef
from neuron_exporter.sinks.delivery.spool.store import QueueOrder, Store

MIN_DELAY = 30.0
MAX_DELAY = 300.0
"""Seconds until the disk is tried again. Each failure doubles the delay, up to the maximum. It
starts again at the minimum after the file was healthy for `MAX_DELAY`."""

P = ParamSpec("P")
T = TypeVar("T")

_log = get_logger()


class SpoolFile:
    """The exporter's own file. `store` is the open file, `error` why it cannot be written, if so.

    A full disk leaves the file open: sending its requests may make room. Any other error closes it.
    An error is logged when its reason changes, not while it lasts.
    """

    def __init__(self, options: SpoolOptions, on_drop: Callable[[int], None]) -> None:
        self.store: Store | None = None
        self.error: StoreError | None = None
        self._options = options
        self._on_drop = on_drop
        self._delay = 0.0
        self._retry_at = options.monotonic()
        self._healthy_since = options.monotonic()

    @property
    def writable(self) -> Store | None:
        """The store, unless a write is known to fail now."""
        return self.store if self.error is None or self.is_due else None

    @property
    def is_due(self) -> bool:
        """Whether it is time to try the disk again."""
        return self._options.monotonic() >= self._retry_at

    def open(self) -> Store | None:
        """Open the file. An unusable file is quarantined and replaced by a new one."""
        path = self._options.path
        for attempt in (1, 2):
            found: FileId | None = None
            with suppress(OSError):
                found = file_id(path)
            try:
                if is_linked(self._options.template, path):
                    raise StoreError(Reason.IO, f"{path}: its directory is a symbolic link")
                self.store = Store(
                    path, self._options.max_bytes, self._options.destination, self._on_drop
                )
                return self.store
            except StoreError as error:
                if attempt == 1 and error.unusable and found and self._quarantine(error, found):
                    continue
                self.record_failure(error)
                break
        return None

    def record_failure(self, error: StoreError) -> None:
        """Record that the file could not be used, and schedule the next attempt."""
        now = self._options.monotonic()
        waiting = self.error is not None and not self.is_due
        if self.error is None and now - self._healthy_since >= MAX_DELAY:
            self._delay = 0.0
        # A new file can replace the lost one at once. If that happens again soon, wait.
        at_once = error.reason in (Reason.CORRUPT, Reason.GONE) and not self._delay
        if not waiting:
            self._delay = min(MAX_DELAY, max(MIN_DELAY, 2 * self._delay))
            self._retry_at = now if at_once else now + self._delay
        if self.error is None or self.error.reason is not error.reason:
            _log.error(
                "spool_in_memory",
                sink=self._options.sink,
                reason=error.reason.value,
                message=str(error),
                retry_in_seconds=round(self._retry_at - now),
            )
        self.error = error
        if self.store is not None and error.reason is not Reason.FULL:
            self.store.close()
            self.store = None

    def record_success(self) -> None:
        """Record a successful write."""
        if self.error is not None:
            self.error = None
            self._healthy_since = self._options.monotonic()
            _log.info("spool_disk_recovered", sink=self._options.sink, path=str(self._options.path))

    def detach(self, error: StoreError) -> Store | None:
        """Rename a corrupt file, and make way for a new file at its path. Return the open store,
        to be salvaged and abandoned; None if the file could not be renamed and keeps its rows."""
        store, self.store = self.store, None
        if store and error.reason is Reason.CORRUPT and not self._quarantine(error, store.file_id):
            store.close()
            store = None
        self.record_failure(error)
        return store

    def _quarantine(self, error: StoreError, expected: FileId) -> bool:
        options = self._options
        try:
            renamed = quarantine(options.path, error.reason.value, options.clock(), expected)
        except OSError:
            return False
        if renamed is not None:
            message, kept_as = str(error), str(renamed)
            _log.warning("spool_quarantined", sink=options.sink, message=message, kept_as=kept_as)
        return renamed is not None


class Disk:
    """Rows in the exporter's own file and in an adopted orphan.

    `on_drop` is called with a reason and the number of lost rows, `rescue` with each row saved from
    a lost file. `in_flight` returns the rows that are being sent.
    """

    def __init__(
        self,
        options: SpoolOptions,
        on_drop: Callable[[str, int], None],
        rescue: Callable[[Row], None],
        in_flight: Callable[[], Iterable[RowRef]],
    ) -> None:
        self._closed = False
        self._sink = options.sink
        self._own_ambiguous = 0
        self._on_drop = on_drop
        self._rescue = rescue
        self._in_flight = in_flight
        self._undeleted: dict[str, set[int]] = {}
        self._file = SpoolFile(options, lambda count: on_drop("spool_full", count))
        self._orphans = Orphans(options)

    # From any thread.

    @property
    def ambiguous(self) -> int:
        """Number of rows that were in flight when their file was opened."""
        return self._own_ambiguous + self._orphans.ambiguous

    @property
    def pending(self) -> int:
        """Number of pending rows."""
        return sum(store.pending for store in self._stores())

    @property
    def others(self) -> int:
        """Number of rows for other destinations, in the own file and in orphans."""
        own = self._file.store
        return (own.others if own else 0) + self._orphans.others

    @property
    def bytes(self) -> int:
        """Size of the own file and its log."""
        return self._file.store.bytes if self._file.store else 0

    @property
    def error(self) -> StoreError | None:
        """Why nothing can be written, if so."""
        return self._file.error

    # From the spool's thread.

    def open(self) -> None:
        """Open the own file, if it is closed and a retry is due."""
        file = self._file
        if self._closed or file.store is not None or not file.is_due:
            return
        store = file.open()
        if store is None:
            return
        in_flight = {ref.id for ref in self._in_flight() if ref.token == store.token}
        undeleted = self._undeleted.get(store.token, ())
        ambiguous = self._try(store, Store.release, in_flight, undeleted)
        if ambiguous is None:
            return
        self._undeleted.pop(store.token, None)
        self._own_ambiguous += ambiguous
        if store.is_damaged:
            self._replace_file(StoreError(Reason.CORRUPT, f"{store.path}: the table is damaged"))
            return
        file.record_success()
        if store.pending:
            _log.info("spool_found", sink=self._sink, requests=store.pending, ambiguous=ambiguous)

    def write(self, rows: Sequence[Row], *, in_flight: bool) -> list[RowRef] | None:
        """Write rows in one transaction; return their references, None if that fails."""
        self.open()
        store = self._file.writable
        if store is None or sum(row.size for row in rows) > store.max_batch_bytes:
            return None
        ids = self._try(store, Store.insert, rows, in_flight=in_flight)
        if ids is None:
            return None
        self._file.record_success()
        return [RowRef(store.token, row_id) for row_id in ids]

    @property
    def max_batch_bytes(self) -> int:
        """Bytes of rows that can be written at once; 0 while nothing can be."""
        store = self._file.writable
        return store.max_batch_bytes if store else 0

    def candidates(self, earliest: float, latest: float) -> list[tuple[QueueOrder, RowRef]]:
        """Return each file's next row to send with a stamp in these bounds, in queue order."""
        self.open()
        found = []
        for store in self._stores():
            order = self._try(store, Store.first, earliest, latest)
            if order is not None:
                found.append((order, RowRef(store.token, order[2])))
        return sorted(found)

    def is_open(self, ref: RowRef) -> bool:
        """Return whether the file of a row is open."""
        return self._store_of(ref) is not None

    def take(self, ref: RowRef) -> Row | None:
        """Mark a row as in flight and return it; None if it cannot be marked."""
        store = self._store_of(ref)
        return self._try(store, Store.take, ref.id) if store else None

    def requeue(self, ref: RowRef, failures: int) -> bool:
        """Make a row pending. Return False if that cannot be written: the caller keeps the row,
        and the one in the file is deleted later."""
        return self._change(ref, Store.requeue, failures)

    def delete(self, ref: RowRef) -> bool:
        """Delete a row, now or when its file can be written; return whether it is deleted."""
        return self._change(ref, Store.delete)

    def drop_outside(self, earliest: float, latest: float) -> tuple[int, int]:
        """Drop pending rows with stamps before and after these bounds; return how many of each."""
        early = late = 0
        for store in self._stores():
            dropped = self._try(store, Store.drop_outside, earliest, latest) or (0, 0)
            early, late = early + dropped[0], late + dropped[1]
        return early, late

    def maintain(self) -> None:
        """Delete rows that could not be deleted before, adopt orphans, free disk space."""
        self.open()
        for store in self._stores():
            for row_id in list(self._undeleted.get(store.token, ())):
                if not self.delete(RowRef(store.token, row_id)):
                    break
        in_use = {ref.token for ref in self._in_flight()}
        if self._file.store is not None:
            in_use.add(self._file.store.token)
        self._orphans.adopt(in_use, self._undeleted)
        if self._file.store is not None and self._file.error is None:
            self._try(self._file.store, Store.vacuum)

    def oldest(self) -> float | None:
        """Return the stamp of the oldest pending row, in Unix seconds."""
        stamps = [self._try(store, Store.oldest) for store in self._stores()]
        return min((stamp for stamp in stamps if stamp is not None), default=None)

    def close(self) -> None:
        """Close the files for good."""
        self._closed = True
        for store in self._stores():
            store.close()
        self._file.store = self._orphans.store = None

    def _stores(self) -> list[Store]:
        return [store for store in (self._file.store, self._orphans.store) if store is not None]

    def _store_of(self, ref: RowRef) -> Store | None:
        return next((each for each in self._stores() if each.token == ref.token), None)

    def _change(self, ref: RowRef, step: Callable[..., int], *args: int) -> bool:
        # Added before the attempt, so that the salvage of a corrupt file does not return the row.
        undeleted = self._undeleted.setdefault(ref.token, set())
        undeleted.add(ref.id)
        store = self._store_of(ref)
        if store is None or self._try(store, step, ref.id, *args) is None:
            return False
        undeleted.discard(ref.id)
        if not undeleted:
            del self._undeleted[ref.token]
        return True

    def _try(
        self,
        store: Store,
        step: Callable[Concatenate[Store, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | None:
        """Return the step's result; None if the file fails."""
        try:
            return step(store, *args, **kwargs)
        except StoreError as error:
            if store is self._orphans.store:
                self._orphans.release(error)
            elif error.reason in (Reason.CORRUPT, Reason.GONE):
                self._replace_file(error)
            else:
                self._file.record_failure(error)
            return None

    def _replace_file(self, error: StoreError) -> None:
        """Rescue the readable rows of the own file and start a new one."""
        lost = self._file.detach(error)
        if lost is None:
            return
        known = {ref.id for ref in self._in_flight() if ref.token == lost.token}
        known |= self._undeleted.pop(lost.token, set())
        missing = lost.pending
        for row in lost.salvage(known):
            self._rescue(row)
            missing -= 1
        lost.abandon()
        if missing > 0:
            self._on_drop("corrupt", missing)
        self.open()
