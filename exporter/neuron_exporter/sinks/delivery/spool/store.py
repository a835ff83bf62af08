"""Table of requests in a spool file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from neuron_exporter.sinks.delivery.spool.database import PAGE_SIZE, Database, Reason, StoreError
from neuron_exporter.sinks.delivery.spool.rows import Row

_SPARE_PAGES = 6  # a change of state may need them when it splits index pages

_TABLES = """
CREATE TABLE file (token TEXT NOT NULL);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    in_flight INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    stamp REAL NOT NULL,
    namespace TEXT NOT NULL,
    region TEXT NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX by_turn ON requests (in_flight, failures, stamp);
CREATE INDEX by_age ON requests (in_flight, stamp);
"""
_ROW_COLUMNS = "failures, stamp, namespace, region, payload"
_DELETE = "DELETE FROM requests WHERE id = ?"


QueueOrder = tuple[int, float, int]
"""Failures, stamp and id of a pending request. The smallest is the next to send."""


class Store(Database):
    """An open spool file, for one thread. Any thread may read `pending`, the number of pending
    requests, and `bytes`. `on_drop` is called with the number of requests dropped to make room."""

    def __init__(
        self, path: Path, max_bytes: int, on_drop: Callable[[int], None], *, create: bool = True
    ) -> None:
        """Open and lock the file. Initialize it if it is empty or, with `create`, missing."""
        self.pending = 0
        self._on_drop = on_drop
        super().__init__(path, max_bytes, _TABLES, create=create)
        try:
            with self._access():
                self._count_pending()
                if self._pragma("page_count") > self._max_pages:
                    self._shrink()
        except BaseException:
            self.close()
            raise

    def release(self, keep: Iterable[int], obsolete: Iterable[int]) -> int:
        """Make requests in flight pending, except those with ids in `keep`; return how many.
        Delete the requests in `obsolete`."""
        kept = list(keep)
        marks = ",".join("?" * len(kept))
        with self._change():
            self._connection.executemany(_DELETE, ((each,) for each in obsolete))
            cursor = self._connection.execute(
                f"UPDATE requests SET in_flight = 0 WHERE in_flight = 1 AND id NOT IN ({marks})",  # noqa: S608 (marks only)
                kept,
            )
            self._count_pending()
        return cursor.rowcount

    def insert(self, rows: Sequence[Row], *, in_flight: bool) -> list[int]:
        """Insert rows, dropping the oldest pending requests to make room; return their ids."""
        dropped, ids = 0, []
        with self._change():
            for row in rows:
                pages = 2 + len(row.payload) // (PAGE_SIZE - 300)
                dropped += self._make_room(_SPARE_PAGES + pages)
                cursor = self._connection.execute(
                    f"INSERT INTO requests (in_flight, {_ROW_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
                    (in_flight, *row),
                )
                ids.append(cursor.lastrowid or 0)
        self.pending += (0 if in_flight else len(ids)) - dropped
        self._on_drop(dropped)
        return ids

    def first(self, earliest: float, latest: float) -> QueueOrder | None:
        """Return the next pending request to send with a stamp in these bounds."""
        with self._access():
            found = self._connection.execute(
                "SELECT failures, stamp, id FROM requests WHERE in_flight = 0"
                " AND stamp BETWEEN ? AND ? ORDER BY failures, stamp, id LIMIT 1",
                (earliest, latest),
            ).fetchone()
        return found  # type: ignore[no-any-return]

    def take(self, row_id: int) -> Row:
        """Mark a pending request as in flight and return it."""
        with self._change():
            row = self._connection.execute(
                f"SELECT {_ROW_COLUMNS} FROM requests WHERE id = ?",  # noqa: S608
                (row_id,),
            ).fetchone()
            if row is None:
                raise StoreError(
                    Reason.CORRUPT, f"{self.path}: a request is in an index but not in the table"
                )
            self._connection.execute("UPDATE requests SET in_flight = 1 WHERE id = ?", (row_id,))
        self.pending -= 1
        return Row(*row)

    def requeue(self, row_id: int, failures: int) -> int:
        """Make a request in flight pending; return 0 if there is no such request."""
        with self._change():
            cursor = self._connection.execute(
                "UPDATE requests SET in_flight = 0, failures = ? WHERE id = ?", (failures, row_id)
            )
        self.pending += cursor.rowcount
        return cursor.rowcount

    def delete(self, row_id: int) -> int:
        """Delete a request in flight; return 0 if there is no such request."""
        with self._change():
            return self._connection.execute(_DELETE, (row_id,)).rowcount

    def drop_outside(self, earliest: float, latest: float) -> tuple[int, int]:
        """Drop pending requests with stamps before and after these bounds; return how many of each.
        One call drops no more than fit into one transaction."""
        dropped = []
        for condition, bound in (("stamp < ?", earliest), ("stamp > ?", latest)):
            with self._access():
                ids = self._connection.execute(
                    f"SELECT id FROM requests WHERE in_flight = 0 AND {condition}"  # noqa: S608
                    " ORDER BY stamp LIMIT ?",
                    (bound, self.max_batch_bytes // PAGE_SIZE),
                ).fetchall()
            if ids:
                with self._change():
                    self._connection.executemany(_DELETE, ids)
                self.pending -= len(ids)
            dropped.append(len(ids))
        return dropped[0], dropped[1]

    def oldest(self) -> float | None:
        """Return the stamp of the oldest pending request."""
        with self._access():
            stamp = self._one("SELECT min(stamp) FROM requests WHERE in_flight = 0")
        return None if stamp is None else float(stamp)

    def salvage(self, skip: Iterable[int]) -> Iterator[Row]:
        """Yield the readable rows with other ids than `skip`, from both ends up to the damage."""
        seen = set(skip)
        for order in ("ASC", "DESC"):
            with suppress(sqlite3.Error, ValueError):
                for row_id, *row in self._connection.execute(
                    f"SELECT id, {_ROW_COLUMNS} FROM requests ORDER BY id {order}"  # noqa: S608
                ):
                    if row_id not in seen:
                        seen.add(row_id)
                        yield Row(*row)

    def _make_room(self, pages: int) -> int:
        """Delete the oldest pending requests until `pages` pages are free; return how many."""
        dropped = 0
        while self._pragma("page_count") - self._pragma("freelist_count") + pages > self._max_pages:
            cursor = self._connection.execute(
                "DELETE FROM requests WHERE id = (SELECT id FROM requests WHERE in_flight = 0"
                " ORDER BY stamp, id LIMIT 1)"
            )
            if not cursor.rowcount:
                break
            dropped += 1
        return dropped

    def _shrink(self) -> None:
        """Shrink a file that is larger than a lowered size limit."""
        with self._transaction():
            dropped = self._make_room(0)
        self._count_pending()
        self._on_drop(dropped)
        while self._pragma("freelist_count"):
            self._vacuum(0)
        self._pragma(f"max_page_count={self._max_pages}")

    def _count_pending(self) -> None:
        self.pending = int(self._one("SELECT count(*) FROM requests WHERE in_flight = 0"))
