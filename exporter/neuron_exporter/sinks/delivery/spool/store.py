"""Table of requests in a spool file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from neuron_exporter.sinks.delivery.spool.database import MAX_ROW_BYTES, PAGE_SIZE, Database
from neuron_exporter.sinks.delivery.spool.error import Reason, StoreError
from neuron_exporter.sinks.delivery.spool.paths import Destination
from neuron_exporter.sinks.delivery.spool.rows import Row

MAX_IN_FLIGHT = 100
"""Requests in flight in a file that this program has written; usually one."""

MAX_OTHERS = 300_000
"""Requests for other destinations in a file that is used: their ids are in memory."""

MAX_STAMP = 253402300799
"""Unix seconds of the last second of the year 9999; later ones are no dates in Python."""

_SPARE_PAGES = 6  # a change of state may need them when it splits index pages

TABLES = """
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
_IS_OWN = (
    "typeof(in_flight) = 'integer' AND typeof(failures) = 'integer' AND typeof(stamp) = 'real'"
    " AND namespace = ? AND region = ? AND typeof(payload) = 'blob' AND length(payload) <= ?"
    f" AND failures >= 0 AND stamp BETWEEN 0 AND {MAX_STAMP}"
)
_PENDING = "in_flight = 0 AND id NOT IN (SELECT id FROM temp.others)"

QueueOrder = tuple[int, float, int]
"""Failures, stamp and id of a pending request. The smallest is the next to send."""


