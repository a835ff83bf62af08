"""Exceptions raised inside a running exporter, and removed again: which part stops, what goes on,
and the exit status."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import exporter as exporter_process
from tests.support import metadata
from tests.support.children import child
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.exporter import running_exporter
from tests.support.faulty_exporter import FaultyExporter
from tests.support.fleet import CREDENTIALS
from tests.support.injected_fault import InjectedFault
from tests.support.processes import alive, children_of
from tests.support.waiting import wait_for

Plant = Callable[..., Any]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Return a context manager that starts an exporter with an inactive fault in one place."""

    @contextmanager
    def start(
        place: str, error: type[BaseException] = RuntimeError, **prometheus: str
    ) -> Iterator[FaultyExporter]:
        fault = InjectedFault(tmp_path, place, error)
        monkeypatch.setattr(exporter_process, "EXPORTER", fault.command)
        with cloudwatch_endpoint() as endpoint:
            cloudwatch = {
                "enabled": True,
                "endpoint_url": endpoint.url,
                "region": "us-east-1",
                "dimension_sets": [["InstanceId"]],
                "flush_interval": "1s",
            }
            with running_exporter(
                tmp_path,
                {
                    "source": {"kind": "stdin"},
                    "prometheus": prometheus,
                    "cloudwatch": cloudwatch,
                },
                stdin=subprocess.PIPE,
                environment=CREDENTIALS,
            ) as exporter:
                faulty = FaultyExporter(exporter, fault, endpoint)
                faulty.show()
                yield faulty

    return start


def test_failing_scrape(planted: Plant) -> None:
    """Prometheus gets status 500 for that scrape; CloudWatch gets everything."""
    with planted("neuron_exporter.sinks.prometheus:PrometheusSink.expose_parts") as faulty:
        faulty.fault.enable()
        assert faulty.exporter.get("/metrics") == (500, "internal error\n")
        faulty.deliver()
        assert faulty.is_healthy()
        faulty.exporter.wait_for_event("route_failed", path="/metrics")
        faulty.fault.disable()
        faulty.show()
        assert faulty.end() == 0
        assert faulty.delivered == faulty.fed
        assert faulty.logged_events_only()


def test_failing_prometheus_sink(planted: Plant) -> None:
    """The failure is counted for that sink and affects neither the reader nor the other sink."""
    with planted("neuron_exporter.sinks.prometheus:PrometheusSink.offer") as faulty:
        faulty.fault.enable()
        faulty.deliver()
        assert faulty.errors("prometheus") == 1
        assert faulty.errors("cloudwatch") == 0
        events = faulty.exporter.events("sink_failed")
        assert [event["sink"] for event in events] == ["prometheus"]
        faulty.fault.disable()
        faulty.show()
        assert faulty.is_healthy()
        assert faulty.end() == 0
        assert faulty.delivered == faulty.fed


def test_failing_cloudwatch_sink(planted: Plant) -> None:
    """Prometheus shows every report; counters catch up with the next report the sink accepts."""
    with planted(
        "neuron_exporter.sinks.cloudwatch.sink:CloudWatchSink.offer", MemoryError
    ) as faulty:
        faulty.fault.enable()
        faulty.show()
        assert faulty.errors("cloudwatch", "MemoryError") == 1
        assert faulty.errors("prometheus", "MemoryError") == 0
        faulty.fault.disable()
        faulty.deliver()
        assert faulty.is_healthy()
        assert faulty.end() == 0
        assert faulty.delivered == faulty.fed


@pytest.mark.parametrize(
    "place",
    [
        "neuron_exporter.sinks.cloudwatch.window:Windows.take",
        "neuron_exporter.sinks.cloudwatch.put_metric_data:PutMetricDataTransport.send",
    ],
)
def test_failing_cloudwatch_cycle(planted: Plant, place: str) -> None:
    """The sink reports itself down with the reason and delivers everything once it recovers."""
    with planted(place) as faulty:
        faulty.deliver()
        faulty.exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        faulty.fault.enable()
        faulty.exporter.wait_for_value("neuron_exporter_sink_up", 0, sink="cloudwatch")
        faulty.show()
        assert faulty.errors("cloudwatch") >= 1
        events = faulty.exporter.wait_for_event("delivery_failing", code="RuntimeError")
        assert events["message"] == "internal error: planted"
        assert faulty.is_healthy()
        faulty.fault.disable()
        faulty.exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        assert faulty.end() == 0
        assert faulty.delivered == faulty.fed


def test_window_that_cannot_become_requests(planted: Plant) -> None:
    """The window is dropped and counted, since it would fail again; later windows are delivered."""
    with planted("neuron_exporter.sinks.cloudwatch.sink:collect_metrics") as faulty:

        def dropped() -> float:
            name = "neuron_exporter_sink_dropped_requests_total"
            labels = {"sink": "cloudwatch", "reason": "internal_error"}
            return faulty.exporter.value(name, **labels) or 0.0

        faulty.fault.enable()
        faulty.show()
        before = dropped()
        wait_for(lambda: dropped() >= before + 2)  # the second one closed after the report
        faulty.fault.disable()
        faulty.show()
        assert faulty.is_healthy()
        assert faulty.end() == 0
        assert 1 <= faulty.delivered < faulty.fed


