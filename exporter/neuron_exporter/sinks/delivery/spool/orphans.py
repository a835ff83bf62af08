"""Adoption of orphans: spool files that ended tasks left behind.

An orphan is not copied: a kill between the copy and the deletion of the original would send every
request twice. The exporter that gets its lock adopts it, sends its requests directly from it, and
deletes the empty file before it releases the lock. Requests for another namespace or region stay in
their file, for an exporter that sends to it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from neuron_exporter.log import get_logger
from neuron_exporter.sinks.delivery.spool.error import Reason, StoreError, translated
from neuron_exporter.sinks.delivery.spool.paths import SpoolOptions, orphans
from neuron_exporter.sinks.delivery.spool.store import Store
from neuron_exporter.text import shown_url

SCAN_INTERVAL = 600.0
"""Seconds between scans for orphans. An orphan that failed is not retried sooner."""

MAX_OPENED = 20
"""Orphans that are opened at once: another program may have planted any number of files."""

_MAX_BYTES = 256 * 2**20  # at least the default of `cloudwatch.spool.max_bytes`
_UNLIMITED = 2**39  # an orphan does not grow

_log = get_logger()


class Orphans:
    """Adopter of one orphan at a time, open as `store`. Unusable files are left alone.

    `ambiguous` is the number of requests that were in flight when their file was adopted.
    """

    def __init__(self, options: SpoolOptions) -> None:
        self.store: Store | None = None
        self.ambiguous = 0
        self._options = options
        self._next_scan = options.monotonic()
        self._skipped: set[Path] = set()
        self._kept: dict[Path, int] = {}
        self._retry_at: dict[Path, float] = {}

    @property
    def others(self) -> int:
        """Number of requests for other destinations in known orphans."""
        return sum(self._kept.copy().values()) + (self.store.others if self.store else 0)

    def adopt(self, in_use: set[str], undeleted: dict[str, set[int]]) -> None:
        """Delete the adopted file if it is empty, and adopt the next one, if any.

        `in_use` are the tokens of the own file and of files with requests in flight: the orphan may
        be one of them, or a copy. `undeleted` has the ids of requests that were sent but could not
        be deleted, by the token of their file.
        """
        now = self._options.monotonic()
        if self.store is not None:
            token = self.store.token
            if self.store.pending or token in in_use or undeleted.get(token):
                return
            self._finish(self.store)
        elif now < self._next_scan:
            return
        self._retry_at = {path: at for path, at in self._retry_at.items() if os.path.exists(path)}
        self._skipped = {path for path in self._skipped if os.path.exists(path)}
        self._kept = {path: n for path, n in self._kept.items() if path in self._skipped}
        found = orphans(self._options.template, self._options.path, self._options.clock())
        due = [
            path
            for path in found
            if path not in self._skipped and self._retry_at.get(path, now) <= now
        ]
        for path in due[:MAX_OPENED]:
            if self._open(path, in_use, undeleted):
                return
        self._next_scan = now + SCAN_INTERVAL

    def release(self, error: StoreError) -> None:
        """Close the adopted file, which failed."""
        if self.store is not None:
            self.store.close()
            self._skip(self.store.path, error)
            self.store = None

    def _open(self, path: Path, in_use: set[str], undeleted: dict[str, set[int]]) -> bool:
        try:
            _verify_size(path, max(_MAX_BYTES, self._options.max_bytes))
            store = Store(path, _UNLIMITED, self._options.destination, lambda _: None, create=False)
        except StoreError as error:
            if error.reason not in (Reason.LOCKED, Reason.GONE):
                self._skip(path, error)
            return False
        if store.token in in_use:  # its requests in flight would become pending and be sent again
            store.close()
            return False
        self.store = store
        try:
            ambiguous = store.release((), undeleted.get(store.token, ()))
        except StoreError as error:
            self.release(error)
            return False
        undeleted.pop(store.token, None)
        self.ambiguous += ambiguous
        if store.pending:
            if path not in self._retry_at:
                _log.info(
                    "spool_orphan_adopted",
                    sink=self._options.sink,
                    path=str(path),
                    requests=store.pending,
                    ambiguous=ambiguous,
                )
            return True
        self._finish(store)
        return False

    def _finish(self, store: Store) -> None:
        """Delete a file without requests; leave one with requests for other destinations."""
        if not store.others:
            self._delete(store)
            return
        self.store = None
        store.close()
        self._skipped.add(store.path)
        self._kept[store.path] = store.others
        namespace, region = self._options.destination
        _log.warning(
            "spool_orphan_kept",
            sink=self._options.sink,
            path=str(store.path),
            requests=store.others,
            reason=f"not for {shown_url(namespace)} in region {region}",
        )

    def _delete(self, store: Store) -> None:
        self.store = None
        try:
            store.destroy()
        except StoreError as error:
            store.close()
            self._skip(store.path, error)
            return
        self._retry_at.pop(store.path, None)
        _log.info("spool_drained", sink=self._options.sink, path=str(store.path))
        if store.path.parent != self._options.path.parent:
            with suppress(OSError):  # the directory is not empty
                store.path.parent.rmdir()

    def _skip(self, path: Path, error: StoreError) -> None:
        should_log = error.unusable or path not in self._retry_at
        if error.unusable:
            self._skipped.add(path)
        else:
            self._retry_at[path] = self._options.monotonic() + SCAN_INTERVAL
        if should_log:
            sink, reason = self._options.sink, error.reason.value
            _log.warning("spool_orphan_skipped", sink=sink, reason=reason, message=str(error))


def _verify_size(path: Path, max_bytes: int) -> None:
    with translated(path):
        size = path.lstat().st_size
        with suppress(FileNotFoundError):
            size += Path(f"{path}-wal").lstat().st_size
    if size > max_bytes:
        raise StoreError(Reason.FOREIGN, f"{path}: has {size} bytes; the limit is {max_bytes}")
