"""The exporter's own spool file: opened, given up, set aside, and tried again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from neuron_exporter.log import get_logger
from neuron_exporter.sinks.delivery.spool.error import Reason, StoreError
from neuron_exporter.sinks.delivery.spool.paths import Identity, identity, set_aside
from neuron_exporter.sinks.delivery.spool.store import Store

FIRST_DELAY = 30.0
LONGEST_DELAY = 300.0
"""Seconds until the disk is tried again: doubled from the first to the longest. The first counts
again for a file that has been well for the longest."""

_log = get_logger(sink="cloudwatch")


class SpoolFile:
    """The file at a path, open or not; `trouble` says why it cannot be written, if it cannot.

    A full disk leaves it open: what is on it can perhaps still be sent, and that makes room. Any
    other trouble closes it. Trouble is logged when its reason changes, not while it lasts.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        on_drop: Callable[[int], None],
    ) -> None:
        self.path = path
        self.store: Store | None = None
        self.trouble: StoreError | None = None
        self._max_bytes = max_bytes
        self._clock = clock
        self._monotonic = monotonic
        self._on_drop = on_drop
        self._delay = 0.0
        self._retry_at = monotonic()
        self._well_since = monotonic()

    @property
    def writable(self) -> Store | None:
        """The store, if it is not known that it takes nothing now."""
        return self.store if self.trouble is None or self.is_due else None

    @property
    def is_due(self) -> bool:
        """Whether it is time to try the disk again."""
        return self._monotonic() >= self._retry_at

    def open(self) -> Store | None:
        """Open the file; one that cannot be used is set aside for a new one."""
        for attempt in (1, 2):
            found: Identity | None = None
            with suppress(OSError):
                found = identity(self.path)
            try:
                self.store = Store(self.path, self._max_bytes, self._on_drop)
                return self.store
            except StoreError as error:
                unusable = error.reason in (Reason.CORRUPT, Reason.FOREIGN)
                if attempt == 1 and unusable and found and self._aside(error, found):
                    continue
                self.failed(error)
        return None

    def failed(self, error: StoreError) -> None:
        """The file could not be used; from now on it is in trouble."""
        now = self._monotonic()
        waiting = self.trouble is not None and not self.is_due
        if self.trouble is None and now - self._well_since >= LONGEST_DELAY:
            self._delay = 0.0
        # Where a new file is the remedy, there is nothing to wait for; once.
        at_once = error.reason in (Reason.CORRUPT, Reason.GONE) and not self._delay
        if not waiting:
            self._delay = min(LONGEST_DELAY, max(FIRST_DELAY, 2 * self._delay))
            self._retry_at = now if at_once else now + self._delay
        if self.trouble is None or self.trouble.reason is not error.reason:
            _log.error(
                "spool_in_memory",
                reason=error.reason.value,
                message=str(error),
                retry_in_seconds=round(self._retry_at - now),
            )
        self.trouble = error
        if self.store is not None and error.reason is not Reason.FULL:
            self.store.close()
            self.store = None

    def succeeded(self) -> None:
        """Something was written: the trouble is over."""
        if self.trouble is not None:
            self.trouble = None
            self._well_since = self._monotonic()
            _log.info("spool_on_disk_again", path=str(self.path))

    def detach(self, error: StoreError) -> Store | None:
        """Take the path from a file that is corrupt or gone; gives what still leads to its rows, to
        be abandoned. Nothing is given if the file stays at its path, with its rows."""
        store, self.store = self.store, None
        if store and error.reason is Reason.CORRUPT and not self._aside(error, store.identity):
            store.close()
            store = None
        self.failed(error)
        return store

    def _aside(self, error: StoreError, which: Identity) -> bool:
        try:
            moved = set_aside(self.path, error.reason.value, self._clock(), which)
        except OSError:
            return False
        if moved is not None:
            _log.warning("spool_set_aside", message=str(error), kept_as=str(moved))
        return moved is not None
