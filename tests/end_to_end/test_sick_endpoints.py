"""A faulty CloudWatch endpoint or resolver affects CloudWatch only, and only while it lasts."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.support import exporter as exporter_process
from tests.support.endpoint import Endpoint, accept, cloudwatch_endpoint, respond
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.patched import patched
from tests.support.waiting import wait_for

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def config(url: str, source: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with windows of one second, sent to this URL."""
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
    """Return the number of attempts that ended with this code."""
    return exporter.value("neuron_exporter_sink_errors_total", code=code) or 0.0


def assert_scrapes_work(exporter: RunningExporter) -> None:
    """Check that scrapes and probes are not affected."""
    for _ in range(5):
        assert exporter.value("neuron_exporter_up") == 1
        assert exporter.get("/healthz")[0] == 200


def assert_clean_stop(exporter: RunningExporter) -> None:
    """Check that SIGTERM ends the exporter with status 0 and without a traceback."""
    assert exporter.stop() == 0
    assert [event for event in exporter.log if "Traceback" in str(event)] == []


def recover(endpoint: Endpoint, exporter: RunningExporter) -> None:
    """Repair the endpoint, and check that unconfirmed requests are sent again."""
    lost = {datum["Timestamp"] for datum in endpoint.datums("NeuronCoreUtilization")}
    assert lost
    endpoint.requests.clear()
    endpoint.answer = accept
    exporter.wait_for_value("neuron_exporter_sink_up", 1)
    wait_for(lambda: lost <= {d["Timestamp"] for d in endpoint.datums("NeuronCoreUtilization")})


def respond_slowly(handler: BaseHTTPRequestHandler) -> None:
    """Send one byte per second."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Waste: " + b"x" * 500:
        handler.wfile.write(bytes((byte,)))
        time.sleep(1)


def test_slow_endpoint(tmp_path: Path) -> None:
    """An attempt ends after eight seconds, and its data is delivered after recovery."""
    with cloudwatch_endpoint() as endpoint:
        endpoint.answer = respond_slowly
        with running_exporter(
            tmp_path, config(endpoint.url, simulated()), environment=CREDENTIALS
        ) as exporter:
            exporter.wait_for_value("neuron_exporter_up", 1)
            wait_for(lambda: endpoint.requests)
            assert_scrapes_work(exporter)
            wait_for(lambda: errors(exporter, "Overdue") >= 1)
            recover(endpoint, exporter)
            assert_clean_stop(exporter)


def test_hanging_resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("hanging-resolver"))
    with running_exporter(
        tmp_path, config("http://cloudwatch.test", simulated()), environment=CREDENTIALS
    ) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        wait_for(lambda: errors(exporter, "Overdue") >= 1)
        assert_scrapes_work(exporter)
        assert_clean_stop(exporter)


def test_proxy_login_page(tmp_path: Path) -> None:
    """A page with status 200 is not a delivery; the data is sent again."""
    with cloudwatch_endpoint() as endpoint:
        endpoint.answer = lambda handler: respond(handler, 200, "<html>please log in</html>")
        with running_exporter(
            tmp_path, config(endpoint.url, simulated()), environment=CREDENTIALS
        ) as exporter:
            wait_for(lambda: errors(exporter, "UnexpectedAnswer") >= 2)
            assert exporter.value("neuron_exporter_sink_up") == 0
            assert exporter.value("neuron_exporter_sink_last_success_timestamp_seconds") is None
            recover(endpoint, exporter)
            assert_clean_stop(exporter)
