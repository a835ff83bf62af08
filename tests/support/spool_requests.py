"""Requests for a spool, and units of its limits."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from neuron_exporter.sinks.delivery.transport import Request

START = 1_700_000_040.0
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
MIB = 2**20


def make_request(
    name: str = "one", stamp: float = START, noise: int = 0, region: str = "r-1"
) -> Request:
    """Make a request of one datum; `noise` is its number of values that cannot be compressed."""
    random = Random(f"{name} {stamp}")
    return Request(
        "NeuronExporter",
        region,
        stamp,
        [
            {
                "MetricName": name,
                "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
                "Timestamp": datetime.fromtimestamp(stamp, UTC),
                "Unit": "Percent",
                "Values": [random.random() for _ in range(noise or 1)],
            }
        ],
    )


def name_of(request: Request) -> str:
    """Return the name that the request was made with."""
    return str(request.items[0]["MetricName"])
