"""States of a running exporter that alerts are about, as scrapes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.children import child
from tests.support.endpoint import cloudwatch_endpoint, reject
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.reloading import send_sighup
from tests.support.rule_frames import Frame, scrape
from tests.support.waiting import wait_for

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
SMALL = ("--instance-type", "inf2.xlarge", "--scenario", "training")
UP = "neuron_exporter_up"
SINK_UP = 'neuron_exporter_sink_up{sink="cloudwatch"}'
DROPPED = "neuron_exporter_sink_dropped_requests_total"
OLDEST = 'neuron_exporter_spool_oldest_timestamp_seconds{sink="cloudwatch"}'
OVER_BUDGET = "neuron_exporter_cloudwatch_budget_dropped_metrics"
CONFIG = "neuron_exporter_config_last_reload_successful"
WEB_CONFIG = "neuron_exporter_web_config_last_reload_successful"
HARDWARE = "neuroncores_in_use"
RESTARTS = 'neuron_exporter_source_restarts_total{reason="exited"}'


def scrape_when(exporter: RunningExporter, condition: Callable[[Frame], bool]) -> Frame:
    """Scrape until one scrape fulfils the condition, and return that scrape."""

    def fulfilling() -> Frame | None:
        shown = scrape(exporter)
        return shown if condition(shown) else None

    return wait_for(fulfilling, every=0.2)


@contextmanager
def running(folder: Path, **sections: Any) -> Iterator[RunningExporter]:
    """Run an exporter on a small training machine, and wait for its first report."""
    config = {"source": simulated(*SMALL), **sections}
    if "cloudwatch" in sections:
        sections["cloudwatch"].setdefault("spool", {"path": str(folder / "spool.db")})
    with running_exporter(folder, config, environment=CREDENTIALS) as exporter:
        exporter.wait_for_value(UP, 1)
        yield exporter


def has_no_hardware(shown: Frame) -> bool:
    """Return whether the source is down and its last readings have ended."""
    return shown[UP] == 0 and HARDWARE not in str(shown)


def missing_program(folder: Path) -> list[Frame]:
    with running_exporter(folder, {"source": {"command": ["/nonexistent"]}}) as exporter:
        state = 'neuron_exporter_source_state{state="missing_program"}'
        return [scrape_when(exporter, lambda shown: shown.get(state) == 1)]


def no_driver(folder: Path) -> list[Frame]:
    """The driver has never answered on a machine that should have sixteen devices."""
    config = {
        "source": {"command": child("no-driver", "sleep=1", "again"), "period": "1s"},
        "identity": {"instance_type": "trn1.32xlarge", "imds": False},
    }
    with running_exporter(folder, config) as exporter:
        state = 'neuron_exporter_source_state{state="no_driver"}'
        return [scrape_when(exporter, lambda shown: shown.get(state) == 1)]


def failing(fault: str) -> Callable[[Path], list[Frame]]:
    """Return a state in which neuron-monitor reports and then fails for good."""

    def run(folder: Path) -> list[Frame]:
        # The second process fails before its first report.
        marker = folder / "started"
        first = " ".join([*simulated(*SMALL)["command"], "--faults", f"{fault}@4"])
        second = " ".join([*simulated(*SMALL)["command"], "--faults", f"{fault}@1"])
        program = folder / "monitor"
        program.write_text(
            f'#!/bin/sh\n[ -e {marker} ] && exec {second} "$@"\n: > {marker}\nexec {first} "$@"\n'
        )
        program.chmod(0o755)
        with running_exporter(
            folder, {"source": {"command": [str(program)], "period": "1s"}}
        ) as exporter:
            healthy = scrape_when(exporter, lambda shown: shown[UP] == 1)
            failed = scrape_when(exporter, has_no_hardware)
            # A loop of restarts is another state, and more or less of it fits before the scrape.
            return [healthy, {**failed, RESTARTS: healthy[RESTARTS]}]

    return run


def paused(folder: Path) -> list[Frame]:
    with running(folder) as exporter:
        healthy = scrape(exporter)
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        return [healthy, scrape_when(exporter, has_no_hardware)]


def cloudwatch(url: str, **settings: Any) -> dict[str, Any]:
    """Return a configuration of CloudWatch with windows of one second."""
    return {
        "enabled": True,
        "endpoint_url": url,
        "region": "us-east-1",
        "flush_interval": "1s",
        "dimension_sets": [["InstanceId"]],
        **settings,
    }


def unauthorized(folder: Path) -> list[Frame]:
    """CloudWatch delivers at first, and then denies access."""
    with (
        cloudwatch_endpoint() as endpoint,
        running(folder, cloudwatch=cloudwatch(endpoint.url)) as exporter,
    ):
        healthy = scrape_when(exporter, lambda shown: shown.get(SINK_UP) == 1)
        endpoint.answer = reject(403, "AccessDenied")
        failed = scrape_when(
            exporter, lambda shown: shown[SINK_UP] == 0 and shown.get(OLDEST, 0) > 0
        )
        return [healthy, failed]


def rejected(folder: Path) -> list[Frame]:
    """CloudWatch rejects some requests and accepts all later ones."""
    with (
        cloudwatch_endpoint() as endpoint,
        running(folder, cloudwatch=cloudwatch(endpoint.url)) as exporter,
    ):
        healthy = scrape_when(exporter, lambda shown: shown.get(SINK_UP) == 1)
        accept, endpoint.answer = endpoint.answer, reject(400, "InvalidParameterValue")
        scrape_when(exporter, lambda shown: DROPPED in str(shown) and shown[SINK_UP] == 0)
        endpoint.answer = accept
        recovered = scrape_when(
            exporter, lambda shown: DROPPED in str(shown) and shown[SINK_UP] == 1
        )
        return [healthy, recovered]


def over_budget(folder: Path) -> list[Frame]:
    """The budget allows three of ten metrics."""
    with (
        cloudwatch_endpoint() as endpoint,
        running(folder, cloudwatch=cloudwatch(endpoint.url, budget={"max_metrics": 3})) as exporter,
    ):
        return [
            scrape_when(
                exporter,
                lambda shown: shown.get(OVER_BUDGET, 0) > 0 and shown.get(SINK_UP) == 1,
            )
        ]


def config_rejected(folder: Path) -> list[Frame]:
    with running(folder) as exporter:
        healthy = scrape(exporter)
        (folder / "exporter.yaml").write_text("prometheus: {preset: everything}\n")
        send_sighup(exporter)
        return [healthy, scrape_when(exporter, lambda shown: shown[CONFIG] == 0)]


def web_config_rejected(folder: Path) -> list[Frame]:
    path = folder / "web.yml"
    path.write_text("{}\n")
    with running(folder, prometheus={"web_config_file": str(path)}) as exporter:
        healthy = scrape(exporter)
        path.write_text("tls_server_config: {cert_file: nowhere, key_file: nowhere}\n")
        return [healthy, scrape_when(exporter, lambda shown: shown[WEB_CONFIG] == 0)]


def spool_in_memory(folder: Path) -> list[Frame]:
    """CloudWatch accepts everything, and no file is configured for what it would not accept."""
    with (
        cloudwatch_endpoint() as endpoint,
        running(folder, cloudwatch=cloudwatch(endpoint.url, spool={"path": None})) as exporter,
    ):
        return [scrape_when(exporter, lambda shown: shown.get(SINK_UP) == 1)]


def crash_loop(folder: Path, restarts: int) -> list[Frame]:
    """Return scrapes between the crashes of a neuron-monitor that reports."""
    source = simulated(*SMALL, "--faults", "crash@2")
    with running_exporter(folder, {"source": source}) as exporter:
        return [
            scrape_when(
                exporter,
                lambda shown, count=number: shown[UP] == 1 and shown.get(RESTARTS, 0) >= count,  # type: ignore[misc]
            )
            for number in range(restarts)
        ]


STATES: dict[str, Callable[[Path], list[Frame]]] = {
    "missing_program": missing_program,
    "no_driver": no_driver,
    "crash": failing("crash"),
    "stall": failing("stall"),
    "paused": paused,
    "unauthorized": unauthorized,
    "rejected": rejected,
    "over_budget": over_budget,
    "config_rejected": config_rejected,
    "web_config_rejected": web_config_rejected,
    "spool_in_memory": spool_in_memory,
}
"""Functions that return consecutive scrapes, of which the last one shows the state."""


def own_samples(frame: Frame) -> Frame:
    """Return the samples of the exporter itself."""
    return {name: value for name, value in frame.items() if name.startswith("neuron_exporter_")}
