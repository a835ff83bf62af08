"""A sick endpoint or resolver harms CloudWatch alone, and not for longer than it is sick."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.support import exporter as exporter_process
from tests.support.altered import altered
from tests.support.endpoint import Endpoint, accept, cloudwatch_endpoint, respond
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.waiting import wait_for

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
STOP = 20.0


def config(url: str, source: dict[str, Any]) -> dict[str, Any]:
    """Windows of a second, sent there."""
    return {
        "source": source,
        "cloudwatch": {
            "enabled": True,
            "endpoint_url": url,
            "region": "us-east-1",
            "flush_interval": "1s",
        },
    }


def errors(exporter: RunningExporter, code: str) -> float:
    """How many attempts ended so."""
    return exporter.value("neuron_exporter_sink_errors_total", code=code) or 0.0


def scrapes_are_fast(exporter: RunningExporter) -> None:
    """The other sink and the probes do not notice."""
    for _ in range(5):
        started = time.monotonic()
        assert exporter.value("neuron_exporter_up") == 1
        assert exporter.get("/healthz")[0] == 200
        assert time.monotonic() - started < 2


def stops_in_time(exporter: RunningExporter) -> None:
    """SIGTERM leads to status 0 within the time that ECS and Kubernetes give, and some to spare."""
    started = time.monotonic()
    assert exporter.stop() == 0
    assert time.monotonic() - started < STOP
    assert [event for event in exporter.log if "Traceback" in str(event)] == []


def recover(endpoint: Endpoint, exporter: RunningExporter) -> None:
    """Make the endpoint well, and see that what it did not confirm is sent to it again."""
    lost = {datum["Timestamp"] for datum in endpoint.datums("NeuronCoreUtilization")}
    assert lost
    endpoint.requests.clear()
    endpoint.answer = accept
    exporter.wait_for_value("neuron_exporter_sink_up", 1)
    wait_for(lambda: lost <= {d["Timestamp"] for d in endpoint.datums("NeuronCoreUtilization")})


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Answer a byte a second."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Waste: " + b"x" * 500:
        handler.wfile.write(bytes((byte,)))
        time.sleep(1)


def test_an_endpoint_that_answers_a_byte_a_second(tmp_path: Path) -> None:
    """An attempt ends after its eight seconds, scrapes go on, and when the endpoint has recovered
    everything is there."""
    with cloudwatch_endpoint() as endpoint:
        endpoint.answer = drip
        with running_exporter(
            tmp_path, config(endpoint.url, simulated()), environment=CREDENTIALS
        ) as exporter:
            exporter.wait_for_value("neuron_exporter_up", 1)
            wait_for(lambda: endpoint.requests)
            scrapes_are_fast(exporter)
            wait_for(lambda: errors(exporter, "Overdue") >= 1)
            recover(endpoint, exporter)
            stops_in_time(exporter)


def test_a_name_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a look-up hangs in the system scrapes go on, and a stop is in time."""
    monkeypatch.setattr(exporter_process, "EXPORTER", altered("deaf-resolver"))
    with running_exporter(
        tmp_path, config("http://cloudwatch.test", simulated()), environment=CREDENTIALS
    ) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        wait_for(lambda: errors(exporter, "Overdue") >= 1)
        scrapes_are_fast(exporter)
        stops_in_time(exporter)


def test_the_page_of_a_proxy_delivers_nothing(tmp_path: Path) -> None:
    """A page with status 200 is no delivery: the sink is down, and what was sent is sent again."""
    with cloudwatch_endpoint() as endpoint:
        endpoint.answer = lambda handler: respond(handler, 200, "<html>please log in</html>")
        with running_exporter(
            tmp_path, config(endpoint.url, simulated()), environment=CREDENTIALS
        ) as exporter:
            wait_for(lambda: errors(exporter, "UnexpectedAnswer") >= 2)
            assert exporter.value("neuron_exporter_sink_up") == 0
            assert exporter.value("neuron_exporter_sink_last_success_timestamp_seconds") is None
            recover(endpoint, exporter)
            stops_in_time(exporter)
