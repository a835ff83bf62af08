"""Requests as the spool keeps them: packed rows, and those of them that wait in memory."""

from __future__ import annotations

import zlib
from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from neuron_exporter.sinks.cloudwatch.datums import Datum

_ROW_COSTS = 400  # bytes of Python around a row's payload, and of SQLite's less than that
_LARGEST_INTEGER = 2**63


@dataclass(frozen=True, slots=True)
class Entry:
    """A request as it was or will be sent, of one datum at least, and where to."""

    namespace: str
    region: str
    datums: list[Datum]

    @property
    def stamp(self) -> float:
        """The stamp of its oldest datum, in Unix seconds."""
        return min(float(datum["Timestamp"].timestamp()) for datum in self.datums)


class Row(NamedTuple):
    """A packed request. `failures` tells how often it failed although others were delivered."""

    failures: int
    stamp: float
    namespace: str
    region: str
    payload: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.payload) + len(self.namespace) + len(self.region) + _ROW_COSTS


class Place(NamedTuple):
    """Where a row is on disk: its file by token, since another file may come to a path."""

    token: str
    number: int


def pack(entry: Entry) -> Row:
    """The entry as a row. The checksum within it tells a damaged one when it is unpacked."""
    try:
        packed = msgspec.msgpack.encode(entry.datums)
    except OverflowError:  # CloudWatch takes any number as a double
        packed = msgspec.msgpack.encode(_as_doubles(entry.datums))
    return Row(0, entry.stamp, entry.namespace, entry.region, zlib.compress(packed, 1))


def unpack(row: Row) -> Entry:
    """The entry that equals the one packed; ValueError if the row was damaged since."""
    try:
        datums = msgspec.msgpack.decode(zlib.decompress(row.payload), type=list[dict[str, Any]])
    except (zlib.error, msgspec.MsgspecError, TypeError) as error:
        raise ValueError(f"a request of the spool is damaged: {error}") from error
    return Entry(row.namespace, row.region, datums)


def batches(rows: Iterable[Row], largest: int) -> Iterator[list[Row]]:
    """The rows in as few lists of at most so many bytes as their order allows, without those that
    are larger."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        if row.size > largest:
            continue
        if size + row.size > largest:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row.size
    if batch:
        yield batch


def _as_doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_doubles(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_doubles(each) for each in value]
    if isinstance(value, int) and abs(value) >= _LARGEST_INTEGER:
        return float(value)
    return value


class Memory:
    """Pending rows in memory, at most `max_bytes` of them; the oldest are dropped for newer."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def add(self, row: Row) -> int:
        """Keep a row; gives how many were dropped for it, itself perhaps."""
        insort(self._rows, row)
        self.bytes += row.size
        dropped = 0
        while self.bytes > self.max_bytes:
            self.remove(min(self._rows, key=lambda each: each.stamp))
            dropped += 1
        return dropped

    def first(self, earliest: float, latest: float) -> Row | None:
        """The row whose turn is next, of those stamped in these bounds (Unix seconds)."""
        return next((row for row in self._rows if earliest <= row.stamp <= latest), None)

    def remove(self, row: Row) -> None:
        """Let go of a row."""
        self._rows.remove(row)
        self.bytes -= row.size

    def drop_outside(self, earliest: float, latest: float) -> tuple[int, int]:
        """Drop rows stamped before and after these bounds; gives how many of each."""
        early = [row for row in self._rows if row.stamp < earliest]
        late = [row for row in self._rows if row.stamp > latest]
        for row in early + late:
            self.remove(row)
        return len(early), len(late)
