"""Packed requests, and a queue of them in memory."""

from __future__ import annotations

import zlib
from bisect import insort
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec
from msgspec import Meta

from neuron_exporter.sinks.delivery.transport import Request

_ROW_OVERHEAD = 400  # bytes of the Python objects around a payload; SQLite needs less
_MAX_INTEGER = 2**63
_MAX_UNPACKED = 4 * 2**20  # bytes; a request has 1 MB as JSON, where numbers may be shorter


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


_Text = Annotated[str, Meta(max_length=1024)]
_Numbers = Annotated[list[int | float], Meta(max_length=150)]


class _Dimension(TypedDict):
    Name: _Text
    Value: _Text


class _Item(TypedDict, total=False):
    """A datum of PutMetricData, within its limits. Other fields are left out."""

    MetricName: _Text
    Dimensions: Annotated[list[_Dimension], Meta(max_length=30)]
    Timestamp: datetime
    Unit: _Text
    Value: int | float
    Values: _Numbers
    Counts: _Numbers


_items = msgspec.msgpack.Decoder(Annotated[list[_Item], Meta(min_length=1, max_length=1000)])


def pack(request: Request) -> Row:
    """Pack a request. The checksum of zlib's format lets `unpack` detect damage."""
    try:
        packed = msgspec.msgpack.encode(request.items)
    except OverflowError:  # msgpack has no larger integers; the receiver accepts doubles
        packed = msgspec.msgpack.encode(_large_integers_as_doubles(request.items))
    payload = zlib.compress(packed, 1)
    return Row(0, request.stamp, request.namespace, request.region, payload)


def unpack(row: Row) -> Request:
    """Return the request that was packed.

    Raises:
        ValueError: the row is damaged.
    """
    try:
        decompressor = zlib.decompressobj()
        packed = decompressor.decompress(row.payload, _MAX_UNPACKED)
        if not decompressor.eof:
            raise ValueError(f"is truncated, or longer than {_MAX_UNPACKED} bytes")
        items: list[Any] = _items.decode(packed)
    except Exception as error:  # whatever a planted payload causes
        raise ValueError(f"a spooled request is damaged: {error}") from error
    return Request(row.namespace, row.region, row.stamp, items)


def _large_integers_as_doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _large_integers_as_doubles(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_large_integers_as_doubles(each) for each in value]
    if isinstance(value, int) and abs(value) >= _MAX_INTEGER:
        return float(value)
    return value


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
