"""Texts from outside are short and few wherever the exporter repeats them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.children import REPORT, child
from tests.support.endpoint import cloudwatch_endpoint, respond
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.fleet import CREDENTIALS
from tests.support.http import serving
from tests.support.reports import executions, group, report, runtime

LONG = 2**20
"""Length of the attacks' texts, in characters."""

MAX_LINE = 20_000
"""Bytes of the longest log line."""

MAX_SNAPSHOT = 200_000


@contextmanager
def fed(folder: Path, *reports: dict[str, Any]) -> Iterator[RunningExporter]:
    """Run an exporter that has read these reports from its standard input."""
    config = {"source": {"kind": "stdin"}}
    with running_exporter(folder, config, stdin=subprocess.PIPE) as exporter:
        for number, each in enumerate(reports, 1):
            line = json.dumps(each).encode() + b"\n"
            while line:
                line = line[os.write(exporter.process.stdin.fileno(), line) :]  # type: ignore[union-attr]
            exporter.wait_for_value("neuron_exporter_reports_total", number)
        yield exporter


def assert_bounded(exporter: RunningExporter) -> None:
    """Check the log, the metrics and the snapshot."""
    for path in ("/metrics", "/api/v1/snapshot"):
        status, body = exporter.get(path)
        assert status == 200
        assert len(body) < MAX_SNAPSHOT, path
    assert exporter.stop() == 0
    assert max(map(len, exporter.raw_log)) < MAX_LINE


@pytest.mark.parametrize("long", ["x" * LONG, "\u202e\0" * (LONG // 2)])
def test_group_error(tmp_path: Path, long: str) -> None:
    entry = runtime(1, "app", memory_used=group(long), execution_stats=executions(3))
    with fed(tmp_path, report(entry)) as exporter:
        event = exporter.wait_for_event("group_failing", group="memory_used")
        assert event["error"].startswith(long[:1].replace("\u202e", "\ufffd"))
        (missing,) = [
            each
            for each in json.loads(exporter.get("/api/v1/snapshot")[1])["missing"]
            if each["group"] == "memory_used"
        ]
        assert missing["reason"].isprintable()
        assert_bounded(exporter)


def test_error_that_comes_and_goes(tmp_path: Path) -> None:
    """It is logged each time, in short."""
    failing, healthy = (
        report(runtime(1, "app", memory_used=group(text), execution_stats=executions(3)))
        for text in ("x" * LONG, "")
    )
    with fed(tmp_path, *[failing, healthy] * 10) as exporter:
        assert len(exporter.events("group_failing")) == 10
        assert sum(map(len, exporter.raw_log)) < 10 * MAX_LINE
        assert_bounded(exporter)


def test_error_of_a_runtime(tmp_path: Path) -> None:
    entry = runtime(1, "app", execution_stats=executions(3)) | {"error": "x" * LONG}
    with fed(tmp_path, report(entry)) as exporter:
        exporter.wait_for_event("group_failing", group="neuron_runtime")
        assert_bounded(exporter)


def test_names_and_tags_in_reports(tmp_path: Path) -> None:
    """Unknown fields, invalid fields, tags, names of statuses and of the machine."""
    long = "x" * LONG
    entry = runtime(1, long, execution_stats=executions(3), memory_used={long: 1, "period": long})
    odd = report(
        entry,
        instance_info=dict.fromkeys(REPORT["instance_info"], long) | {"instance_type": long},
        neuron_hardware_info={
            "neuron_device_count": 1, "neuroncore_per_device_count": 2, "neuron_device_type": long
        },
        **{f"{long}{number}": {} for number in range(3)},
    )  # fmt: skip
    with fed(tmp_path, odd) as exporter:
        exporter.wait_for_event("unknown_field")
        exporter.wait_for_event("field_invalid")
        assert_bounded(exporter)


def test_many_unknown_fields(tmp_path: Path) -> None:
    with fed(tmp_path, report(**{f"field{number}": 1 for number in range(10_000)})) as exporter:
        assert len(exporter.events("unknown_field")) <= 100
        assert_bounded(exporter)


def test_standard_error_of_the_child(tmp_path: Path) -> None:
    command = child("stderr-rest=" + "x" * 100_000, "exit=1")
    with running_exporter(tmp_path, {"source": {"command": command}}) as exporter:
        exporter.wait_for_event("source_stderr")
        exporter.wait_for_event("source_state", state="exited")
        assert_bounded(exporter)


def test_configuration_with_many_long_problems(tmp_path: Path) -> None:
    """A reload logs the first problems and the number of the others."""
    config = {"source": {"kind": "stdin"}}
    with running_exporter(tmp_path, config, stdin=subprocess.PIPE) as exporter:
        exporter.wait_for_event("started")
        names = [f"key{number}" for number in range(2000)]
        document = {"source": {"k" * 1000: 1}, "log": dict.fromkeys(names, "x" * 400)}
        (tmp_path / "exporter.yaml").write_text(yaml.safe_dump(document))
        exporter.process.send_signal(signal.SIGHUP)
        exporter.wait_for_event("config_reload_rejected", problem="and 1951 more")
        assert len(exporter.events("config_reload_rejected")) <= 60
        assert_bounded(exporter)


def test_error_codes_and_messages_of_the_endpoint(tmp_path: Path) -> None:
    """A code that is no code is counted as `Other`, and a message is cut."""
    with cloudwatch_endpoint() as endpoint:
        text = json.dumps({"__type": "x" * 20_000, "message": "y" * 40_000})
        endpoint.answer = lambda handler: respond(handler, 400, text)
        cloudwatch = {"enabled": True, "flush_interval": "1s", "region": "us-east-1"}
        config = {
            "source": simulated(),
            "cloudwatch": {**cloudwatch, "endpoint_url": endpoint.url},
        }
        with running_exporter(tmp_path, config, environment=CREDENTIALS) as exporter:
            exporter.wait_for_event("delivery_failing", code="Other")
            assert exporter.value("neuron_exporter_sink_errors_total", code="Other")
            assert_bounded(exporter)


def test_answers_of_the_metadata_service(tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"x" * 60_000 + b"\r\n")

    with serving(Handler) as url:
        environment = {
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
        }
        config = {"source": simulated()}
        with running_exporter(tmp_path, config, environment=environment) as exporter:
            exporter.wait_for_event("identity_lookup", provider="imds")
            assert_bounded(exporter)
