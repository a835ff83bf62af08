"""The alerts on the exporter itself, over what exporters show that were brought into its states."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint import cloudwatch_endpoint, refuse
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.promtool import alerts_fired, alerts_firing, annotations, check, is_told
from tests.support.reloading import hang_up
from tests.support.rule_frames import STEP, Frame, Frames, fed, reports, scraped, without
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
SMALL = ("--instance-type", "inf2.xlarge", "--scenario", "training")
UP = "neuron_exporter_up"
OLDEST = "neuron_exporter_spool_oldest_timestamp_seconds"
HARDWARE = "neuroncores_in_use"


# How it gets into a state. Each gives scrapes in their order; the last is how it stays.


@contextmanager
def running(folder: Path, **sections: Any) -> Iterator[RunningExporter]:
    """A small machine that trains, and one scrape of which had values."""
    config = {"source": simulated(*SMALL), **sections}
    with running_exporter(folder, config, environment=CREDENTIALS) as exporter:
        exporter.wait_for_value(UP, 1)
        yield exporter


def without_hardware(exporter: RunningExporter) -> Frame:
    """The first scrape of a source that is down in which no reading is left."""

    def found() -> Frame | None:
        shown = scraped(exporter)
        return shown if shown[UP] == 0 and HARDWARE not in str(shown) else None

    return wait_for(found, seconds=40, every=0.5)


def missing_program(folder: Path) -> list[Frame]:
    """neuron-monitor is not installed."""
    with running_exporter(folder, {"source": {"command": ["/nonexistent"]}}) as exporter:
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        return [scraped(exporter)]


def dead(fault: str) -> Callable[[Path], list[Frame]]:
    """neuron-monitor reports, and then no more."""

    def run(folder: Path) -> list[Frame]:
        # The second life ends, or hangs, before its first report.
        marker = folder / "lived"
        first = " ".join([*simulated(*SMALL)["command"], "--faults", f"{fault}@4"])
        then = " ".join([*simulated(*SMALL)["command"], "--faults", f"{fault}@1"])
        program = folder / "monitor"
        program.write_text(
            f'#!/bin/sh\n[ -e {marker} ] && exec {then} "$@"\n: > {marker}\nexec {first} "$@"\n'
        )
        program.chmod(0o755)
        with running_exporter(
            folder, {"source": {"command": [str(program)], "period": "1s"}}
        ) as exporter:
            exporter.wait_for_value(UP, 1)
            healthy = scraped(exporter)
            return [healthy, without_hardware(exporter)]

    return run


def paused(folder: Path) -> list[Frame]:
    """Somebody lets go of the devices."""
    with running(folder) as exporter:
        healthy = scraped(exporter)
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        return [healthy, without_hardware(exporter)]


def cloudwatch(url: str, **settings: Any) -> dict[str, Any]:
    """CloudWatch switched on, with windows of a second."""
    return {
        "enabled": True,
        "endpoint_url": url,
        "region": "us-east-1",
        "flush_interval": "1s",
        "dimension_sets": [["InstanceId"]],
        **settings,
    }


def unauthorized(folder: Path) -> list[Frame]:
    """CloudWatch delivers, and then refuses whoever asks."""
    with (
        cloudwatch_endpoint() as endpoint,
        running(folder, cloudwatch=cloudwatch(endpoint.url)) as exporter,
    ):
        exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        healthy = scraped(exporter)
        endpoint.answer = refuse(403, "AccessDenied")
        exporter.wait_for_value("neuron_exporter_sink_up", 0, sink="cloudwatch")
        wait_for(lambda: exporter.value(OLDEST))
        return [healthy, scraped(exporter)]


def refused(folder: Path) -> list[Frame]:
    """CloudWatch refuses what it is sent, once, and takes everything else."""
    with (
        cloudwatch_endpoint() as endpoint,
        running(folder, cloudwatch=cloudwatch(endpoint.url)) as exporter,
    ):
        exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        healthy = scraped(exporter)
        accept, endpoint.answer = endpoint.answer, refuse(400, "InvalidParameterValue")
        wait_for(lambda: "neuron_exporter_sink_dropped_requests_total" in str(scraped(exporter)))
        endpoint.answer = accept
        exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        return [healthy, scraped(exporter)]


def over_budget(folder: Path) -> list[Frame]:
    """Ten metrics, of which three may be published."""
    with (
        cloudwatch_endpoint() as endpoint,
        running(folder, cloudwatch=cloudwatch(endpoint.url, budget={"max_metrics": 3})) as exporter,
    ):
        wait_for(lambda: exporter.value("neuron_exporter_cloudwatch_budget_dropped_metrics"))
        exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        return [scraped(exporter)]


def config_refused(folder: Path) -> list[Frame]:
    """A configuration with a mistake in it."""
    with running(folder) as exporter:
        healthy = scraped(exporter)
        (folder / "exporter.yaml").write_text("prometheus: {preset: everything}\n")
        hang_up(exporter)
        exporter.wait_for_value("neuron_exporter_config_last_reload_successful", 0)
        return [healthy, scraped(exporter)]


def web_config_refused(folder: Path) -> list[Frame]:
    """A web configuration that cannot be used any more."""
    path = folder / "web.yml"
    path.write_text("{}\n")
    with running(folder, prometheus={"web_config_file": str(path)}) as exporter:
        healthy = scraped(exporter)
        path.write_text("tls_server_config: {cert_file: nowhere, key_file: nowhere}\n")
        exporter.wait_for_value("neuron_exporter_web_config_last_reload_successful", 0)
        return [healthy, scraped(exporter)]


STATES: dict[str, Callable[[Path], list[Frame]]] = {
    "missing_program": missing_program,
    "crash": dead("crash"),
    "stall": dead("stall"),
    "paused": paused,
    "unauthorized": unauthorized,
    "refused": refused,
    "over_budget": over_budget,
    "config_refused": config_refused,
    "web_config_refused": web_config_refused,
}

EXPECTED: dict[str, Mapping[int, tuple[str, ...]]] = {
    "missing_program": {240: (), 600: ("NeuronSourceDown",)},
    "crash": {240: (), 660: ("NeuronSourceDown",)},
    "stall": {240: (), 660: ("NeuronSourceDown",)},
    "paused": {3540: (), 4080: ("NeuronSourcePaused",)},
    "unauthorized": {570: (), 1020: ("NeuronPublishFailing",)},
    "refused": {-30: (), 60: ("NeuronPublishLoss",)},
    "over_budget": {870: (), 1260: ("NeuronOverBudget",)},
    "config_refused": {870: (), 1260: ("NeuronConfigRefused",)},
    "web_config_refused": {870: (), 1260: ("NeuronWebConfigRefused",)},
}
"""Which alerts fire so many seconds after a state began."""

BEFORE, AFTER = 20, 300
"""Frames before a state begins, and with it."""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Frame]]:
    """Every exporter in its state. They wait most of the time, and so do it at once."""
    folders = {name: tmp_path_factory.mktemp(name) for name in STATES}
    with ThreadPoolExecutor(len(STATES)) as pool:
        made = {name: pool.submit(run, folders[name]) for name, run in STATES.items()}
        return {name: future.result() for name, future in made.items()}


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """A machine that trains."""
    with fed(tmp_path_factory.mktemp("well")) as exporter:
        return exporter.feed(reports(BEFORE + AFTER, *SMALL[2:]))


def lasting(state: Frame, well: list[Frame]) -> list[Frame]:
    """A state that goes on, while the machine does what the other does: a scrape that is repeated
    would be one of cores that hang."""
    if HARDWARE not in str(state):
        return [state] * len(well)
    own = {name: value for name, value in state.items() if name.startswith("neuron_exporter_")}
    return [
        {name: value for name, value in each.items() if not name.startswith("neuron_exporter_")}
        | own
        for each in well
    ]


@pytest.mark.parametrize("name", STATES)
def test_a_state_fires_its_alert_in_its_time(
    name: str, states: Mapping[str, list[Frame]], well: list[Frame], tmp_path: Path
) -> None:
    """It fires after its time and not before, no other does, and none on the machine that is well;
    also where scrapes are missed, some of them in a row."""
    first, last = states[name][0], states[name][-1]
    ill: Frames = lasting(first, well[:BEFORE]) + lasting(last, well[BEFORE:])
    missed = [BEFORE + 10, BEFORE + 30, BEFORE + 31, BEFORE + 200]
    begins = BEFORE * STEP if len(states[name]) > 1 else 0
    when = EXPECTED[name]
    names = list(when.values())[-1]
    for frames in (ill, without(ill, *missed)):
        expected = [alerts_firing(begins + after, *fire) for after, fire in when.items()]
        # What is lost is seen for an hour.
        ends = begins + 3500 if name == "refused" else (len(ill) - 1) * STEP
        expected += [alerts_firing(ends, *names), alerts_fired(ends, *names)]
        check(tmp_path, {"well:9415": well, "ill:9415": frames}, *expected)
    (alert,) = names
    at = begins + list(when)[-1]
    assert is_told(annotations(tmp_path, {"ill:9415": ill}, alert, at), "ill:9415")
    if len(states[name]) > 1 and name != "refused":
        short = list(ill)
        short[BEFORE + 6 :] = lasting(first, well[BEFORE + 6 :])
        check(tmp_path, {"well:9415": well, "ill:9415": short}, alerts_fired(4500))


# Machines and exporters that go


def test_an_exporter_that_does_not_answer_is_told(well: list[Frame], tmp_path: Path) -> None:
    """After five minutes, while the target is there; not after a restart of two minutes."""
    gone: Frames = [*well[:BEFORE], *[None] * 60]
    check(
        tmp_path,
        {"well:9415": well, "ill:9415": gone},
        alerts_fired(BEFORE * STEP + 270),
        alerts_firing(BEFORE * STEP + 360, "NeuronExporterDown"),
        alerts_fired((BEFORE + 59) * STEP, "NeuronExporterDown"),
    )
    back: Frames = [*well[:BEFORE], *[None] * 8, *well[:100]]
    check(tmp_path, {"well:9415": well, "ill:9415": back}, alerts_fired(1800))


def renamed(frames: list[Frame], instance_id: str) -> list[Frame]:
    """The same of another machine."""
    own = next(
        name.partition('instance_id="')[2].partition('"')[0]
        for name in frames[-1]
        if "instance_id=" in name
    )
    return [
        {name.replace(own, instance_id): value for name, value in each.items()} for each in frames
    ]


def test_a_machine_that_is_gone_is_told_if_it_was_at_work(
    well: list[Frame], tmp_path: Path
) -> None:
    """One that vanishes while its cores are busy is told after ten minutes; one that was drained
    before is not, nor one whose exporter came back at another address."""
    other = renamed(well, "i-other")
    vanished: Frames = [*other[:BEFORE], *[{}] * 80]
    check(
        tmp_path,
        {"well:9415": well, "ill:9415": vanished},
        alerts_fired(BEFORE * STEP + 540),
        alerts_firing(BEFORE * STEP + 690, "NeuronMachineVanished"),
        alerts_fired((BEFORE + 79) * STEP, "NeuronMachineVanished"),
    )
    with fed(tmp_path) as exporter:
        idle = renamed(exporter.feed(reports(BEFORE, "--scenario", "idle")), "i-idle")
    drained: Frames = [*idle, *[{}] * 80]
    check(tmp_path, {"well:9415": well, "ill:9415": drained}, alerts_fired(1400))
    moved: Frames = [{}] * (BEFORE + 4) + other[:80]
    check(
        tmp_path,
        {"well:9415": well, "ill:9415": vanished, "moved:9415": moved},
        alerts_fired((BEFORE + 79) * STEP),
    )


def test_a_fleet_that_nobody_sees_wakes_somebody(
    well: list[Frame], states: Mapping[str, list[Frame]], tmp_path: Path
) -> None:
    """Where fewer than half of the machines report, since exporters or sources are gone; where no
    machine is wanted, nobody is missed."""
    gone: Frames = [*well[:BEFORE], *[None] * 60]
    dead_source: Frames = [*well[:BEFORE], *[states["crash"][-1]] * 60]
    fleet: dict[str, Frames] = {"a:9415": well, "b:9415": gone, "c:9415": dead_source}
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
    with fed(tmp_path) as exporter:
        idle = exporter.feed(reports(BEFORE, "--scenario", "idle"))
    check(tmp_path, {"b:9415": [*idle, *[{}] * 80]}, alerts_fired(1400))


# The spool

COARSE = 240
"""Seconds from one frame to the next: a day in few of them."""


def test_what_waits_for_a_day_is_told(states: Mapping[str, list[Frame]], tmp_path: Path) -> None:
    """The spool's oldest request is a day old while nothing was delivered."""
    last = states["unauthorized"][-1]
    waiting = {name: value for name, value in last.items() if name.startswith("neuron_exporter_")}
    assert waiting[OLDEST] > 0
    assert states["unauthorized"][0].get(OLDEST) == 0
    # promtool's clock begins at 0: the request is as old as the frames.
    waiting[OLDEST] = 1.0
    check(
        tmp_path,
        {"ill:9415": [waiting] * 400},
        alerts_fired(23 * 3600, "NeuronPublishFailing"),
        alerts_firing(25 * 3600, "NeuronPublishFailing", "NeuronSpoolFilling"),
        step=COARSE,
    )
