"""Alerts on the exporter itself, over scrapes of exporters in various states."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint import cloudwatch_endpoint, reject
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.promtool import alerts_fired, alerts_firing, annotations, check, identifies
from tests.support.reloading import send_sighup
from tests.support.rule_frames import (
    STEP,
    Frame,
    Frames,
    reports,
    scrape,
    stdin_exporter,
    with_failed_scrapes,
)
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
SMALL = ("--instance-type", "inf2.xlarge", "--scenario", "training")
UP = "neuron_exporter_up"
SINK_UP = 'neuron_exporter_sink_up{sink="cloudwatch"}'
DROPPED = "neuron_exporter_sink_dropped_requests_total"
OLDEST = "neuron_exporter_spool_oldest_timestamp_seconds"
OVER_BUDGET = "neuron_exporter_cloudwatch_budget_dropped_metrics"
CONFIG = "neuron_exporter_config_last_reload_successful"
WEB_CONFIG = "neuron_exporter_web_config_last_reload_successful"
HARDWARE = "neuroncores_in_use"


# States. Each function returns consecutive scrapes, of which the last one shows the state.


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
            return [healthy, scrape_when(exporter, has_no_hardware)]

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


STATES: dict[str, Callable[[Path], list[Frame]]] = {
    "missing_program": missing_program,
    "crash": failing("crash"),
    "stall": failing("stall"),
    "paused": paused,
    "unauthorized": unauthorized,
    "rejected": rejected,
    "over_budget": over_budget,
    "config_rejected": config_rejected,
    "web_config_rejected": web_config_rejected,
}

EXPECTED: dict[str, Mapping[int, tuple[str, ...]]] = {
    "missing_program": {240: (), 600: ("NeuronSourceDown",)},
    "crash": {240: (), 660: ("NeuronSourceDown",)},
    "stall": {240: (), 660: ("NeuronSourceDown",)},
    "paused": {3540: (), 4080: ("NeuronSourcePaused",)},
    "unauthorized": {570: (), 1020: ("NeuronPublishFailing",)},
    "rejected": {-30: (), 60: ("NeuronPublishLoss",)},
    "over_budget": {870: (), 1260: ("NeuronOverBudget",)},
    "config_rejected": {870: (), 1260: ("NeuronConfigRefused",)},
    "web_config_rejected": {870: (), 1260: ("NeuronWebConfigRefused",)},
}
"""Alerts that fire at times in seconds after the onset of a state."""

BEFORE, AFTER = 20, 300
"""Frames before and after the onset of a state."""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Frame]]:
    """Return the scrapes of all states, which mostly wait and therefore run in parallel."""
    folders = {name: tmp_path_factory.mktemp(name) for name in STATES}
    with ThreadPoolExecutor(len(STATES)) as pool:
        futures = {name: pool.submit(run, folders[name]) for name, run in STATES.items()}
        return {name: future.result() for name, future in futures.items()}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Return the frames of a machine that trains."""
    with stdin_exporter(tmp_path_factory.mktemp("healthy")) as exporter:
        return exporter.feed(reports(BEFORE + AFTER, *SMALL[2:]))


def extend(state: Frame, machine: list[Frame]) -> list[Frame]:
    """Return frames of an exporter that stays in a state, with the hardware of `machine`.

    Repeating one scrape of the hardware would look like a hang.
    """
    if HARDWARE not in str(state):
        return [state] * len(machine)
    own = own_samples(state)
    return [dict(each.items() - own_samples(each).items()) | own for each in machine]


def own_samples(frame: Frame) -> Frame:
    """Return the samples of the exporter itself."""
    return {name: value for name, value in frame.items() if name.startswith("neuron_exporter_")}


@pytest.mark.parametrize("name", STATES)
def test_state_fires_its_alert(
    name: str, states: Mapping[str, list[Frame]], healthy: list[Frame], tmp_path: Path
) -> None:
    """The alert fires after its time and not before, even if scrapes fail, and no other does."""
    first, last = states[name][0], states[name][-1]
    faulty: Frames = extend(first, healthy[:BEFORE]) + extend(last, healthy[BEFORE:])
    failed = [BEFORE + 10, BEFORE + 30, BEFORE + 31, BEFORE + 200]
    onset = BEFORE * STEP if len(states[name]) > 1 else 0
    expectations = EXPECTED[name]
    names = list(expectations.values())[-1]
    for frames in (faulty, with_failed_scrapes(faulty, *failed)):
        expected = [alerts_firing(onset + after, *fire) for after, fire in expectations.items()]
        # A loss stays visible for an hour.
        ends = onset + 3500 if name == "rejected" else (len(faulty) - 1) * STEP
        expected += [alerts_firing(ends, *names), alerts_fired(ends, *names)]
        check(tmp_path, {"healthy:9415": healthy, "faulty:9415": frames}, *expected)
    (alert,) = names
    at = onset + list(expectations)[-1]
    assert identifies(annotations(tmp_path, {"faulty:9415": faulty}, alert, at), "faulty:9415")
    if len(states[name]) > 1 and name != "rejected":
        short = list(faulty)
        short[BEFORE + 6 :] = extend(first, healthy[BEFORE + 6 :])
        check(tmp_path, {"healthy:9415": healthy, "faulty:9415": short}, alerts_fired(4500))


