"""The requests in a spool file, by the state that they are in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from neuron_exporter.sinks.delivery.spool.database import PAGE, Database
from neuron_exporter.sinks.delivery.spool.error import Reason, StoreError
from neuron_exporter.sinks.delivery.spool.rows import Row

_SPARE_PAGES = 6  # for what a change of state may need: pages of indexes that are split

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
_ROW = "failures, stamp, namespace, region, payload"


class Turn(NamedTuple):
    """A pending request; the smallest is next."""

    failures: int
    stamp: float
    id: int


class Store(Database):
    """An open spool file; for one thread, but for `pending` and `bytes`, which are plain numbers.

    `on_drop` is told how many of the oldest were dropped to make room.
    """

    def __init__(
        self, path: Path, max_bytes: int, on_drop: Callable[[int], None], *, create: bool = True
    ) -> None:
        """Open the file, and lock it. An empty or, if `create`, a missing one is begun."""
        self.pending = 0
        self._on_drop = on_drop
        super().__init__(path, max_bytes, _TABLES, create=create)
        try:
            with self._asked():
                self._count()
                if self._pragma("page_count") > self._pages:
                    self._shrink()
        except BaseException:
            self.close()
            raise

    def release(self, but: Iterable[int], obsolete: Iterable[int]) -> int:
        """What is found in flight becomes pending, `but` these; gives how many. The `obsolete`
        are deleted."""
        held = list(but)
        marks = ",".join("?" * len(held))
        with self._change():
            self._connection.executemany(
                "DELETE FROM requests WHERE id = ?", ((each,) for each in obsolete)
            )
            cursor = self._connection.execute(
                f"UPDATE requests SET in_flight = 0 WHERE in_flight = 1 AND id NOT IN ({marks})",  # noqa: S608 (marks only)
                held,
            )
            self._count()
        return cursor.rowcount

    def insert(self, rows: Sequence[Row], *, in_flight: bool) -> list[int]:
        """Keep rows; gives their numbers. The oldest pending ones are dropped to make room."""
        dropped, ids = 0, []
        with self._change():
            for row in rows:
                pages = 2 + len(row.payload) // (PAGE - 300)
                dropped += self._make_room(_SPARE_PAGES + pages)
                cursor = self._connection.execute(
                    f"INSERT INTO requests (in_flight, {_ROW}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
                    (in_flight, *row),
                )
                ids.append(cursor.lastrowid or 0)
        self.pending += 0 if in_flight else len(ids)
        if dropped:
            self.pending -= dropped
            self._on_drop(dropped)
        return ids

    def first(self, earliest: float, latest: float) -> Turn | None:
        """The pending request whose turn is next, of those stamped in these bounds."""
        with self._asked():
            found = self._connection.execute(
                "SELECT failures, stamp, id FROM requests WHERE in_flight = 0"
                " AND stamp BETWEEN ? AND ? ORDER BY failures, stamp, id LIMIT 1",
                (earliest, latest),
            ).fetchone()
        return Turn(*found) if found else None

    def take(self, number: int) -> Row:
        """Mark a request as in flight, and give it."""
        with self._change():
            row = self._connection.execute(
                f"SELECT {_ROW} FROM requests WHERE id = ?",  # noqa: S608
                (number,),
            ).fetchone()
            if row is None:
                raise StoreError(Reason.CORRUPT, f"{self.path}: a request is in an index only")
            self._connection.execute("UPDATE requests SET in_flight = 1 WHERE id = ?", (number,))
        self.pending -= 1
        return Row(*row)

    def give_back(self, number: int, failures: int) -> None:
        """A request that was in flight is pending."""
        with self._change():
            cursor = self._connection.execute(
                "UPDATE requests SET in_flight = 0, failures = ? WHERE id = ?", (failures, number)
            )
        self.pending += cursor.rowcount

    def delete(self, number: int) -> None:
        """Forget a request that was in flight."""
        with self._change():
            self._connection.execute("DELETE FROM requests WHERE id = ?", (number,))

    def drop_outside(self, earliest: float, latest: float) -> tuple[int, int]:
        """Drop pending requests stamped before and after these bounds, some at a time; gives how
        many of each."""
        dropped = []
        for condition, bound in (("stamp < ?", earliest), ("stamp > ?", latest)):
            with self._asked():
                ids = self._connection.execute(
                    f"SELECT id FROM requests WHERE in_flight = 0 AND {condition}"  # noqa: S608
                    " ORDER BY stamp LIMIT ?",
                    (bound, self.largest // PAGE),
                ).fetchall()
            if ids:
                with self._change():
                    self._connection.executemany("DELETE FROM requests WHERE id = ?", ids)
                self.pending -= len(ids)
            dropped.append(len(ids))
        return dropped[0], dropped[1]

    def oldest(self) -> float | None:
        """The stamp of the oldest pending request."""
        with self._asked():
            stamp = self._one("SELECT min(stamp) FROM requests WHERE in_flight = 0")
        return None if stamp is None else float(stamp)

    def salvage(self, but: Iterable[int]) -> Iterator[Row]:
        """Every row that can still be read, `but` these: from both ends to where it is broken."""
        seen = set(but)
        for order in ("ASC", "DESC"):
            with suppress(sqlite3.Error, ValueError):
                for number, *row in self._connection.execute(
                    f"SELECT id, {_ROW} FROM requests ORDER BY id {order}"  # noqa: S608
                ):
                    if number not in seen:
                        seen.add(number)
                        yield Row(*row)

    def _make_room(self, pages: int) -> int:
        """Delete the oldest pending requests until so many pages are free; gives how many."""
        dropped = 0
        while self._pragma("page_count") - self._pragma("freelist_count") + pages > self._pages:
            cursor = self._connection.execute(
                "DELETE FROM requests WHERE id = (SELECT id FROM requests WHERE in_flight = 0"
                " ORDER BY stamp, id LIMIT 1)"
            )
            if not cursor.rowcount:
                break
            dropped += 1
        return dropped

    def _shrink(self) -> None:
        """Keep a bound that is lower than it was."""
        with self._transaction():
            dropped = self._make_room(0)
        self._count()
        self._on_drop(dropped)
        while self._pragma("freelist_count"):
            self._vacuum(0)
        self._pragma(f"max_page_count={self._pages}")

    def _count(self) -> None:
        self.pending = int(self._one("SELECT count(*) FROM requests WHERE in_flight = 0"))
