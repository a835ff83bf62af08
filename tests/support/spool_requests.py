"""Requests for a spool, and the units of its bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from neuron_exporter.sinks.delivery.spool.rows import Entry

START = 1_700_000_040.0
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
MIB = 2**20


def entry(name: str = "one", stamp: float = START, noise: int = 0, region: str = "r-1") -> Entry:
    """A request of one datum; `noise` is how many numbers it holds that cannot be packed well."""
    random = Random(f"{name} {stamp}")
    return Entry(
        "NeuronExporter",
        region,
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


def name_of(kept: Entry) -> str:
    """The name that the request was made with."""
    return str(kept.datums[0]["MetricName"])
