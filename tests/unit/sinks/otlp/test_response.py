"""Responses are classified as OTLP/HTTP specifies it, and as AWS differs from it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.sinks.otlp.connection import Response
from neuron_exporter.sinks.otlp.response import MAX_PAUSE, Classified, classify, has_same_time
from tests.support.otlp_front import status_message

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json; charset=utf-8"}
HTML = {"content-type": "text/html"}
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def outcome_of(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Outcome:
    """Return the outcome of a response."""
    return classify(Response(status, PROTOBUF if headers is None else headers, body)).outcome


def partial(rejected: int, message: str) -> bytes:
    """Return the body of a partial success."""
    content = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=message)
    return ExportMetricsServiceResponse(partial_success=content).SerializeToString()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (PROTOBUF, b""),
        (PROTOBUF, ExportMetricsServiceResponse(partial_success={}).SerializeToString()),  # type: ignore[arg-type]
        (PROTOBUF, b"\x7a\x01x"),  # a field of a later version
        (JSON, b"{}"),
        (JSON, b'{"partialSuccess":{}}'),
        (JSON, b'{"partialSuccess":null}'),
        ({"content-length": "0"}, b""),
        ({"content-length": "2"}, b"{}"),
        ({"content-type": "text/plain"}, b"\n"),
    ],
)
@pytest.mark.parametrize("status", [200, 202])
def test_success(status: int, headers: Mapping[str, str], body: bytes) -> None:
    assert outcome_of(status, headers, body) == Outcome(Verdict.DELIVERED)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (PROTOBUF, partial(3, "no such unit")),
        (JSON, b'{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"no such unit"}}'),
        (JSON, b'{"partialSuccess":{"rejectedDataPoints":3,"errorMessage":"no such unit"}}'),
    ],
)
def test_partial_success_is_delivered(headers: Mapping[str, str], body: bytes) -> None:
    message = "3 data points were rejected: no such unit"
    expected = Outcome(Verdict.DELIVERED, "PartialSuccess", message)
    assert classify(Response(200, headers, body)) == Classified(expected, 3)


def test_partial_success_without_rejection_is_a_warning() -> None:
    expected = Outcome(Verdict.DELIVERED, message="slow down")
    assert classify(Response(200, PROTOBUF, partial(0, "slow down"))) == Classified(expected, 0)
    assert classify(Response(200, PROTOBUF, partial(-1, "slow down"))) == Classified(expected, 0)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (HTML, PAGE),
        (PROTOBUF, PAGE),
        ({"content-length": str(len(PAGE))}, PAGE),
        ({"content-type": "text/plain"}, b"OK"),
        (PROTOBUF, b"OK"),
        (JSON, b"[]"),
        (JSON, b'{"partialSuccess":[]}'),
        (JSON, b'{"partialSuccess":{"rejectedDataPoints":"x"}}'),
        (PROTOBUF, b"\x0a\xff"),
    ],
)
def test_foreign_success_is_retried(headers: Mapping[str, str], body: bytes) -> None:
    outcome = outcome_of(200, headers, body)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")
    assert outcome.message.startswith("not a response of OTLP: ")
    assert outcome.ambiguous


STATUSES = [
    (400, Verdict.REJECTED, False, True),
    (401, Verdict.RETRY, False, False),
    (403, Verdict.RETRY, False, False),
    (404, Verdict.REJECTED, False, True),
    (405, Verdict.REJECTED, False, True),
    (407, Verdict.RETRY, False, False),
    (408, Verdict.REJECTED, False, True),
    (413, Verdict.REJECTED, False, True),
    (415, Verdict.REJECTED, False, True),
    (429, Verdict.RETRY, False, False),
    (500, Verdict.RETRY, True, True),
    (501, Verdict.REJECTED, False, True),
    (502, Verdict.RETRY, True, False),
    (503, Verdict.RETRY, False, False),
    (504, Verdict.RETRY, True, False),
    (505, Verdict.REJECTED, False, True),
]


@pytest.mark.parametrize(("status", "verdict", "ambiguous", "of_request"), STATUSES)
def test_statuses_are_classified(
    status: int, verdict: Verdict, ambiguous: bool, of_request: bool
) -> None:
    outcome = outcome_of(status, body=status_message("because"))
    message = f"HTTP {status}: because"
    expected = Outcome(verdict, f"HTTP{status}", message, ambiguous, of_request)
    assert outcome == expected


def test_other_statuses_are_unexpected() -> None:
    assert outcome_of(999).code == "UnexpectedAnswer"
    assert outcome_of(999).verdict is Verdict.RETRY


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    target = "https://user:secret@other.example/login?token=secret"
    outcome = outcome_of(status, {"location": target})
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "Redirect")
    assert outcome.message == f"HTTP {status}: redirects are not followed: to https://other.example"
    assert not outcome.of_request
    for target in ("/login", "", "http://["):
        assert outcome_of(status, {"location": target}).code == "Redirect"


# Errors


def aws_error(code: str, **members: Any) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of an error of AWS."""
    return {**JSON, "x-amzn-errortype": code}, json.dumps(members).encode()


