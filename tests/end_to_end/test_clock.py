"""A running exporter whose wall clock steps by hours in both directions."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch.datums import MAX_AGE, MAX_AHEAD
from tests.support import exporter as exporter_process
from tests.support.children import child
from tests.support.endpoint import accept, cloudwatch_endpoint
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.patched import SteppingClock, patched
from tests.support.waiting import wait_for

HOUR = 3600
REPORTS, EXECUTIONS_IN_A_REPORT = 60, 3
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def executions(exporter: RunningExporter) -> float:
    """Return the machine's execution counter."""
    return exporter.value("neuron_executions_total", status_type="completed") or 0.0


def test_wall_clock_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus and /healthz are unaffected; CloudWatch gets each execution once, with timestamps
    that it accepts."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("stepping-wall-clock"))
    clock = SteppingClock(tmp_path)
    clocks = [0.0]
    stamps: list[float] = []
    illegal: list[Any] = []

    def check_timestamps(handler: BaseHTTPRequestHandler) -> None:
        accept(handler)
        # The request may have been built just before the last step.
        nows = [time.time() + step for step in clocks[-2:]]
        for datum in endpoint.requests[-1]["MetricData"]:
            stamps.append(datum["Timestamp"])
            ages = [now - datum["Timestamp"] for now in nows]
            if not any(-MAX_AHEAD <= age <= MAX_AGE for age in ages):
                illegal.append((datum, clocks[-1]))

    with cloudwatch_endpoint() as endpoint:
        endpoint.answer = check_timestamps
        config = {
            "source": {
                "command": child(*["report", "sleep=0.2"] * REPORTS, "forever"),
                "period": "1s",
            },
            "cloudwatch": {
                "enabled": True,
                "endpoint_url": endpoint.url,
                "region": "us-east-1",
                "flush_interval": "1s",
                "dimension_sets": [["InstanceId"]],
            },
        }
        environment = {**CREDENTIALS, **clock.environment}
        with running_exporter(tmp_path, config, environment=environment) as exporter:
            exporter.wait_for_value("neuron_exporter_up", 1)
            seen = 0.0
            for step in (3 * HOUR, 0, -3 * HOUR, -HOUR, 3 * HOUR + 60):
                before = executions(exporter)
                clocks.append(step)
                clock.set(step)
                wait_for(lambda: executions(exporter) >= before + 9)  # noqa: B023
                assert exporter.value("neuron_exporter_up") == 1
                assert exporter.families()["system_memory_used_bytes"].samples
                assert exporter.get("/healthz")[0] == 200
                assert executions(exporter) >= seen
                seen = executions(exporter)
            wait_for(lambda: executions(exporter) == REPORTS * EXECUTIONS_IN_A_REPORT)
            assert exporter.stop() == 0

    assert illegal == []
    assert endpoint.total("ExecutionsCompleted") == REPORTS * EXECUTIONS_IN_A_REPORT
    assert max(stamps) - min(stamps) > 5 * HOUR
    assert {datum["Value"] for datum in endpoint.datums("ExporterHeartbeat")} <= {0.0, 1.0}
    assert exporter.events("thread_died") == exporter.events("data_lost") == []
