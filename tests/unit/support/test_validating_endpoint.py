"""The tests' own CloudWatch: what it reads, and how it stands in CloudWatch's place."""

from __future__ import annotations

import gzip
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.endpoint import accept, reject
from tests.support.http import serving
from tests.support.put_requests import (
    ABSENT,
    NOW,
    connected,
    datum,
    dimension,
    encoded,
    post,
    put,
    statistics,
    values,
)
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint


@pytest.fixture
def front() -> Iterator[ValidatingEndpoint]:
    """A front with its own time."""
    with validating_endpoint(clock=lambda: NOW) as started:
        yield started


@pytest.fixture
def client(front: ValidatingEndpoint) -> Iterator[Any]:
    """A client of the front."""
    with connected(front.url) as made:
        yield made


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "must be a structure (got [])"),
        (datum(MetricName=7), "MetricName: must be a string (got 7)"),
        (datum(Dimensions={"A": "b"}), "Dimensions: must be a list"),
        (datum(Dimensions=["A"]), "Dimensions.member.1: must be a structure (got 'A')"),
        (dimension(value=5), "Dimensions.member.1.Value: must be a string (got 5)"),  # type: ignore[arg-type]
        (dimension(Unit="None"), "Dimensions.member.1: has no member 'Unit'"),
        (datum(Timestamp="2026-11-20T00:00:00Z"), "Timestamp: must be a number"),
        (datum(Unit=None), "Unit: must be a string (got None)"),
        (datum(Value="1"), "Value: must be a number (got '1')"),
        (datum(Value=True), "Value: must be a number (got True)"),
        (datum(Value=ABSENT, Values=1.0), "Values: must be a list (got 1.0)"),
        (datum(Value=ABSENT, Values=[None]), "Values.member.1: must be a number (got None)"),
        (values(1, Counts=["1"]), "Counts.member.1: must be a number (got '1')"),
        (datum(StorageResolution=1.0), "StorageResolution: must be a whole number (got 1.0)"),
        (datum(Value=ABSENT, StatisticValues=3), "StatisticValues: must be a structure (got 3)"),
        (statistics(Average=1.5), "StatisticValues: has no member 'Average'"),
        (datum(Values_=[1]), "MetricData.member.1: has no member 'Values_'"),
    ],
)
def test_a_wrong_type_is_refused(front: ValidatingEndpoint, wrong: Any, message: str) -> None:
    """Input that botocore never writes, or that no model has, is rejected with its place."""
    status, error = post(front.url, encoded(wrong))
    assert (status, error["__type"]) == (400, "SerializationException")
    assert message in error["message"]
    assert len(front.rejected) == 1


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", "SerializationException", "the body cannot be read"),
        (b"{", "SerializationException", "the body cannot be read"),
        (b"[]", "SerializationException", "the request: must be a structure"),
        (b'{"Namespace":"N"}', "MissingParameter", "MetricData: must have"),
        (b'{"MetricData":[{}]}', "MissingParameter", "the request: must have Namespace"),
        (b'{"Namespace":7}', "SerializationException", "Namespace: must be a string"),
        (b'{"Namespace":"N","MetricData":{"a":1}}', "SerializationException", "must be a list"),
        (encoded(datum(), Metrics=[]), "SerializationException", "has no member 'Metrics'"),
        (
            encoded(datum(), EntityMetricData=[]),
            "InvalidParameterValue",
            "EntityMetricData: is not known here",
        ),
        (encoded(datum(Value="NaN")), "InvalidParameterValue", "Value: must be finite (got nan)"),
        (encoded(datum(Value=10**400)), "InvalidParameterValue", "Value: must be from -2^360"),
    ],
)
def test_a_wrong_request_is_refused(
    front: ValidatingEndpoint, body: bytes, code: str, message: str
) -> None:
    """What is none at all, or holds other things."""
    status, error = post(front.url, body)
    assert (status, error["__type"]) == (400, code)
    assert message in error["message"]
    assert len(front.rejected) == 1


def test_a_request_has_at_most_a_megabyte(front: ValidatingEndpoint) -> None:
    """A million bytes are let in and one more is not, however well they compress."""
    legal = encoded(datum()).ljust(1_000_000)
    packed = gzip.compress(legal + b" ")
    assert post(front.url, legal)[0] == 200
    assert post(front.url, gzip.compress(legal), Content_Encoding="gzip")[0] == 200
    for status, error in (
        post(front.url, legal + b" "),
        post(front.url, packed, Content_Encoding="gzip"),
    ):
        assert (status, error["__type"]) == (413, "RequestEntityTooLarge")
    assert len(front.rejected) == 2
    assert len(front.requests) == 2


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("", b"Action=PutMetricData", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("?Action=PutMetricData", encoded(datum()), {"X-Amz-Target": ""}),
        (
            "service/GraniteServiceVersion20100801/operation/PutMetricData",
            b"\xa0",
            {"Content-Type": "application/cbor", "X-Amz-Target": ""},
        ),
        ("", encoded(datum()), {"Content-Type": "application/x-amz-json-1.1"}),
        ("", encoded(datum()), {"X-Amz-Target": "Other.PutMetricData"}),
        ("", encoded(datum()), {"Content-Encoding": "deflate"}),
    ],
)
def test_another_wire_format_is_refused(
    front: ValidatingEndpoint, path: str, body: bytes, headers: dict[str, str]
) -> None:
    """What is not read is not let in: a botocore that speaks otherwise would be seen."""
    status, error = post(front.url, body, path, **headers)
    assert (status, error["__type"]) == (400, "UnsupportedProtocol")
    assert front.requests == []
    assert len(front.rejected) == 1


