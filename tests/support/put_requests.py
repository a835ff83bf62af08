"""Datums of PutMetricData, legal but for what a test changes, and ways to send them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import boto3
from botocore.config import Config

NOW = 1_800_000_000.0
"""The time of every datum that says no other (Unix seconds)."""

ABSENT = object()
"""In the place of a member that is left out."""

_HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData",
}

Datum = dict[str, Any]


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """boto3's client, which leaves it to the server to judge, and tries once."""
    client = boto3.client(
        "cloudwatch",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 (nobody's)
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )
    with closing(client):
        yield client


def datum(**changes: Any) -> Datum:
    """A legal datum with these members changed."""
    made = {
        "MetricName": "NeuronCoreUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
        "Timestamp": NOW,
        "Unit": "Percent",
        "Value": 1.0,
    }
    made.update(changes)
    return {name: value for name, value in made.items() if value is not ABSENT}


def values(count: int, **more: Any) -> Datum:
    """A datum with so many values."""
    return datum(Value=ABSENT, Values=[float(n) for n in range(count)], **more)


def statistics(**changes: Any) -> Datum:
    """A datum with statistics."""
    numbers = {"SampleCount": 2.0, "Sum": 3.0, "Minimum": 1.0, "Maximum": 2.0, **changes}
    known = {name: value for name, value in numbers.items() if value is not ABSENT}
    return datum(Value=ABSENT, StatisticValues=known)


def dimension(name: str = "A", value: str = "b", **more: Any) -> Datum:
    """A datum with one dimension."""
    return datum(Dimensions=[{"Name": name, "Value": value, **more}])


def dimensions(count: int) -> Datum:
    """A datum with so many of them."""
    return datum(Dimensions=[{"Name": f"D{n}", "Value": "x"} for n in range(count)])


def put(client: Any, *datums: Datum, namespace: str = "NeuronExporter") -> None:
    """Send by botocore."""
    client.put_metric_data(Namespace=namespace, MetricData=list(datums))


def post(url: str, body: bytes, path: str = "", **headers: str) -> tuple[int, Any]:
    """Send bytes; gives the status and what was said."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(  # noqa: S310 (loopback)
        f"{url}/{path}", body, {**_HEADERS, **named}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def encoded(*datums: Any, **more: Any) -> bytes:
    """A request as JSON."""
    return json.dumps({"Namespace": "N", "MetricData": list(datums), **more}).encode()
