"""The problems of a machine, judged over minutes of simulated reports."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import load
from neuron_exporter.daemon.problems import SIMULATED, ProblemMonitor, loop_begin
from neuron_exporter.facts.problems import (
    BY_REASON,
    CRASH_LOOP_RESTARTS,
    HARMLESS_RESTARTS,
    PROBLEMS,
    SINK_FAILING_SECONDS,
)
from neuron_exporter.model import Group, SourceState, Timestamp
from neuron_exporter.pipeline.build import build
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.source.neuron_monitor import configuration
from tests.support.documents import table

PERIOD = 5
START = 1_700_000_000.0
SMALL = ("--instance-type", "inf2.8xlarge")
SEVERAL = ("--instance-type", "inf2.24xlarge")


class Watched:
    """A pipeline whose reports are those of a simulated machine, in simulated time."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.pipeline = build(load(None, {}, []), environment={})
        self.pipeline.identity.first_lookup_done.set()
        self.monitor = ProblemMonitor(self.pipeline.processor, START)
        self.seconds = 0.0
        self._config = folder / "monitor.json"
        self._config.write_text(json.dumps(configuration(Group, PERIOD)))
        self.replace_source(*flags)

    def replace_source(self, *flags: str) -> None:
        """Restart the simulator with other flags."""
        self._machine = Machine(parse(["-c", str(self._config), *flags]))
        self._number = 0

    def problems(self, **changes: Any) -> list[dict[str, Any]]:
        """Return the problems now."""
        latest, _ = self.pipeline.processor.snapshots()
        arguments = {"is_fresh": latest is not None, "is_simulated": False, "now": self.seconds}
        return self.monitor.current({}, **{**arguments, **changes})

    def run(self, minutes: float) -> Iterator[list[dict[str, Any]]]:
        """Yield the problems after each report of some minutes."""
        until = self.seconds + 60 * minutes
        while self.seconds < until:
            self._number += 1
            self.report(self._machine.report(self._number - 1))
            yield self.problems()

    def report(self, document: Mapping[str, Any]) -> None:
        """Read a report of another source."""
        self.seconds += PERIOD
        at = Timestamp(START + self.seconds, self.seconds)
        line = json.dumps(document).encode()
        assert self.pipeline.processor.on_line(memoryview(line), at) is not None

    def reasons(self, minutes: float) -> set[str]:
        """Return the reasons of all problems of some minutes."""
        return {each["reason"] for found in self.run(minutes) for each in found}

    def first(self, reason: str, minutes: float) -> tuple[float, dict[str, Any]]:
        """Return when a problem is there as the worst one, and the problem."""
        for found in self.run(minutes):
            if found and found[0]["reason"] == reason:
                return self.seconds, found[0]
        raise AssertionError(f"no {reason} within {minutes} minutes: {self.problems()}")


@pytest.mark.parametrize("scenario", ["inference", "training", "idle", "compile", "mixed"])
def test_well_machines_have_none(tmp_path: Path, scenario: str) -> None:
    assert Watched(tmp_path, *SMALL, "--scenario", scenario).reasons(12) == set()


def test_long_executions_are_not_judged(tmp_path: Path) -> None:
    """Executions of six and ten minutes end, if late."""
    watched = Watched(tmp_path, *SMALL, "--runtimes", "2", "--scenario", "long-executions")
    assert watched.reasons(32) == {"stalled"}


@pytest.mark.parametrize(
    ("faults", "reason", "minutes"),
    [
        ("execution-errors", "failing", 1),
        ("ecc-level", "uncorrected_ecc", 7),
        ("ecc-tally", "uncorrected_ecc", 7),
        ("memory-filling", "memory_full", 5.5),
        ("lost-device", "device_missing", 1),
    ],
)
def test_faults(tmp_path: Path, faults: str, reason: str, minutes: float) -> None:
    """Each fault is named as the worst problem, with the time at which it began."""
    watched = Watched(tmp_path, *SEVERAL, "--faults", faults)
    seconds, problem = watched.first(reason, minutes)
    assert problem["text"] == BY_REASON[reason].text
    assert problem["severity"] == BY_REASON[reason].severity
    assert 0 <= START + seconds - problem["since"] <= PERIOD
    *_, found = watched.run(1)
    assert (found[0]["reason"], found[0]["since"]) == (reason, problem["since"])


def test_hang(tmp_path: Path) -> None:
    """It is shown after half a minute, judged after five, and critical after fifteen."""
    watched = Watched(tmp_path, *SMALL, "--runtimes", "2", "--faults", "hang@13")
    assert watched.reasons(1) == set()
    shown, stalled = watched.first("stalled", 2)
    assert stalled["severity"] == "info"
    assert stalled["detail"] == "runtimes resnet50, bert-base"
    judged, hung = watched.first("hung", 6)
    assert hung["severity"] == "warning"
    assert abs(hung["since"] - stalled["since"]) < 1
    assert 30 <= shown - 60 <= 30 + PERIOD
    assert 300 <= judged - 60 <= 300 + PERIOD
    critical = [each[0]["severity"] for each in watched.run(11)].index("critical")
    assert 900 <= judged + PERIOD * (critical + 1) - 60 <= 900 + PERIOD
    *_, (last, *others) = watched.run(1)
    assert (last["since"], others) == (hung["since"], [])


def test_hang_ends_with_its_source(tmp_path: Path) -> None:
    """After a pause and with another neuron-monitor, an earlier hang is not a problem."""
    watched = Watched(tmp_path, *SMALL, "--faults", "hang@3")
    watched.first("hung", 16)
    watched.seconds += 1800
    watched.replace_source(*SMALL)
    assert watched.reasons(2) == set()


