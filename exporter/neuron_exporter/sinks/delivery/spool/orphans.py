"""Spool files that other tasks left behind, sent from where they are.

An orphan is not copied: between a copy and the deletion of the original, a kill would leave every
request twice. It is locked, its requests are taken, marked and deleted in it like those of the own
file, and when it is empty it is deleted while it is still locked. The lock settles who adopts it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from neuron_exporter.log import get_logger
from neuron_exporter.sinks.delivery.spool.error import Reason, StoreError
from neuron_exporter.sinks.delivery.spool.paths import orphans
from neuron_exporter.sinks.delivery.spool.store import Store

SCAN_EVERY = 600.0
"""Seconds between looks for orphans; one that failed is not tried again sooner."""

_LASTING = (Reason.CORRUPT, Reason.FOREIGN)
"""What another try would find again. Any other trouble may pass."""

_ANY_SIZE = 2**39  # it does not grow here

_log = get_logger(sink="cloudwatch")


class Orphans:
    """Adopts one file at a time: `store`, if any. Files that can never be used are left alone."""

    def __init__(
        self,
        template: str,
        own: Path,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.store: Store | None = None
        self.ambiguous = 0
        self._template = template
        self._own = own
        self._clock = clock
        self._monotonic = monotonic
        self._next_scan = monotonic()
        self._left: set[Path] = set()
        self._retry_at: dict[Path, float] = {}

    def adopt(self, busy: set[str], obsolete: Mapping[str, set[int]]) -> None:
        """Finish with a file that is empty, and adopt the next, if there is one.

        `busy` are the tokens of files of which requests are in flight; `obsolete` are requests by
        file that were sent and could not be deleted.
        """
        if self.store is not None:
            if self.store.pending or self.store.token in busy or obsolete.get(self.store.token):
                return
            self._finish(self.store)
        elif self._monotonic() < self._next_scan:
            return
        now = self._monotonic()
        self._retry_at = {path: at for path, at in self._retry_at.items() if os.path.exists(path)}
        for path in orphans(self._template, self._own, self._clock()):
            due = path not in self._left and self._retry_at.get(path, now) <= now
            if due and self._open(path, busy, obsolete):
                return
        self._next_scan = now + SCAN_EVERY

    def leave(self, error: StoreError) -> None:
        """The adopted file cannot be used any more, or for now."""
        if self.store is not None:
            self.store.close()
            self._leave(self.store.path, error)
            self.store = None

    def _open(self, path: Path, busy: set[str], obsolete: Mapping[str, set[int]]) -> bool:
        try:
            store = Store(path, _ANY_SIZE, lambda _: None, create=False)
        except StoreError as error:
            if error.reason not in (Reason.LOCKED, Reason.GONE):
                self._leave(path, error)
            return False
        if store.token in busy:  # what is being sent from it would be taken as ambiguous, and again
            store.close()
            return False
        self.store = store
        try:
            ambiguous = store.release((), obsolete.get(store.token, ()))
        except StoreError as error:
            self.leave(error)
            return False
        if store.token in obsolete:
            obsolete[store.token].clear()
        self.ambiguous += ambiguous
        if store.pending:
            if path not in self._retry_at:
                _log.info(
                    "spool_adopted", path=str(path), requests=store.pending, ambiguous=ambiguous
                )
            return True
        self._finish(store)
        return False

    def _finish(self, store: Store) -> None:
        self.store = None
        try:
            store.destroy()
        except StoreError as error:
            store.close()
            self._leave(store.path, error)
            return
        self._retry_at.pop(store.path, None)
        _log.info("spool_drained", path=str(store.path))
        if store.path.parent != self._own.parent:
            with suppress(OSError):  # it holds something else
                store.path.parent.rmdir()

    def _leave(self, path: Path, error: StoreError) -> None:
        is_news = path not in self._retry_at
        if error.reason in _LASTING:
            self._left.add(path)
            is_news = True
        else:
            self._retry_at[path] = self._monotonic() + SCAN_EVERY
        if is_news:
            _log.warning("spool_orphan_left", reason=error.reason.value, message=str(error))
