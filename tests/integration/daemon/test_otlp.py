"""The OTLP sink in the running exporter: reload, the snapshot, and the end of several sinks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import structlog

from neuron_exporter.config import ConfigError, LoadedConfig, Override, load
from neuron_exporter.daemon.daemon import Daemon
from neuron_exporter.daemon.reload import reconfigure
from neuron_exporter.daemon.routes import SNAPSHOT, routes
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.web import Request
from tests.support.endpoint import accept, cloudwatch_endpoint
from tests.support.otlp_front import otlp_front
from tests.support.waiting import wait_for

KEY = "geheimnis-0123456789"


def loaded(settings: dict[str, Any]) -> LoadedConfig:
    """Load a configuration with OTLP on and these keys."""
    on = {
        "source.kind": "simulator",
        "prometheus.listen": "127.0.0.1:0",
        "otlp.enabled": True,
        "otlp.endpoint": "http://127.0.0.1:9",
        "otlp.spool.path": None,
        "identity.instance_id": "i-1",
        **settings,
    }
    return load(flags=[Override("a.yaml", key, value) for key, value in on.items()])


def built(**settings: Any) -> Pipeline:
    """Build the parts for these keys, with `__` for a dot."""
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    return build(loaded(keys), environment={})


def snapshot_of(pipeline: Pipeline) -> dict[str, Any]:
    """Return the document of the page."""
    headers = Message()
    headers["Host"] = "localhost"
    body = routes(pipeline, list)[SNAPSHOT](Request(SNAPSHOT, headers, True)).body
    assert isinstance(body, bytes)
    document: dict[str, Any] = json.loads(body)
    return document


# Reload


def test_selection_and_budget_are_reloaded() -> None:
    parts = built()
    sink = parts.otlp
    assert sink is not None
    new = {"otlp.exclude": ["neuron_*"], "otlp.budget.max_monthly_usd": 1.0}
    assert [each.key for each in reconfigure(parts, loaded(new), {})] == [
        "otlp.exclude",
        "otlp.budget.max_monthly_usd",
    ]
    sink.run_once()
    names = {row.name for row in sink.selection.rows}
    assert "neuroncore_utilization_ratio" in names
    assert not [name for name in names if name.startswith("neuron_")]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("otlp.interval", "30s", "otlp.interval: requires a restart (current: 1m, new: 30s)"),
        ("otlp.headers", {"X-Key": KEY}, "otlp.headers: requires a restart"),
        ("otlp.compression", "none", "otlp.compression: requires a restart (current: 'gzip', new"),
    ],
)
def test_restart_is_required(key: str, value: Any, problem: str) -> None:
    """The message never shows the value of a header."""
    with pytest.raises(ConfigError) as caught:
        reconfigure(built(), loaded({key: value}), {})
    (line,) = caught.value.problems
    assert line.removeprefix("a.yaml: ").startswith(problem)
    assert KEY not in line


# The snapshot


def test_snapshot() -> None:
    parts = built(otlp__headers={"X-Key": KEY}, otlp__budget__max_monthly_usd=1.0)
    document = snapshot_of(parts)
    otlp = document["sinks"]["otlp"]
    assert KEY not in json.dumps(document)
    assert otlp["endpoint"] == "http://127.0.0.1:9/v1/metrics"
    assert (otlp["is_on"], otlp["is_up"], otlp["auth"]) == (True, False, "none")
    assert otlp["interval_seconds"] == 60
    assert otlp["metrics"] == 46
    assert otlp["budget_monthly_bytes"] == 2 * 10**9
    assert snapshot_of(built(otlp__enabled=False))["sinks"]["otlp"] == {"is_on": False}


def test_failing_sink_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = built()
    assert parts.otlp is not None
    begin = time.time() - 3600
    monkeypatch.setattr(parts.otlp._status, "_failing_since", begin)
    monkeypatch.setattr(parts.otlp._status, "_state", "HTTP401: no")
    problems = {each["reason"]: each["detail"] for each in snapshot_of(parts)["problems"]}
    assert problems["sink_failing"] == "otlp: HTTP401: no"


# The daemon


@contextmanager
def daemon_of(pipeline: Pipeline, stop_seconds: float = 20.0) -> Iterator[Daemon]:
    """Return a daemon, and close its server."""
    daemon = Daemon(pipeline, stop_seconds=stop_seconds)
    try:
        yield daemon
    finally:
        daemon._server.close()


def test_simulated_values_are_announced() -> None:
    """One line for each sink that sends them, without a key in the URL."""
    parts = built(otlp__endpoint=f"http://127.0.0.1:9/{KEY}/v1/metrics")
    with daemon_of(parts) as daemon, structlog.testing.capture_logs() as logged:
        daemon._log_start()
    (warning,) = [each for each in logged if each["event"] == "simulated_values_sent"]
    assert warning["sink"] == "otlp"
    assert warning["endpoint"] == "http://127.0.0.1:9/***/v1/metrics"


@pytest.mark.usefixtures("fake_credentials")
def test_sinks_end_together(tmp_path: Path) -> None:
    """While one endpoint hangs, the other sink sends what it has."""
    released = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        released.wait(120)
        accept(handler)

    with otlp_front() as front, cloudwatch_endpoint() as cloudwatch:
        cloudwatch.answer = hang
        parts = built(
            otlp__endpoint=front.url,
            otlp__spool__path=str(tmp_path / "otlp.db"),
            cloudwatch__enabled=True,
            cloudwatch__endpoint_url=cloudwatch.url,
            cloudwatch__region="us-east-1",
            cloudwatch__spool__path=str(tmp_path / "cloudwatch.db"),
            identity__instance_type="trn1.2xlarge",
        )
        with daemon_of(parts, stop_seconds=120.0) as daemon:
            for sender in parts.senders:
                sender.start()
            daemon._reader.start()
            wait_for(lambda: parts.processor.status().reports > 0)
            stop = threading.Thread(target=daemon._stop)
            stop.start()
            wait_for(lambda: cloudwatch.connections)
            wait_for(lambda: "neuroncore_utilization_ratio" in {each.name for each in front.points})
            assert stop.is_alive()
            released.set()
            stop.join()