class Store(Database):
    """An open spool file, for one thread.

    Requests for another destination, or of another form than this program writes, stay in the file:
    this configuration has not made them. Their ids are in the temporary table `others`.

    If the table `is_damaged`, requests should be salvaged, not added.

    Any thread may read `bytes`, `pending`, the number of pending requests for the destination, and
    `others`, the number of the other requests. `on_drop` is called with the number of requests
    dropped to make room.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        destination: Destination,
        on_drop: Callable[[int], None],
        *,
        create: bool = True,
    ) -> None:
        """Open and lock the file. Initialize it if it is empty or, with `create`, missing."""
        self.pending = self.others = 0
        self.is_damaged = False
        self._own = *destination, MAX_ROW_BYTES
        self._on_drop = on_drop
        super().__init__(path, max_bytes, TABLES, create=create)
        try:
            with self._access():
                self._find_others()
                self._count()
                if self._pragma("page_count") > self._max_pages:
                    self._shrink()
        except BaseException:
            self.close()
            raise

    def _find_others(self) -> None:
        self._connection.execute("CREATE TEMP TABLE others (id INTEGER PRIMARY KEY)")
        others = 0
        try:
            others = self._connection.execute(
                "INSERT INTO temp.others SELECT id FROM requests"  # noqa: S608 # constants
                f" WHERE NOT coalesce({_IS_OWN}, 0) LIMIT ?",
                (*self._own, MAX_OTHERS + 1),
            ).rowcount
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
            self.is_damaged = True
        in_flight = self._connection.execute(
            "SELECT 1 FROM requests WHERE in_flight = 1 LIMIT ?", (MAX_IN_FLIGHT + 1,)
        ).fetchall()
        used_up = self._one(
            "SELECT 1 FROM sqlite_sequence WHERE coalesce(seq > 1 << 62, 1)"
            " UNION ALL SELECT 1 FROM requests WHERE id > 1 << 62"
        )
        if others > MAX_OTHERS or len(in_flight) > MAX_IN_FLIGHT or used_up:
            raise StoreError(Reason.FOREIGN, f"{self.path}: not written by this program")

    def release(self, keep: Iterable[int], obsolete: Iterable[int]) -> int:
        """Make requests in flight pending, except those with ids in `keep`; return how many.
        Delete the requests in `obsolete`."""
        kept = list(keep)
        marks = ",".join("?" * len(kept))
        with self._change():
            self._connection.executemany(_DELETE, ((each,) for each in obsolete))
            cursor = self._connection.execute(
                f"UPDATE requests SET in_flight = 0 WHERE in_flight = 1 AND id NOT IN ({marks})",  # noqa: S608 # marks only
                kept,
            )
            self._count()
        return cursor.rowcount

    def insert(self, rows: Sequence[Row], *, in_flight: bool) -> list[int]:
        """Insert rows, dropping the oldest pending requests to make room; return their ids."""
        dropped: list[int] = []
        ids = []
        with self._change():
            for row in rows:
                pages = 2 + len(row.payload) // (PAGE_SIZE - 300)
                dropped += self._make_room(_SPARE_PAGES + pages)
                cursor = self._connection.execute(
                    f"INSERT INTO requests (in_flight, {_ROW_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 # constants
                    (in_flight, *row),
                )
                ids.append(cursor.lastrowid or 0)
        self.pending += 0 if in_flight else len(ids)
        self._forget(dropped)
        self._on_drop(len(dropped))
        return ids

    def first(self, earliest: float, latest: float) -> QueueOrder | None:
        """Return the next pending request to send with a stamp in these bounds."""
        with self._access():
            found = self._connection.execute(
                f"SELECT failures, stamp, id FROM requests WHERE {_PENDING}"  # noqa: S608 # constants
                " AND stamp BETWEEN ? AND ? ORDER BY failures, stamp, id LIMIT 1",
                (earliest, latest),
            ).fetchone()
        if found is not None:
            self._require_number(found[0])
        return found  # type: ignore[no-any-return]

    def take(self, row_id: int) -> Row:
        """Mark a pending request as in flight and return it."""
        with self._change():
            row = self._connection.execute(
                f"SELECT {_ROW_COLUMNS} FROM requests WHERE id = ? AND {_IS_OWN}",  # noqa: S608 # constants
                (row_id, *self._own),
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
                    f"SELECT id FROM requests WHERE in_flight = 0 AND {condition}"  # noqa: S608 # constants
                    " ORDER BY stamp LIMIT ?",
                    (bound, self.max_batch_bytes // PAGE_SIZE),
                ).fetchall()
            if ids:
                with self._change():
                    self._connection.executemany(_DELETE, ids)
                self._forget([row_id for (row_id,) in ids])
            dropped.append(len(ids))
        return dropped[0], dropped[1]

    def oldest(self) -> float | None:
        """Return the stamp of the oldest pending request."""
        with self._access():
            stamp = self._one(f"SELECT stamp FROM requests WHERE {_PENDING} ORDER BY stamp LIMIT 1")  # noqa: S608 # constants
        if stamp is not None:
            self._require_number(stamp)
        return stamp  # type: ignore[no-any-return]

    def salvage(self, skip: Iterable[int]) -> Iterator[Row]:
        """Yield the readable rows with other ids than `skip`, from both ends up to the damage."""
        seen = set(skip)
        for order, sign in (("ASC", 1), ("DESC", -1)):
            with suppress(sqlite3.Error, ValueError):
                self._limit_steps()
                before = None
                for row_id, *row in self._connection.execute(
                    f"SELECT id, {_ROW_COLUMNS} FROM requests WHERE {_IS_OWN} ORDER BY id {order}",  # noqa: S608 # constants
                    self._own,
                ):
                    if before is not None and sign * (row_id - before) <= 0:
                        break  # the tree of pages has a loop
                    before = row_id
                    if row_id not in seen:
                        seen.add(row_id)
                        yield Row(*row)

    def _make_room(self, pages: int) -> list[int]:
        """Delete the oldest pending requests until `pages` pages are free; return their ids."""
        dropped: list[int] = []
        while self._pragma("page_count") - self._pragma("freelist_count") + pages > self._max_pages:
            row_id = self._one(
                "SELECT id FROM requests WHERE in_flight = 0 ORDER BY stamp, id LIMIT 1"
            )
            if row_id is None or not self._connection.execute(_DELETE, (row_id,)).rowcount:
                break
            dropped.append(row_id)
        return dropped

    def _shrink(self) -> None:
        """Shrink a file that is larger than a lowered size limit."""
        with self._transaction():
            dropped = self._make_room(0)
        self._forget(dropped)
        self._on_drop(len(dropped))
        while unused := self._pragma("freelist_count"):
            self._vacuum(0)
            if self._pragma("freelist_count") >= unused:
                break
        self._pragma(f"max_page_count={self._max_pages}")

    def _require_number(self, value: object) -> None:
        """Check a value from an index: a crafted index differs from its table."""
        if not isinstance(value, int | float):
            raise StoreError(Reason.CORRUPT, f"{self.path}: an index differs from its table")

    def _forget(self, deleted: list[int]) -> None:
        """Adapt the counts to deleted pending requests."""
        others = 0
        if self.others:
            others = self._connection.executemany(
                "DELETE FROM temp.others WHERE id = ?", ((each,) for each in deleted)
            ).rowcount
        self.others -= others
        self.pending -= len(deleted) - others

    def _count(self) -> None:
        self.pending = int(self._one(f"SELECT count(*) FROM requests WHERE {_PENDING}"))  # noqa: S608 # constants
        self.others = int(self._one("SELECT count(*) FROM temp.others"))
