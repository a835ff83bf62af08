"""An exception in any part: what dies, what goes on, and with which status it ends.

Exceptions are planted in a real process, while it runs, and taken out again.
"""

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
from tests.support.children import LINE, child
from tests.support.endpoint import Endpoint, cloudwatch_endpoint
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.planted import Planted
from tests.support.processes import alive, children_of
from tests.support.waiting import wait_for

EXECUTIONS_IN_A_LINE = 3
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Patient:
    """An exporter that is fed by hand, the place of its fault, and where its windows go."""

    def __init__(self, exporter: RunningExporter, fault: Planted, endpoint: Endpoint) -> None:
        self.exporter = exporter
        self.fault = fault
        self.endpoint = endpoint
        self.fed = 0

    def feed(self) -> None:
        """Give it a report."""
        assert self.exporter.process.stdin is not None
        self.exporter.process.stdin.write(LINE)
        self.exporter.process.stdin.flush()
        self.fed += 1

    def end(self) -> int:
        """End its input; gives its status."""
        assert self.exporter.process.stdin is not None
        self.exporter.process.stdin.close()
        return self.exporter.wait()

    @property
    def delivered(self) -> float:
        """The reports whose executions CloudWatch was told of."""
        return self.endpoint.total("ExecutionsCompleted") / EXECUTIONS_IN_A_LINE

    def deliver(self) -> None:
        """Feed a report, and wait until CloudWatch was told of all so far."""
        self.feed()
        wait_for(lambda: self.delivered == self.fed)

    def show(self) -> None:
        """Feed a report, and wait until a scrape tells of all so far."""
        self.feed()
        self.exporter.wait_for_value(
            "neuron_executions_total", self.fed * EXECUTIONS_IN_A_LINE, status_type="completed"
        )

    def errors(self, sink: str, code: str = "RuntimeError") -> float:
        """How often a sink failed with this code."""
        return self.exporter.value("neuron_exporter_sink_errors_total", sink=sink, code=code) or 0

    def is_well(self) -> bool:
        """Whether every thread that it cannot do without lives."""
        return self.exporter.get("/healthz")[0] == 200

    def without_traceback(self) -> bool:
        """Whether everything that it said is an event."""
        return len(self.exporter.raw_log) == len(self.exporter.log)


