"""Requests of OTLP, and their form in the spool."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_exporter.sinks.delivery.spool.rows import Codec, Row, compress, decompress

_METRICS = b"\x0a"
"""First byte of a request with metrics. The checksum of the payload detects damage."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """A request with at least one data point.

    Attributes:
        namespace: URL of the endpoint; empty for CloudWatch's in the region.
        stamp: Unix time of the end of the interval of its points, in seconds.
        body: ExportMetricsServiceRequest as protobuf, not compressed.
    """

    namespace: str
    region: str
    stamp: float
    body: bytes


def pack(request: ExportRequest) -> Row:
    """Pack a request."""
    return Row(0, request.stamp, request.namespace, request.region, compress(request.body))


def unpack(row: Row) -> ExportRequest:
    """Return the request that was packed.

    Raises:
        ValueError: the row is damaged, or is not a request of OTLP.
    """
    try:
        body = decompress(row.payload)
        if not body.startswith(_METRICS):
            raise ValueError("it has no metrics")
    except Exception as error:  # whatever a planted payload causes
        raise ValueError(f"a spooled request is damaged: {error}") from error
    return ExportRequest(row.namespace, row.region, row.stamp, body)


CODEC = Codec(pack, unpack)