def test_a_broken_gzip_is_refused(front: ValidatingEndpoint) -> None:
    """A truncated body is reported as such."""
    status, error = post(front.url, gzip.compress(encoded(datum()))[:-12], Content_Encoding="gzip")
    assert (status, error["__type"]) == (400, "SerializationException")


# How it stands in CloudWatch's place


def test_botocore_compresses_what_is_large(front: ValidatingEndpoint, client: Any) -> None:
    """What botocore packs by itself is read like the rest."""
    put(client, *[datum()] * 200)
    assert front.headers[0]["Content-Encoding"] == "gzip"
    assert len(front.datums()) == 200


def test_a_metric_in_two_units_is_noticed(front: ValidatingEndpoint, client: Any) -> None:
    """CloudWatch takes them, and aggregates them apart; another metric may have another unit."""
    put(client, datum(), dimension(), datum(Unit="None"))
    put(client, datum(Unit="None"), namespace="Other")
    assert front.rejected == []
    assert front.inconsistent == ["NeuronCoreUtilization: in Percent and in None"]
    put(client, datum(Unit=ABSENT))
    assert len(front.inconsistent) == 2


def test_it_fails_on_purpose(front: ValidatingEndpoint, client: Any) -> None:
    """While it is down it accepts nothing, keeps requests apart, and reports invalid ones."""
    front.down()
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        put(client, datum())
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        put(client, datum(Unit="x"))
    front.answer = reject(400, "Throttling")
    with pytest.raises(ClientError, match="Throttling"):
        put(client, datum())
    front.up()
    assert front.answer is accept
    put(client, datum())
    assert (len(front.requests), len(front.failed), len(front.rejected)) == (1, 2, 1)


def test_what_is_let_in_can_be_read_back(moto: str) -> None:
    """Everything else goes to moto and back as it is, in whichever protocol."""
    with validating_endpoint(moto) as front, connected(front.url) as client:
        put(client, datum(Timestamp=time.time()), namespace="Read back")
        with pytest.raises(ClientError):
            put(client, datum(Timestamp=0, MetricName="Refused"), namespace="Read back")
        listed = client.list_metrics(Namespace="Read back")["Metrics"]
        assert [metric["MetricName"] for metric in listed] == ["NeuronCoreUtilization"]
        client.put_metric_alarm(
            AlarmName="hot", MetricName="x", Namespace="Read back", EvaluationPeriods=1,
            ComparisonOperator="GreaterThanThreshold", Threshold=1, Period=60, Statistic="Sum",
        )  # fmt: skip
        (alarm,) = client.describe_alarms(AlarmNames=["hot"])["MetricAlarms"]
        assert alarm["Namespace"] == "Read back"
        assert (len(front.requests), len(front.rejected)) == (1, 1)


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent, and not with 200."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(418)
        for name in ("Content-Type", "Content-Encoding", "Authorization", "Smithy-Protocol"):
            self.send_header(f"Got-{name}", self.headers.get(name, ""))
        self.send_header("Got-Path", self.path)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "application/x-www-form-urlencoded"),
        ("/service/GraniteServiceVersion20100801/operation/ListMetrics", "application/cbor"),
        ("/service/GraniteServiceVersion20100801/operation/PutMetricAlarm?a=%20", "x/y"),
    ],
)
def test_other_operations_pass_as_they_are(path: str, kind: str) -> None:
    """Byte for byte in both directions, in a client's older or newer protocol, packed or not."""
    sent = {
        "Content-Type": kind,
        "Content-Encoding": "gzip",
        "Authorization": "AWS4-HMAC-SHA256 x",
        "Smithy-Protocol": "rpc-v2-cbor",
    }
    body = bytes(range(256))
    with serving(Echo) as behind, validating_endpoint(behind) as front:
        request = urllib.request.Request(f"{front.url}{path}", body, sent)  # noqa: S310 (loopback)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)  # noqa: S310
        assert caught.value.code == 418
        assert caught.value.read() == body
        for name, value in {**sent, "Path": path}.items():
            assert caught.value.headers[f"Got-{name}"] == value
        caught.value.close()


def test_what_moto_refuses_is_noticed() -> None:
    """A legal request that did not arrive is no success."""
    with (
        validating_endpoint(clock=lambda: NOW + 30 * 86400) as behind,
        validating_endpoint(behind.url, lambda: NOW) as front,
        connected(front.url) as client,
    ):
        with pytest.raises(ClientError, match="RejectedBehind"):
            put(client, datum())
        assert (len(front.requests), len(front.rejected)) == (0, 1)


def test_nothing_else_is_answered_alone(front: ValidatingEndpoint, client: Any) -> None:
    """Without moto there is nothing to read, and that is said."""
    with pytest.raises(ClientError, match="NotImplemented"):
        client.list_metrics()
    assert (front.requests, front.rejected) == ([], [])