@pytest.mark.parametrize("status", [400, 403, 429, 503])
@pytest.mark.parametrize(
    "code", ["ThrottlingException", "Throttling", "RequestExpired", "ExpiredTokenException"]
)
def test_temporary_errors_of_aws_are_retried(status: int, code: str) -> None:
    outcome = outcome_of(status, *aws_error(code, message="Rate exceeded"))
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, code)
    assert outcome.message == f"HTTP {status}: Rate exceeded"
    assert not outcome.of_request


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("ValidationException", "ValidationException"),
        ("ValidationException:http://internal.amazon.com/coral/", "ValidationException"),
        ("com.amazon.coral#ValidationException", "ValidationException"),
        ("a b", "HTTP400"),
        ("", "HTTP400"),
        ("x" * 65, "HTTP400"),
    ],
)
def test_other_errors_of_aws_are_rejected(code: str, found: str) -> None:
    outcome = outcome_of(400, *aws_error(code, Message="bad"))
    assert outcome == Outcome(Verdict.REJECTED, found, "HTTP 400: bad")
    _, body = aws_error("", message="bad", __type=code)
    assert outcome_of(400, JSON, body) == outcome


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        (PROTOBUF, b"", "HTTP 400"),
        (PROTOBUF, b"\xff\xff", "HTTP 400"),
        (JSON, b'{"code":3,"message":"bad"}', "HTTP 400: bad"),
        (JSON, b'{"status":"error","error":"bad"}', "HTTP 400: bad"),
        (JSON, b'{"message":["bad"]}', "HTTP 400"),
        (JSON, b"[1]", "HTTP 400: [1]"),
        (HTML, b"<h1>\n  bad\x1b[31m</h1>", "HTTP 400: <h1> bad\N{REPLACEMENT CHARACTER}[31m</h1>"),
        ({}, b"x" * 60_000, "HTTP 400: " + "x" * 200),
        (PROTOBUF, status_message("x" * 60_000), "HTTP 400: " + "x" * 999 + "…"),
        (PROTOBUF, status_message("password=hunter22"), "HTTP 400: password=***"),
    ],
)
def test_messages_are_safe(headers: Mapping[str, str], body: bytes, message: str) -> None:
    assert outcome_of(400, headers, body) == Outcome(Verdict.REJECTED, "HTTP400", message)


# Retry-After

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def pause_of(text: str, date: datetime | None = NOW, status: int = 503) -> float:
    """Return the pause of a response with Retry-After that was sent at this date."""
    headers = {"retry-after": text}
    if date is not None:
        headers["date"] = format_datetime(date, usegmt=True)
    return outcome_of(status, headers).retry_after


@pytest.mark.parametrize("status", [401, 429, 500, 502, 503, 504])
def test_pause_in_seconds(status: int) -> None:
    assert pause_of("120", status=status) == 120
    assert pause_of("86400", status=status) == MAX_PAUSE


def test_pause_until_a_date_of_the_receivers_clock() -> None:
    until = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert pause_of(until) == 90
    assert pause_of(until, NOW + timedelta(days=1)) == 0
    assert pause_of(until, NOW - timedelta(days=1)) == MAX_PAUSE
    soon = format_datetime(datetime.now(UTC) + timedelta(minutes=30), usegmt=True)
    assert 1700 < pause_of(soon, date=None) <= 1800


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "1e9", "9" * 30, "٣"])
def test_illegal_pauses_are_ignored(text: str) -> None:
    assert pause_of(text) == 0


@pytest.mark.parametrize("code", ["Throttling", "ExpiredToken"])
def test_errors_of_aws_in_xml_are_retried(code: str) -> None:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"
    outcome = outcome_of(400, {"content-type": "text/xml"}, body.encode())
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, code)


def test_another_json_object_is_not_a_receiver_s() -> None:
    outcome = outcome_of(200, JSON, b'{"error": "login required"}')
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")


@pytest.mark.parametrize("status", [200, 302, 403])
def test_a_secret_is_masked_before_a_text_is_shortened(status: int) -> None:
    secret = "k" * 300
    for padding in (0, 50, 190):
        body = f"{'x' * padding} {secret}".encode()
        headers = {"content-type": "text/plain", "location": f"https://h.example/{secret}"}
        response = Response(status, headers, body)
        message = classify(response, lambda text: text.replace(secret, "***")).outcome.message
        assert "kkk" not in message


@pytest.mark.parametrize(("seconds", "agrees"), [(0, True), (-200, True), (-400, False)])
def test_the_date_of_a_response_shows_the_time(seconds: float, agrees: bool) -> None:
    date = formatdate(time.time() + seconds, usegmt=True)
    assert has_same_time(Response(200, {"date": date}, b"")) == agrees
    assert not has_same_time(Response(200, {}, b""))