# Machines and exporters that disappear


def test_exporter_down(healthy: list[Frame], tmp_path: Path) -> None:
    """The alert fires after five minutes without an answer, not after a restart of two minutes."""
    gone: Frames = [*healthy[:BEFORE], *[None] * 60]
    check(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": gone},
        alerts_fired(BEFORE * STEP + 270),
        alerts_firing(BEFORE * STEP + 360, "NeuronExporterDown"),
        alerts_fired((BEFORE + 59) * STEP, "NeuronExporterDown"),
    )
    back: Frames = [*healthy[:BEFORE], *[None] * 8, *healthy[:100]]
    check(tmp_path, {"healthy:9415": healthy, "faulty:9415": back}, alerts_fired(1800))


def with_instance_id(frames: list[Frame], instance_id: str) -> list[Frame]:
    """Return the frames as those of another machine."""
    current = next(
        name.partition('instance_id="')[2].partition('"')[0]
        for name in frames[-1]
        if "instance_id=" in name
    )
    return [
        {name.replace(current, instance_id): value for name, value in each.items()}
        for each in frames
    ]


def test_machine_vanished(healthy: list[Frame], tmp_path: Path) -> None:
    """The alert fires ten minutes after a busy machine disappears.

    It does not fire for a drained machine, nor if the exporter returns at another address.
    """
    other = with_instance_id(healthy, "i-other")
    vanished: Frames = [*other[:BEFORE], *[{}] * 80]
    check(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": vanished},
        alerts_fired(BEFORE * STEP + 540),
        alerts_firing(BEFORE * STEP + 690, "NeuronMachineVanished"),
        alerts_fired((BEFORE + 79) * STEP, "NeuronMachineVanished"),
    )
    with stdin_exporter(tmp_path) as exporter:
        idle = with_instance_id(exporter.feed(reports(BEFORE, "--scenario", "idle")), "i-idle")
    drained: Frames = [*idle, *[{}] * 80]
    check(tmp_path, {"healthy:9415": healthy, "faulty:9415": drained}, alerts_fired(1400))
    moved: Frames = [{}] * (BEFORE + 4) + other[:80]
    check(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": vanished, "moved:9415": moved},
        alerts_fired((BEFORE + 79) * STEP),
    )


def test_fleet_unseen(
    healthy: list[Frame], states: Mapping[str, list[Frame]], tmp_path: Path
) -> None:
    """The alert fires if fewer than half of the machines report, not if the fleet is empty."""
    gone: Frames = [*healthy[:BEFORE], *[None] * 60]
    failed_source: Frames = [*healthy[:BEFORE], *[states["crash"][-1]] * 60]
    fleet: dict[str, Frames] = {"a:9415": healthy, "b:9415": gone, "c:9415": failed_source}
    every = ("NeuronExporterDown", "NeuronFleetUnseen", "NeuronSourceDown")
    check(
        tmp_path,
        fleet,
        alerts_firing(BEFORE * STEP + 570, "NeuronExporterDown", "NeuronSourceDown"),
        alerts_firing(BEFORE * STEP + 890, *every),
    )
    check(
        tmp_path,
        {"b:9415": gone},
        alerts_firing(BEFORE * STEP + 890, "NeuronExporterDown", "NeuronFleetUnseen"),
    )
    with stdin_exporter(tmp_path) as exporter:
        idle = exporter.feed(reports(BEFORE, "--scenario", "idle"))
    check(tmp_path, {"b:9415": [*idle, *[{}] * 80]}, alerts_fired(1400))


# The spool

COARSE_STEP = 240
"""Interval of frames in seconds, so that a day has few of them."""


def test_backlog_of_a_day(states: Mapping[str, list[Frame]], tmp_path: Path) -> None:
    waiting = own_samples(states["unauthorized"][-1])
    assert waiting[OLDEST] > 0
    assert states["unauthorized"][0].get(OLDEST) == 0
    # promtool's clock starts at 0, so the request is as old as the frames.
    waiting[OLDEST] = 1.0
    check(
        tmp_path,
        {"faulty:9415": [waiting] * 400},
        alerts_fired(23 * 3600, "NeuronPublishFailing"),
        alerts_firing(25 * 3600, "NeuronPublishFailing", "NeuronSpoolFilling"),
        step=COARSE_STEP,
    )
