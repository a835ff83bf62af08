"""Valid datums of PutMetricData with the changes of a test, and functions that send them."""

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
"""Default timestamp of a datum (Unix seconds)."""

ABSENT = object()
"""Value that removes a member."""

_HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData",
}

Datum = dict[str, Any]


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """Yield a boto3 client that does not validate requests and sends each of them once."""
    client = boto3.client(
        "cloudwatch",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 (not a secret)
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )
    with closing(client):
        yield client


def datum(**changes: Any) -> Datum:
    """Return a valid datum with these members changed."""
    members = {
        "MetricName": "NeuronCoreUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
        "Timestamp": NOW,
        "Unit": "Percent",
        "Value": 1.0,
    }
    members.update(changes)
    return {name: value for name, value in members.items() if value is not ABSENT}


def values(count: int, **more: Any) -> Datum:
    """Return a datum with this number of values."""
    return datum(Value=ABSENT, Values=[float(n) for n in range(count)], **more)


def statistics(**changes: Any) -> Datum:
    """Return a datum with statistics."""
    numbers = {"SampleCount": 2.0, "Sum": 3.0, "Minimum": 1.0, "Maximum": 2.0, **changes}
    known = {name: value for name, value in numbers.items() if value is not ABSENT}
    return datum(Value=ABSENT, StatisticValues=known)


def dimension(name: str = "A", value: str = "b", **more: Any) -> Datum:
    """Return a datum with one dimension."""
    return datum(Dimensions=[{"Name": name, "Value": value, **more}])


def dimensions(count: int) -> Datum:
    """Return a datum with this number of dimensions."""
    return datum(Dimensions=[{"Name": f"D{n}", "Value": "x"} for n in range(count)])


def put(client: Any, *datums: Datum, namespace: str = "NeuronExporter") -> None:
    """Send datums with botocore."""
    client.put_metric_data(Namespace=namespace, MetricData=list(datums))


def post(url: str, body: bytes, path: str = "", **headers: str) -> tuple[int, Any]:
    """Send bytes, and return the status and the decoded body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(  # noqa: S310 (loopback)
        f"{url}/{path}", body, {**_HEADERS, **named}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def encoded(*datums: Any, **more: Any) -> bytes:
    """Return a request as JSON."""
    return json.dumps({"Namespace": "N", "MetricData": list(datums), **more}).encode()
