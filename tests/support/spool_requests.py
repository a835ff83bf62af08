"""Requests for a spool, and units of its limits."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from neuron_exporter.sinks.cloudwatch.datums import MAX_VALUES
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest

START = 1_700_000_040.0
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
MIB = 2**20


def make_request(
    name: str = "one", stamp: float = START, noise: int = 0, region: str = "r-1"
) -> PutMetricDataRequest:
    """Make a request with `noise` values that cannot be compressed, in as few datums as CloudWatch
    accepts."""
    random = Random(f"{name} {stamp}")
    values = [random.random() for _ in range(noise or 1)]
    return PutMetricDataRequest(
        "NeuronExporter",
        region,
        stamp,
        [
            {
                "MetricName": name,
                "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
                "Timestamp": datetime.fromtimestamp(stamp, UTC),
                "Unit": "Percent",
                "Values": values[start : start + MAX_VALUES],
            }
            for start in range(0, len(values), MAX_VALUES)
        ],
    )


def name_of(request: PutMetricDataRequest) -> str:
    """Return the name that the request was made with."""
    return str(request.items[0]["MetricName"])