Plant = Callable[..., Any]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Starts exporters with a fault in one place, which has not come yet."""

    @contextmanager
    def start(
        place: str, error: type[BaseException] = RuntimeError, **prometheus: str
    ) -> Iterator[Patient]:
        fault = Planted(tmp_path, place, error)
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
                patient = Patient(exporter, fault, endpoint)
                patient.show()
                yield patient

    return start


def test_a_scrape_that_fails_costs_that_scrape(planted: Plant) -> None:
    """It is answered with 500, which Prometheus shows as up 0; CloudWatch gets everything."""
    with planted("neuron_exporter.sinks.prometheus:PrometheusSink.expose") as patient:
        patient.fault.come()
        assert patient.exporter.get("/metrics") == (500, "internal error\n")
        patient.deliver()
        assert patient.is_well()
        patient.exporter.wait_for_event("route_failed", path="/metrics")
        patient.fault.go()
        patient.show()
        assert patient.end() == 0
        assert patient.delivered == patient.fed
        assert patient.without_traceback()


def test_what_prometheus_cannot_take_cloudwatch_gets(planted: Plant) -> None:
    """A failing hand-over is counted under its sink, and costs neither the reader nor the other."""
    with planted("neuron_exporter.sinks.prometheus:PrometheusSink.offer") as patient:
        patient.fault.come()
        patient.deliver()
        assert patient.errors("prometheus") == 1
        assert patient.errors("cloudwatch") == 0
        said = patient.exporter.events("sink_failed")
        assert [event["sink"] for event in said] == ["prometheus"]
        patient.fault.go()
        patient.show()
        assert patient.is_well()
        assert patient.end() == 0
        assert patient.delivered == patient.fed


def test_what_cloudwatch_cannot_take_prometheus_shows(planted: Plant) -> None:
    """The same the other way round; counters catch up with the next report that is taken."""
    with planted(
        "neuron_exporter.sinks.cloudwatch.sink:CloudWatchSink.offer", MemoryError
    ) as patient:
        patient.fault.come()
        patient.show()
        assert patient.errors("cloudwatch", "MemoryError") == 1
        assert patient.errors("prometheus", "MemoryError") == 0
        patient.fault.go()
        patient.deliver()
        assert patient.is_well()
        assert patient.end() == 0
        assert patient.delivered == patient.fed


@pytest.mark.parametrize(
    "place",
    [
        "neuron_exporter.sinks.cloudwatch.window:Windows.take",
        "neuron_exporter.sinks.cloudwatch.put_metric_data:Api.send",
    ],
)
def test_a_cycle_of_cloudwatch_that_fails_is_tried_again(planted: Plant, place: str) -> None:
    """The sink is down and says why; Prometheus goes on; later everything is delivered."""
    with planted(place) as patient:
        patient.deliver()
        patient.exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        patient.fault.come()
        patient.exporter.wait_for_value("neuron_exporter_sink_up", 0, sink="cloudwatch")
        patient.show()
        assert patient.errors("cloudwatch") >= 1
        said = patient.exporter.wait_for_event("not_delivering", code="RuntimeError")
        assert said["message"] == "internal error: planted"
        assert patient.is_well()
        patient.fault.go()
        patient.exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        assert patient.end() == 0
        assert patient.delivered == patient.fed


def test_a_window_that_cannot_be_made_into_requests_is_given_up_and_counted(planted: Plant) -> None:
    """It would fail again; the windows after it are delivered."""
    with planted("neuron_exporter.sinks.cloudwatch.sink:measure") as patient:

        def dropped() -> float | None:
            return patient.exporter.value(
                "neuron_exporter_sink_dropped_requests_total",
                sink="cloudwatch",
                reason="internal_error",
            )

        patient.fault.come()
        wait_for(dropped)
        patient.fault.go()
        patient.show()
        assert patient.is_well()
        assert patient.end() == 0
        assert 1 <= patient.delivered < patient.fed


def test_the_death_of_cloudwatchs_thread_costs_cloudwatch_alone(planted: Plant) -> None:
    """What no cycle may catch ends the thread: sink_up stays 0, the log tells what is lost."""
    with planted(
        "neuron_exporter.sinks.cloudwatch.sink:CloudWatchSink._cycle", SystemExit
    ) as patient:
        patient.fault.come()
        patient.exporter.wait_for_event("thread_died", thread="cloudwatch")
        patient.fault.go()
        patient.show()
        assert patient.exporter.value("neuron_exporter_sink_up", sink="cloudwatch") == 0
        assert patient.is_well()
        assert patient.end() == 0
        assert patient.without_traceback()


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_worker_that_dies_costs_its_connection(
    planted: Plant, error: type[BaseException]
) -> None:
    """Its place is given back, however many die."""
    with planted("neuron_exporter.web.handler:Handler.do_GET", error) as patient:
        port = patient.exporter.port
        patient.fault.come()
        for _ in range(40):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/metrics")
            with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
                connection.getresponse()
            connection.close()
        patient.deliver()
        patient.fault.go()
        patient.show()
        assert patient.is_well()
        if error is SystemExit:
            patient.exporter.wait_for_event("thread_died", thread="http-worker")
        else:
            patient.exporter.wait_for_event("connection_failed")
        assert patient.end() == 0
        assert patient.delivered == patient.fed
        assert patient.without_traceback()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("intake:decode", RuntimeError),
        ("intake:decode", SystemExit),
        ("metrics.collect:Collector.collect", MemoryError),
    ],
)
def test_the_death_of_the_reader_ends_it(
    planted: Plant, place: str, error: type[BaseException]
) -> None:
    """Status 1, so that whoever supervises it acts; what was gathered is delivered before."""
    with planted(f"exporter.{place}", error) as patient:
        patient.show()
        patient.fault.come()
        patient.feed()
        patient.exporter.wait_for_event("thread_died", thread="reader")
        assert patient.exporter.wait() == 1
        assert patient.delivered == patient.fed - 1
        assert patient.exporter.events("stopped")
        assert patient.without_traceback()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("server:Server._accept", RuntimeError),
        ("server:Server._accept", SystemExit),
        ("connections:Connections.sweep", MemoryError),
    ],
)
def test_the_death_of_http_ends_it(planted: Plant, place: str, error: type[BaseException]) -> None:
    """An exporter that nobody can scrape or ask does not pretend to be well."""
    with planted(f"neuron_exporter.web.{place}", error) as patient:
        patient.feed()
        port = patient.exporter.port
        patient.fault.come()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.connect()  # who knocks wakes the thread
        connection.close()
        patient.exporter.wait_for_event("thread_died", thread="http")
        assert patient.exporter.wait() == 1
        assert patient.delivered == patient.fed
        assert patient.without_traceback()


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_the_death_of_the_main_thread_ends_it(
    tmp_path: Path, planted: Plant, error: type[BaseException]
) -> None:
    """It stops in order all the same."""
    (tmp_path / "web.yml").write_text("{}")
    place = "neuron_exporter.web.config_file:WebConfigFile.refresh"
    with planted(place, error, web_config_file=str(tmp_path / "web.yml")) as patient:
        patient.feed()
        patient.fault.come()
        patient.exporter.wait_for_event("thread_died", thread="main")
        assert patient.exporter.wait() == 1
        assert patient.delivered == patient.fed
        assert patient.without_traceback()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("source.watchdog:Watchdog.complaint", RuntimeError),
        ("source.watchdog:Watchdog.complaint", SystemExit),
        ("source.neuron_monitor:Stream.pump", MemoryError),
    ],
)
def test_a_reader_that_dies_leaves_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: type[BaseException]
) -> None:
    """What supervises the child runs in the reader: status 1, and the child ends with it."""
    fault = Planted(tmp_path, f"exporter.{place}", error)
    monkeypatch.setattr(exporter_process, "EXPORTER", fault.command)
    source = {"command": child("report", "sleep=0.1", "again"), "period": "1s"}
    with running_exporter(tmp_path, {"source": source}) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        (pid,) = children_of(exporter.process.pid)
        fault.come()
        exporter.wait_for_event("thread_died", thread="reader")
        assert exporter.wait() == 1
        assert not alive(pid)
        assert len(exporter.raw_log) == len(exporter.log)


def test_who_drains_standard_error_may_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports go on until the child blocks on what nobody reads; then it is replaced."""
    fault = Planted(tmp_path, "neuron_exporter.pipeline.processor:Intake.stderr", RuntimeError)
    monkeypatch.setattr(exporter_process, "EXPORTER", fault.command)
    steps = ("stderr=hello", "report", "sleep=0.1", "again")
    with running_exporter(
        tmp_path, {"source": {"command": child(*steps), "period": "1s"}}
    ) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        fault.come()
        exporter.wait_for_event("thread_died", thread="stderr", error="RuntimeError('planted')")
        read = exporter.value("neuron_exporter_reports_total") or 0
        wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) > read + 2)
        assert exporter.get("/healthz")[0] == 200
        assert exporter.stop() == 0
        assert len(exporter.raw_log) == len(exporter.log)


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_who_asks_for_the_identity_may_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """What was not found out by then stays unknown; nobody waits for it."""
    fault = Planted(tmp_path, "neuron_exporter.identity.resolver:Finder._ask_round", error)
    fault.come()
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