def test_cloudwatch_thread_that_ends(planted: Plant) -> None:
    """sink_up stays 0 and the log says so; everything else goes on."""
    with planted(
        "neuron_exporter.sinks.cloudwatch.sink:CloudWatchSink._cycle", SystemExit
    ) as faulty:
        faulty.fault.enable()
        faulty.exporter.wait_for_event("thread_died", thread="cloudwatch")
        faulty.fault.disable()
        faulty.show()
        assert faulty.exporter.value("neuron_exporter_sink_up", sink="cloudwatch") == 0
        assert faulty.is_healthy()
        assert faulty.end() == 0
        assert faulty.logged_events_only()


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_http_worker_that_ends(planted: Plant, error: type[BaseException]) -> None:
    """Only its connection is lost; its slot is free again, however many workers end."""
    with planted("neuron_exporter.web.handler:Handler.do_GET", error) as faulty:
        port = faulty.exporter.port
        faulty.fault.enable()
        for _ in range(40):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/metrics")
            with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
                connection.getresponse()
            connection.close()
        faulty.deliver()
        faulty.fault.disable()
        faulty.show()
        assert faulty.is_healthy()
        if error is SystemExit:
            faulty.exporter.wait_for_event("thread_died", thread="http-worker")
        else:
            faulty.exporter.wait_for_event("connection_failed")
        assert faulty.end() == 0
        assert faulty.delivered == faulty.fed
        assert faulty.logged_events_only()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("pipeline.processor:decode", RuntimeError),
        ("pipeline.processor:decode", SystemExit),
        ("metrics.collector:Collector.collect", MemoryError),
    ],
)
def test_reader_that_ends(planted: Plant, place: str, error: type[BaseException]) -> None:
    """The exporter exits with 1, so that its supervisor acts; gathered windows are sent before."""
    with planted(f"neuron_exporter.{place}", error) as faulty:
        faulty.show()
        faulty.fault.enable()
        faulty.feed()
        faulty.exporter.wait_for_event("thread_died", thread="reader")
        assert faulty.exporter.wait() == 1
        assert faulty.delivered == faulty.fed - 1
        assert faulty.exporter.events("stopped")
        assert faulty.logged_events_only()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("server:Server._accept", RuntimeError),
        ("server:Server._accept", SystemExit),
        ("connections:Connections.sweep", MemoryError),
    ],
)
def test_http_server_that_ends(planted: Plant, place: str, error: type[BaseException]) -> None:
    """The exporter exits with 1 and does not run on without its endpoints."""
    with planted(f"neuron_exporter.web.{place}", error) as faulty:
        faulty.feed()
        port = faulty.exporter.port
        faulty.fault.enable()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()  # a connection wakes the thread
        connection.close()
        faulty.exporter.wait_for_event("thread_died", thread="http")
        assert faulty.exporter.wait() == 1
        assert faulty.delivered == faulty.fed
        assert faulty.logged_events_only()


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_main_thread_that_fails(tmp_path: Path, planted: Plant, error: type[BaseException]) -> None:
    """The exporter stops in the usual order and exits with 1."""
    (tmp_path / "web.yml").write_text("{}")
    place = "neuron_exporter.web.config_file:WebConfigFile.refresh"
    with planted(place, error, web_config_file=str(tmp_path / "web.yml")) as faulty:
        faulty.feed()
        faulty.fault.enable()
        faulty.exporter.wait_for_event("thread_died", thread="main")
        assert faulty.exporter.wait() == 1
        assert faulty.delivered == faulty.fed
        assert faulty.logged_events_only()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("source.watchdog:Watchdog.check", RuntimeError),
        ("source.watchdog:Watchdog.check", SystemExit),
        ("source.neuron_monitor:Stream.read_available", MemoryError),
    ],
)
def test_reader_that_ends_leaves_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: type[BaseException]
) -> None:
    """The reader supervises the child: when it fails, the child is ended too."""
    fault = InjectedFault(tmp_path, f"neuron_exporter.{place}", error)
    monkeypatch.setattr(exporter_process, "EXPORTER", fault.command)
    source = {"command": child("report", "sleep=0.1", "again"), "period": "1s"}
    with running_exporter(tmp_path, {"source": source}) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        (pid,) = children_of(exporter.process.pid)
        fault.enable()
        exporter.wait_for_event("thread_died", thread="reader")
        assert exporter.wait() == 1
        assert not alive(pid)
        assert len(exporter.raw_log) == len(exporter.log)


def test_stderr_thread_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports go on until the child blocks on its full stderr; then the child is replaced."""
    fault = InjectedFault(
        tmp_path, "neuron_exporter.pipeline.processor:ReportProcessor.on_stderr", RuntimeError
    )
    monkeypatch.setattr(exporter_process, "EXPORTER", fault.command)
    steps = ("stderr=hello", "report", "sleep=0.1", "again")
    with running_exporter(
        tmp_path, {"source": {"command": child(*steps), "period": "1s"}}
    ) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        fault.enable()
        exporter.wait_for_event("thread_died", thread="stderr", error="RuntimeError('planted')")
        read = exporter.value("neuron_exporter_reports_total") or 0
        wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) > read + 2)
        assert exporter.get("/healthz")[0] == 200
        assert exporter.stop() == 0
        assert len(exporter.raw_log) == len(exporter.log)


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_identity_thread_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Fields unknown by then stay unknown, and nothing waits for them."""
    fault = InjectedFault(
        tmp_path, "neuron_exporter.identity.resolver:IdentityResolver._run_round", error
    )
    fault.enable()
    monkeypatch.setattr(exporter_process, "EXPORTER", fault.command)
    with (
        metadata.ecs() as agent,
        running_exporter(
            tmp_path,
            {
                "source": {"command": child("report", "sleep=0.1", "again"), "period": "1s"},
                "cloudwatch": {"enabled": True, "dimension_sets": [["ClusterName"]]},
            },
            environment={**CREDENTIALS, "ECS_CONTAINER_METADATA_URI_V4": agent.url},
        ) as exporter,
    ):
        exporter.wait_for_event("thread_died", thread="identity")
        wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) > 2)
        assert exporter.get("/healthz")[0] == 200
        assert exporter.stop() == 0
        assert len(exporter.raw_log) == len(exporter.log)
