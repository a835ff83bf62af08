"""Requests of PutMetricData, and their form in the spool."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta

from neuron_exporter.sinks.delivery.spool.rows import Codec, Row, compress, decompress

_MAX_INTEGER = 2**63


@dataclass(frozen=True, slots=True)
class PutMetricDataRequest:
    """A request with at least one datum. `stamp` is that of its oldest datum, in Unix seconds."""

    namespace: str
    region: str
    stamp: float
    items: list[dict[str, Any]]


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


def pack(request: PutMetricDataRequest) -> Row:
    """Pack a request."""
    try:
        packed = msgspec.msgpack.encode(request.items)
    except OverflowError:  # msgpack has no larger integers; the receiver accepts doubles
        packed = msgspec.msgpack.encode(_large_integers_as_doubles(request.items))
    return Row(0, request.stamp, request.namespace, request.region, compress(packed))


def unpack(row: Row) -> PutMetricDataRequest:
    """Return the request that was packed.

    Raises:
        ValueError: the row is damaged.
    """
    try:
        items: list[Any] = _items.decode(decompress(row.payload))
    except Exception as error:  # whatever a planted payload causes
        raise ValueError(f"a spooled request is damaged: {error}") from error
    return PutMetricDataRequest(row.namespace, row.region, row.stamp, items)


def _large_integers_as_doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _large_integers_as_doubles(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_large_integers_as_doubles(each) for each in value]
    if isinstance(value, int) and abs(value) >= _MAX_INTEGER:
        return float(value)
    return value


CODEC = Codec(pack, unpack)
