"""Packed requests, and a queue of them in memory."""

from __future__ import annotations

import zlib
from bisect import insort
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

_ROW_OVERHEAD = 400  # bytes of the Python objects around a payload; SQLite needs less
_MAX_UNPACKED = 4 * 2**20  # bytes; a request has 1 MB as JSON, where numbers may be shorter

R = TypeVar("R")


class Row(NamedTuple):
    """A packed request. `failures` counts failures while other requests were delivered. Rows sort
    in the order in which they are sent."""

    failures: int
    stamp: float
    namespace: str
    region: str
    payload: bytes

    @property
    def size(self) -> int:
        """Approximate size in bytes."""
        return len(self.payload) + len(self.namespace) + len(self.region) + _ROW_OVERHEAD


class RowRef(NamedTuple):
    """Reference to a row on disk. `token` identifies the file: another file may take its path."""

    token: str
    id: int


class Codec(NamedTuple, Generic[R]):
    """Conversion between the requests of a sink and the rows of its spool.

    `unpack` raises ValueError for a damaged row.
    """

    pack: Callable[[R], Row]
    unpack: Callable[[Row], R]


def compress(content: bytes) -> bytes:
    """Return a row's payload. The checksum of zlib's format lets `decompress` detect damage."""
    return zlib.compress(content, 1)


def decompress(payload: bytes) -> bytes:
    """Return the content of a row's payload.

    Raises:
        ValueError, zlib.error: it is damaged, or longer than a request can be.
    """
    decompressor = zlib.decompressobj()
    content = decompressor.decompress(payload, _MAX_UNPACKED)
    if not decompressor.eof:
        raise ValueError(f"is truncated, or longer than {_MAX_UNPACKED} bytes")
    return content


class MemoryQueue:
    """Pending rows in memory, at most `max_bytes`. The oldest rows are dropped for newer ones."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def add(self, row: Row) -> int:
        """Add a row; return how many rows were dropped, possibly this one."""
        insort(self._rows, row)
        self.bytes += row.size
        dropped = 0
        while self.bytes > self.max_bytes:
            self.remove(min(self._rows, key=lambda each: each.stamp))
            dropped += 1
        return dropped

    def first(self, earliest: float, latest: float) -> Row | None:
        """Return the next row to send with a stamp in these bounds (Unix seconds)."""
        return next((row for row in self._rows if earliest <= row.stamp <= latest), None)

    def remove(self, row: Row) -> None:
        """Remove a row."""
        self._rows.remove(row)
        self.bytes -= row.size

    def drop_outside(self, earliest: float, latest: float) -> tuple[int, int]:
        """Drop rows with stamps before and after these bounds; return how many of each."""
        early = [row for row in self._rows if row.stamp < earliest]
        late = [row for row in self._rows if row.stamp > latest]
        for row in early + late:
            self.remove(row)
        return len(early), len(late)
