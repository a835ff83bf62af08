"""A faulty OTLP endpoint affects OTLP only, and only while it lasts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from neuron_exporter.sinks.delivery.sender import MAX_FAILURES
from tests.support.endpoint import Endpoint
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.fleet import CREDENTIALS
from tests.support.otlp_front import (
    Answer,
    OtlpFront,
    accept,
    drop,
    fail,
    hang,
    otlp_front,
    page,
    partial_success,
    redirect,
)
from tests.support.waiting import wait_for

PAUSE = 4
"""Seconds that the endpoint asks for."""


class Rig(NamedTuple):
    """An exporter with all sinks, the OTLP endpoint that falls ill, and CloudWatch's."""

    exporter: RunningExporter
    front: OtlpFront
    cloudwatch: Endpoint

    def value(self, name: str, **labels: str) -> float:
        """Return one of the sink's own metrics; 0 without one."""
        return self.exporter.value(f"neuron_exporter_{name}", sink="otlp", **labels) or 0.0

    def wait_for_error(self, code: str) -> dict[str, Any]:
        """Wait until an attempt has failed with this code; return the log's event of it."""
        wait_for(lambda: self.value("sink_errors_total", code=code) >= 1)
        return self.exporter.wait_for_event("delivery_failing", sink="otlp", code=code)

    def state(self) -> str:
        """Return the sink's state on the page."""
        text: str = json.loads(self.exporter.get("/api/v1/snapshot")[1])["sinks"]["otlp"]["state"]
        return text

    def assert_others_work(self) -> None:
        """Check that scrapes, probes and CloudWatch are not affected."""
        before = len(self.cloudwatch.requests)
        for _ in range(5):
            assert self.exporter.value("neuron_exporter_up") == 1
            assert self.exporter.get("/healthz")[0] == 200
        assert self.exporter.value("neuron_exporter_sink_up", sink="cloudwatch") == 1
        wait_for(lambda: len(self.cloudwatch.requests) >= before + 2)

    def recover(self) -> None:
        """Repair the endpoint, and wait until the backlog has arrived."""
        self.front.recover()
        wait_for(lambda: self.value("sink_up") == 1 and self.value("sink_queue_requests") == 0)
        self.exporter.wait_for_event("delivery_recovered", sink="otlp")
        assert self.state() == "delivering"

    def ends(self) -> list[int]:
        """Return the ends of the intervals that have arrived, in Unix seconds."""
        return sorted(
            {
                point.time // 10**9
                for point in self.front.points
                if point.name == "neuron_exporter_reports_total"
            }
        )


@pytest.fixture
def rig(tmp_path: Path, endpoint: Endpoint) -> Callable[..., Any]:
    """Return a function that starts an exporter, with intervals of one second, and checks in the
    end that it stops in order, and that no point was rejected as late or repeated."""

    @contextmanager
    def start(**settings: Any) -> Iterator[Rig]:
        with otlp_front(allow_repeats=True) as front:
            front.allows_empty = True
            config = {
                "source": simulated("--instance-type", "inf2.xlarge"),
                "identity": {"instance_id": "i-0123456789abcdef0"},
                "cloudwatch": {
                    "enabled": True,
                    "endpoint_url": endpoint.url,
                    "region": "us-east-1",
                    "flush_interval": "1s",
                },
                "otlp": {
                    "enabled": True,
                    "endpoint": front.url,
                    "interval": "1s",
                    **settings,
                },
            }
            with running_exporter(tmp_path, config, environment=CREDENTIALS) as exporter:
                started = Rig(exporter, front, endpoint)
                wait_for(lambda: started.value("sink_up") == 1)
                yield started
                assert exporter.stop() == 0
                assert [event for event in exporter.log if "Traceback" in str(event)] == []
            assert front.rejected == []

    return start


def assert_complete(ends: list[int], lost: int = 0) -> None:
    """Check that of each second's end a point has arrived, but for the lost ones. The last one,
    that of the stop, may share a second with the one before."""
    assert len(ends) == ends[-1] - ends[0] + 1 - lost


def respond_slowly(handler: BaseHTTPRequestHandler) -> None:
    """Send one byte per second."""
    with suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Waste: " + b"x" * 500:
            handler.wfile.write(bytes((byte,)))
            time.sleep(1)


SICK = {
    "unavailable": (fail(503, "overloaded"), "HTTP503", "HTTP 503: overloaded", 0),
    "bad-gateway": (fail(502), "HTTP502", "HTTP 502: no", 1),
    "failing": (fail(500), "HTTP500", "HTTP 500: no", 1),
    "not-allowed": (fail(403, "expired"), "HTTP403", "HTTP 403: expired", 0),
    "redirect": (
        redirect("http://127.0.0.1:1/elsewhere"),
        "Redirect",
        "HTTP 307: redirects are not followed: to http://127.0.0.1:1",
        0,
    ),
    "portal": (page, "UnexpectedAnswer", "not a response of OTLP: '<!DOCTYPE html", 1),
    "hanging": (hang, "ReadTimeoutError", "", 1),
    "slow": (respond_slowly, "Overdue", "no result after 8 s", 1),
    "closing": (drop, "ProtocolError", "", 1),
}


