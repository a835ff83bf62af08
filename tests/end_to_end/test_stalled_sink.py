"""A sink whose thread makes no progress."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import exporter as exporter_process
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.exporter import running_exporter, simulated
from tests.support.fleet import CREDENTIALS
from tests.support.patched import patched
from tests.support.waiting import wait_for


@pytest.mark.parametrize(("how", "status"), [("wait", 200), ("loop", 503)])
def test_cloudwatch_thread_without_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, status: int
) -> None:
    """A thread that waits for a disk leaves the exporter healthy, one in an endless loop does not:
    a restart ends the loop, but not the disk's fault. The sink is down in both cases."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("held-sink"))
    hold = tmp_path / "hold"
    with (
        cloudwatch_endpoint() as endpoint,
        running_exporter(
            tmp_path,
            {
                "source": simulated(),
                "cloudwatch": {
                    "enabled": True,
                    "endpoint_url": endpoint.url,
                    "region": "us-east-1",
                    "flush_interval": "1s",
                },
            },
            environment={**CREDENTIALS, "HOLDS_SINK": str(hold)},
        ) as exporter,
    ):
        exporter.wait_for_value("neuron_exporter_sink_up", 1)
        assert exporter.get("/healthz")[0] == 200
        hold.write_text(how)
        exporter.wait_for_value("neuron_exporter_sink_up", 0)
        wait_for(lambda: exporter.get("/healthz")[0] == status)
        body = exporter.get("/healthz")[1]
        assert body == ("ok\n" if how == "wait" else "threads do not respond: cloudwatch\n")
        state = json.loads(exporter.get("/api/v1/snapshot")[1])["sinks"]["cloudwatch"]["state"]
        assert state.startswith("no progress for ")
        assert exporter.value("neuron_exporter_up") == 1
        hold.unlink()
        exporter.wait_for_value("neuron_exporter_sink_up", 1)
        assert exporter.get("/healthz") == (200, "ok\n")
        assert exporter.stop() == 0