def test_worst_first(tmp_path: Path) -> None:
    watched = Watched(tmp_path, *SEVERAL, "--faults", "lost-device,memory-filling,execution-errors")
    *_, found = watched.run(5.5)
    assert [each["reason"] for each in found] == ["device_missing", "failing", "memory_full"]
    simulated = watched.problems(is_simulated=True)
    assert simulated[-1]["reason"] == SIMULATED.reason
    assert [each["reason"] for each in watched.problems(is_fresh=False)] == ["source_down"]


def test_uncorrected_errors_outlive_the_source(tmp_path: Path) -> None:
    """The device is the same after a restart of neuron-monitor."""
    watched = Watched(tmp_path, *SEVERAL, "--faults", "ecc-level")
    _, problem = watched.first("uncorrected_ecc", 7)
    watched.replace_source(*SEVERAL)
    *_, (same,) = watched.run(1)
    assert same["since"] == problem["since"]


def test_source_down(tmp_path: Path) -> None:
    watched = Watched(tmp_path, *SMALL)
    assert watched.problems() == []
    watched.pipeline.processor.on_state(SourceState.EXITED, "no driver <here>")
    (problem,) = watched.problems()
    assert (problem["reason"], problem["since"]) == ("source_down", START)
    assert problem["detail"] == "exited: no driver <here>"
    watched.pipeline.processor.on_state(SourceState.PAUSED, "by SIGUSR1")
    assert watched.problems() == []
    assert watched.reasons(1) == set()
    watched.pipeline.processor.on_state(SourceState.STALLED, "")
    (problem,) = watched.problems(is_fresh=False)
    assert problem["since"] == START + watched.seconds


def test_driver_is_lost(tmp_path: Path) -> None:
    """neuron-monitor goes on reporting, but no device; the problem keeps its begin."""
    watched = Watched(tmp_path, *SMALL)
    assert watched.reasons(1) == set()
    last = START + watched.seconds
    for _ in range(3):
        watched.report({"neuron_hardware_info": {"neuron_device_count": 0}})
        (problem,) = (each for each in watched.problems() if each["reason"] == "source_down")
        assert (problem["detail"], problem["since"]) == ("no driver", last)


def test_driver_that_was_never_there(tmp_path: Path) -> None:
    """The machine has lost no device: its driver is missing."""
    watched = Watched(tmp_path, *SEVERAL)
    identity = {"instance_type": "inf2.24xlarge"}
    dead = {"neuron_hardware_info": {"neuron_device_count": 0}, "instance_info": identity}
    watched.report(dead)
    assert [each["reason"] for each in watched.problems()] == ["source_down"]
    next(watched.run(1))
    assert watched.problems() == []
    watched.report(dead)
    assert [each["reason"] for each in watched.problems()] == ["device_missing", "source_down"]


def restarts(*seconds: float) -> list[Timestamp]:
    return [Timestamp(START + each, each) for each in seconds]


def test_crash_loop(tmp_path: Path) -> None:
    watched = Watched(tmp_path, *SMALL)
    assert watched.reasons(1) == set()
    listed = watched.pipeline.processor.restarts
    for reason in HARMLESS_RESTARTS:
        listed.extend((at, reason) for at in restarts(*range(CRASH_LOOP_RESTARTS)))
    assert watched.problems() == []
    listed.extend((at, "exited") for at in restarts(40, 50))
    assert watched.problems() == []
    listed.append((restarts(60)[0], "end_of_file"))
    (problem,) = watched.problems()
    assert problem["detail"] == "3 restarts in 15 min: exited, end of file"
    assert problem["since"] == START + 40
    watched.seconds += 1000
    assert watched.problems() == []


def test_begin_of_crash_loop() -> None:
    """Earlier restarts belong to the loop as long as no three of them are further apart."""
    assert loop_begin(restarts(0, 5000, 5400, 5800, 6200, 6600)) == START + 5000
    assert loop_begin(restarts(1, 2, 3)) == START + 1


@pytest.mark.parametrize(
    ("failing_for", "last_success", "found"),
    [
        (None, 7.0, []),
        (SINK_FAILING_SECONDS - 60, 7.0, []),
        (SINK_FAILING_SECONDS, 7.0, [7.0]),
        (SINK_FAILING_SECONDS, None, [START]),
    ],
)
def test_sinks(
    tmp_path: Path, failing_for: float | None, last_success: float | None, found: list[float]
) -> None:
    """A sink that fails is judged after two minutes, as in the rules, since its last delivery."""
    watched = Watched(tmp_path, *SMALL)
    sink = {
        "is_on": True,
        "state": "Denied: no",
        "last_success_at": last_success,
        "failing_since": None if failing_for is None else time.time() - failing_for,
    }
    sinks: dict[str, dict[str, Any]] = {"prometheus": {"is_on": True}, "cloudwatch": sink}
    problems = watched.monitor.current(sinks, is_fresh=False, is_simulated=False, now=0.0)
    assert [each["since"] for each in problems] == found
    assert all(each["detail"] == "cloudwatch: Denied: no" for each in problems)


def test_problems_are_documented() -> None:
    """In the order of the ranks. A page cannot say that its own exporter is down."""
    listed = [row[0].strip("`") for row in table("docs/page-and-api.md", "| reason, the worst")]
    ranked = sorted(PROBLEMS, key=lambda each: -each.rank)
    reasons = [each.reason for each in ranked if each.reason != "exporter_down"]
    assert listed == [*reasons, SIMULATED.reason]
