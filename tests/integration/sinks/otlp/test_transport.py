"""OTLP over real HTTP: one attempt per request, classified by its outcome."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from neuron_exporter import __version__
from neuron_exporter.sinks.delivery.transport import Verdict
from neuron_exporter.sinks.otlp import connection
from neuron_exporter.sinks.otlp.settings import HeaderFile, HeaderValue, TransportSettings
from neuron_exporter.sinks.otlp.transport import OtlpTransport
from tests.support.http import serving
from tests.support.otlp_attempts import assert_delivered, attempt
from tests.support.otlp_front import (
    Answer,
    OtlpFront,
    aws_error,
    drop,
    fail,
    page,
    partial_success,
    redirect,
)
from tests.support.otlp_requests import message, point, request_of
from tests.support.processes import descriptors
from tests.support.waiting import wait_for


def opened(front: OtlpFront, **settings: object) -> OtlpTransport:
    """Return a transport to the server with other settings."""
    return OtlpTransport("", TransportSettings(endpoint=front.url, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("gzip", [True, False])
def test_request_is_accepted(front: OtlpFront, gzip: bool) -> None:
    transport = opened(front, gzip=gzip, headers={"X-Scope-OrgID": "tenant"})
    assert_delivered(transport)
    transport.close()
    assert front.rejected == []
    (received,) = front.requests
    assert [each.value for each in received.points] == [0.5]
    assert received.headers["User-Agent"] == f"neuron-exporter/{__version__}"
    assert received.headers["X-Scope-OrgID"] == "tenant"
    assert received.headers.get("Content-Encoding") == ("gzip" if gzip else None)
    assert "Authorization" not in received.headers


@pytest.mark.parametrize("suffix", ["", "/", "/v1/metrics", "/v1/metrics#fragment"])
def test_path_is_added_to_an_endpoint_without(front: OtlpFront, suffix: str) -> None:
    transport = OtlpTransport("", TransportSettings(endpoint=front.url + suffix))
    assert_delivered(transport)
    transport.close()


def test_other_path_is_kept(front: OtlpFront) -> None:
    transport = OtlpTransport("", TransportSettings(endpoint=f"{front.url}/otlp?tenant=a"))
    outcome = attempt(transport)
    transport.close()
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "HTTP404")
    assert front.rejected == ["must be /v1/metrics (got /otlp?tenant=a)"]


def test_connection_is_reused(front: OtlpFront, transport: OtlpTransport) -> None:
    assert_delivered(transport)
    before = descriptors()
    for answer in (fail(503), page, fail(400, "x" * 100_000), aws_error(429, "Throttling")):
        front.respond_with(answer)
        assert attempt(transport).verdict is not Verdict.DELIVERED
        front.recover()
        assert_delivered(transport)
    assert descriptors() <= before
    assert front.connections <= 2  # one more after the long message, which is not read


def test_idle_connection_is_replaced(
    front: OtlpFront, transport: OtlpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_delivered(transport)
    monkeypatch.setattr(connection, "MAX_IDLE", 0.0)
    before = descriptors()
    assert_delivered(transport)
    assert_delivered(transport)
    assert front.connections == 3
    wait_for(lambda: descriptors() <= before)  # the server's are in this process as well


@pytest.mark.parametrize(
    ("answer", "verdict", "code", "text"),
    [
        (fail(400, "unit is wrong"), Verdict.REJECTED, "HTTP400", "HTTP 400: unit is wrong"),
        (fail(401, "who?"), Verdict.RETRY, "HTTP401", "HTTP 401: who?"),
        (fail(500, "oops"), Verdict.RETRY, "HTTP500", "HTTP 500: oops"),
        (fail(503, "busy", {"Retry-After": "7"}), Verdict.RETRY, "HTTP503", "HTTP 503: busy"),
        (aws_error(400, "ThrottlingException"), Verdict.RETRY, "ThrottlingException", "HTTP 400"),
        (
            redirect("https://other.example/"),
            Verdict.RETRY,
            "Redirect",
            "to https://other.example",
        ),
        (page, Verdict.RETRY, "UnexpectedAnswer", "not a response of OTLP: '<!DOCTYPE"),
        (drop, Verdict.RETRY, "ProtocolError", "Connection aborted"),
        (partial_success(2, "late"), Verdict.DELIVERED, "PartialSuccess", "2 data points"),
    ],
)
def test_failures_are_classified(
    front: OtlpFront,
    transport: OtlpTransport,
    answer: Answer,
    verdict: Verdict,
    code: str,
    text: str,
) -> None:
    front.respond_with(answer)
    outcome = attempt(transport)
    assert (outcome.verdict, outcome.code) == (verdict, code)
    assert text in outcome.message
    assert outcome.retry_after == (7 if code == "HTTP503" else 0)
    assert len(front.failed) == 1
    front.recover()
    assert_delivered(transport)


def test_rejected_points_are_reported(front: OtlpFront) -> None:
    counts: list[int] = []
    transport = OtlpTransport("", TransportSettings(endpoint=front.url), counts.append)
    assert_delivered(transport)
    front.respond_with(partial_success(3))
    assert_delivered(transport)
    transport.close()
    assert counts == [3]


def test_large_request_is_sent(front: OtlpFront, transport: OtlpTransport) -> None:
    now = time.time()
    points = [point(now, index, labels={"a": f"{index:0900}"}) for index in range(1000)]
    outcome = attempt(transport, request_of(message(*points)))
    assert outcome.verdict is Verdict.DELIVERED
    assert front.requests[0].size > 900_000


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_silent_server_times_out(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        transport = OtlpTransport("", TransportSettings(endpoint=url))
        outcome = attempt(transport)
        transport.close()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "ReadTimeoutError")
    assert outcome.of_request


def test_refused_connection_is_retried() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        transport = OtlpTransport("", TransportSettings(endpoint=url))
        outcome = attempt(transport)
        transport.close()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "NewConnectionError")
    assert "Connection refused" in outcome.message
    assert "secret" not in outcome.message
    assert not outcome.of_request


def test_unknown_host_is_retried() -> None:
    transport = OtlpTransport("", TransportSettings(endpoint="http://collector.invalid"))
    outcome = attempt(transport)
    transport.close()
    assert outcome.verdict is Verdict.RETRY
    assert outcome.code == "NameResolutionError"


# Headers from files


def test_file_of_a_header_is_read_again(front: OtlpFront, tmp_path: Path) -> None:
    token = tmp_path / "token"
    headers: dict[str, HeaderValue] = {"Authorization": HeaderFile(str(token))}
    transport = opened(front, headers=headers)
    outcome = attempt(transport)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "HeaderUnusable")
    assert outcome.message == f"header Authorization: file {token}: No such file or directory"
    assert not outcome.of_request
    for value in ("Bearer first", "Bearer second"):
        token.write_text(f"{value}\n")
        assert_delivered(transport)
        assert front.requests[-1].headers["Authorization"] == value
    transport.close()


def test_repeated_secret_is_not_shown(front: OtlpFront, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("Bearer abc-def-ghi")
    transport = opened(front, headers={"Authorization": HeaderFile(str(token))})
    front.respond_with(fail(401, "unknown token abc-def-ghi"))
    assert attempt(transport).message == "HTTP 401: unknown token ***"
    transport.close()


# Proxies


@pytest.fixture
def proxied() -> Iterator[tuple[str, list[str]]]:
    """A proxy that records what it is asked for, and refuses it."""
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers['Proxy-Authorization']}")
            fail(407, "proxy says no")(self)

        do_CONNECT = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with serving(Proxy) as url:
        yield url, asked


def test_proxy_of_the_environment_is_used(
    proxied: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = proxied
    with_password = url.replace("//", "//me:p%40ss@")
    monkeypatch.setenv("http_proxy", with_password)
    monkeypatch.setenv("https_proxy", with_password.removeprefix("http://"))
    for scheme in ("http", "https"):
        endpoint = f"{scheme}://collector.example:4318"
        transport = OtlpTransport("", TransportSettings(endpoint=endpoint))
        outcome = attempt(transport)
        transport.close()
        assert outcome.verdict is Verdict.RETRY
        assert outcome.code == ("HTTP407" if scheme == "http" else "ProxyError")
        assert not outcome.of_request
        assert "p@ss" not in outcome.message
    assert asked == [
        "POST http://collector.example:4318/v1/metrics Basic bWU6cEBzcw==",
        "CONNECT collector.example:4318 Basic bWU6cEBzcw==",
    ]


@pytest.mark.parametrize("no_proxy", ["*", "127.0.0.1", "localhost,127.0.0.1:{port}"])
def test_no_proxy_is_respected(
    front: OtlpFront,
    transport: OtlpTransport,
    proxied: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    no_proxy: str,
) -> None:
    url, asked = proxied
    monkeypatch.setenv("http_proxy", url)
    monkeypatch.setenv("no_proxy", no_proxy.format(port=front.url.rpartition(":")[2]))
    assert_delivered(transport)
    assert asked == []