@pytest.mark.parametrize("illness", SICK)
def test_faulty_endpoint(rig: Callable[..., Any], illness: str) -> None:
    """Requests wait while the endpoint fails, with its reason in the log, the state and the
    metrics; afterwards all have arrived."""
    answer, code, message, ambiguous = SICK[illness]
    with rig() as started:
        started.front.respond_with(answer)
        event = started.wait_for_error(code)
        assert message in event["message"]
        wait_for(lambda: started.value("sink_up") == 0)
        assert started.state().startswith(f"{code}: ")
        wait_for(lambda: started.value("sink_queue_requests") >= 3)
        assert (started.value("sink_ambiguous_requests_total") > 0) == ambiguous
        started.assert_others_work()
        attempts = started.value("sink_requests_total", outcome="retried")
        started.recover()
        assert started.value("sink_dropped_requests_total") == 0
        assert started.value("sink_requests_total", outcome="rejected") == 0
        assert len(started.exporter.events("delivery_failing")) == 1
        assert attempts >= 1
    assert_complete(started.ends())


def test_responses_that_are_lost(rig: Callable[..., Any]) -> None:
    """The endpoint takes requests and loses its responses: they arrive again with their own times,
    and nothing else does."""
    with rig() as started:
        started.front.respond_with(drop, keeps_points=True)
        started.wait_for_error("ProtocolError")
        wait_for(lambda: started.front.repeated)
        started.recover()
        repeats = [
            point
            for point in started.front.repeated
            if point.name == "neuron_exporter_up" and not point.flags
        ]
        assert 0 < len(repeats) <= started.value("sink_ambiguous_requests_total")
    assert_complete(started.ends())


def test_throttling(rig: Callable[..., Any]) -> None:
    """The exporter sends nothing while the endpoint's pause lasts, then the backlog."""
    times: list[float] = []

    def throttle(handler: BaseHTTPRequestHandler) -> None:
        times.append(time.monotonic())
        fail(429, "slow down", {"Retry-After": str(PAUSE)})(handler)

    with rig() as started:
        started.front.respond_with(throttle)
        event = started.wait_for_error("HTTP429")
        assert event["message"] == "HTTP 429: slow down"
        wait_for(lambda: len(times) >= 3)
        started.assert_others_work()
        assert started.value("sink_ambiguous_requests_total") == 0
        started.recover()
    assert all(later - time >= PAUSE for time, later in pairwise(times))
    assert_complete(started.ends())


def test_partial_success(rig: Callable[..., Any]) -> None:
    """Points that the endpoint rejects are counted and reported. No request is sent again."""
    with rig() as started:
        started.front.respond_with(partial_success(3, "out of bounds"), keeps_points=True)
        event = started.wait_for_error("PartialSuccess")
        assert event["message"] == "3 data points were rejected: out of bounds"
        wait_for(lambda: started.value("sink_up") == 0)
        assert started.state().startswith("PartialSuccess: 3 data points were rejected")
        rejected = "neuron_exporter_otlp_rejected_points_total"
        wait_for(lambda: (started.exporter.value(rejected) or 0) >= 6)
        assert (started.exporter.value(rejected) or 0) % 3 == 0
        started.assert_others_work()
        started.recover()
        assert started.value("sink_requests_total", outcome="retried") == 0
        assert started.value("sink_dropped_requests_total") == 0
    assert started.front.repeated == []
    assert_complete(started.ends())


def test_poison_request_is_dropped(rig: Callable[..., Any]) -> None:
    """A request that the endpoint refuses for good costs only itself."""
    with rig() as started:
        started.front.respond_with(_once(started.front, fail(400, "cannot be read")))
        event = started.wait_for_error("HTTP400")
        assert event["message"] == "HTTP 400: cannot be read"
        started.exporter.wait_for_event("delivery_recovered", sink="otlp")
        wait_for(lambda: started.value("sink_up") == 1)
        assert started.value("sink_dropped_requests_total", reason="rejected") == 1
        assert started.value("sink_requests_total", outcome="rejected") == 1
        started.assert_others_work()
        assert len(started.front.failed) == 1
        wait_for(lambda: len(started.ends()) >= 4)
    assert_complete(started.ends(), lost=1)


def test_endpoint_that_takes_only_empty_requests_loses_nothing(rig: Callable[..., Any]) -> None:
    """Its pipeline is broken, so that no request is to blame."""

    def fail_with_points(handler: BaseHTTPRequestHandler) -> None:
        is_empty = int(handler.headers["Content-Length"]) < 100
        (accept if is_empty else fail(500, "cannot be stored"))(handler)

    with rig() as started:
        started.front.respond_with(fail_with_points)
        wait_for(lambda: started.value("sink_errors_total", code="HTTP500") > MAX_FAILURES + 3)
        assert not started.value("sink_dropped_requests_total", reason="attempts")
        started.recover()
    assert_complete(started.ends())


def _once(front: OtlpFront, answer: Answer) -> Answer:
    """Return a response that is given once, and accepts again afterwards."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        front.recover()
        answer(handler)

    return respond


def test_secret_header_is_not_shown(rig: Callable[..., Any], tmp_path: Path) -> None:
    """A token is in no log line, state, or metric, even if the endpoint repeats it."""
    token = tmp_path / "token"
    token.write_text("s3cret-of-the-collector\n")

    def repeat(handler: BaseHTTPRequestHandler) -> None:
        fail(403, f"unknown token {handler.headers['X-Token']}")(handler)

    with rig(headers={"X-Token": {"file": str(token)}}) as started:
        assert started.front.requests[0].headers["X-Token"] == "s3cret-of-the-collector"
        started.front.respond_with(repeat)
        event = started.wait_for_error("HTTP403")
        assert "unknown token" in event["message"]
        shown = started.exporter.get("/api/v1/snapshot")[1] + started.exporter.get("/metrics")[1]
        token.write_text("another-of-the-collector\n")
        started.recover()
        # The first request that succeeds may have begun with the earlier token.
        another = "another-of-the-collector"
        wait_for(lambda: started.front.requests[-1].headers["X-Token"] == another)
        shown += "\n".join(started.exporter.raw_log)
        assert "s3cret-of-the-collector" not in shown
