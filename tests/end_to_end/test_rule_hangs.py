"""Alerts on hangs: long executions, checkpoints and compiles are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.promql_alarms import check_with_alarms
from tests.support.promtool import alerts_fired, alerts_firing, annotations
from tests.support.rule_frames import (
    STEP,
    Frames,
    reports,
    simulate,
    stdin_exporter,
)
from tests.support.rule_scenarios import (
    BUSY,
    FRAMES_PER_HOUR,
    MISSED,
    ONSET,
    check_alerts,
    healthy_hour,
)

pytestmark = pytest.mark.usefixtures("needs_prometheus")

HANGS = {285: (), 450: ("NeuronHangSuspected",), 1020: ("NeuronHang",)}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Return an hour of a healthy machine."""
    return healthy_hour(tmp_path_factory.mktemp("healthy"))


def change(line: bytes, *, share: float | None, runtimes: slice, completes: bool = False) -> bytes:
    """Return a report whose runtimes complete nothing, and keep their cores busy to a percentage.

    Without `share`, the cores stay as busy as they are.
    """
    report = json.loads(line)
    for runtime in report["neuron_runtime_data"][runtimes]:
        groups: dict[str, Any] = runtime["report"]
        for core in groups["neuroncore_counters"]["neuroncores_in_use"].values():
            if share is not None:
                core["neuroncore_utilization"] = share
        if not completes:
            statuses = groups["execution_stats"]["execution_summary"]
            groups["execution_stats"]["execution_summary"] = dict.fromkeys(statuses, 0)
    return json.dumps(report).encode() + b"\n"


EVERY, FIRST = slice(None), slice(1)


def feed(folder: Path, lines: list[bytes]) -> Frames:
    """Return the frames of an exporter that reads these reports."""
    with stdin_exporter(folder) as exporter:
        return exporter.feed(lines)


def test_one_hanging_workload_among_others(tmp_path: Path, healthy: Frames) -> None:
    """A workload is judged by its own executions, although those of others end."""
    lines = reports(FRAMES_PER_HOUR, *BUSY, "--runtimes", "2")
    lines[ONSET:] = [change(line, share=99.0, runtimes=FIRST) for line in lines[ONSET:]]
    faulty = feed(tmp_path, lines)
    check_alerts(tmp_path, healthy, faulty, HANGS, MISSED)
    found = annotations(
        tmp_path, {"faulty:9415": faulty}, "NeuronHang", FRAMES_PER_HOUR * STEP - STEP
    )
    assert len(found) == 1
    assert "NeuronCores of resnet50 on i-" in found[0]["summary"]


def test_restart_of_the_exporter_does_not_end_an_alert(tmp_path: Path, healthy: Frames) -> None:
    """The new exporter measures a gap from zero on, and knows no history."""
    faulty = simulate(
        tmp_path, FRAMES_PER_HOUR, *BUSY, "--faults", f"hang@{ONSET}", restart_at=ONSET + 80
    )
    during = {after: ("NeuronHang",) for after in (1170, 1230, 1290, 1500, 2000)}
    check_alerts(tmp_path, healthy, faulty, {**HANGS, **during})


def test_hang_ends_with_an_execution_after_a_restart_of_the_exporter(tmp_path: Path) -> None:
    end = ONSET + 90
    script = tmp_path / "script.yaml"
    seconds = (end - ONSET) * STEP
    script.write_text(f"- {{at: {ONSET * STEP}s, fault: hang, for: {seconds}s}}")
    faulty = simulate(
        tmp_path, FRAMES_PER_HOUR, *BUSY, "--script", str(script), restart_at=ONSET + 80
    )
    check_with_alarms(
        tmp_path,
        {"faulty:9415": faulty},
        alerts_firing(end * STEP - 30, "NeuronHang"),
        alerts_firing(end * STEP + 120),
        alerts_fired((FRAMES_PER_HOUR - 1) * STEP, "NeuronHang", "NeuronHangSuspected"),
    )


@pytest.mark.parametrize("minutes", [6, 10])
def test_long_executions_do_not_hang(minutes: int, tmp_path: Path, healthy: Frames) -> None:
    """Every core is busy without a pause, and executions end after six or ten minutes only."""
    reports_each = minutes * 60 // STEP
    lines = [
        change(line, share=99.0, runtimes=EVERY, completes=number % reports_each == 0)
        for number, line in enumerate(reports(2 * FRAMES_PER_HOUR, *BUSY))
    ]
    check_alerts(tmp_path, healthy, feed(tmp_path, lines), {1: ()})


def test_hang_of_long_executions_is_judged_by_their_length(tmp_path: Path, healthy: Frames) -> None:
    """Of executions of six minutes, a gap of 18 is suspicious and one of 30 is a hang."""
    reports_each, last = 360 // STEP, 5 * 360 // STEP
    lines = [
        change(
            line,
            share=99.0,
            runtimes=EVERY,
            completes=number % reports_each == 0 and number <= last,
        )
        for number, line in enumerate(reports(2 * FRAMES_PER_HOUR, *BUSY))
    ]
    after = last * STEP - ONSET * STEP
    check_alerts(
        tmp_path,
        healthy,
        feed(tmp_path, lines),
        {
            after + 1000: (),
            after + 1200: ("NeuronHangSuspected",),
            after + 1770: ("NeuronHangSuspected",),
            after + 1950: ("NeuronHang",),
        },
    )


def test_checkpoint_of_twenty_minutes_is_no_hang(tmp_path: Path, healthy: Frames) -> None:
    """No execution ends while a checkpoint is written, and the cores are idle."""
    lines = reports(FRAMES_PER_HOUR, *BUSY)
    pause = slice(ONSET, ONSET + 80)
    lines[pause] = [change(line, share=0.0, runtimes=EVERY) for line in lines[pause]]
    check_alerts(tmp_path, healthy, feed(tmp_path, lines), {1: ()})


def test_first_execution_without_history_may_take_long(tmp_path: Path, healthy: Frames) -> None:
    """A runtime that starts with an execution of 14 minutes has no history to compare with."""
    lines = [
        change(line, share=99.0, runtimes=EVERY, completes=number >= 56)
        for number, line in enumerate(reports(FRAMES_PER_HOUR, *BUSY))
    ]
    check_alerts(tmp_path, healthy, feed(tmp_path, lines), {1: ()})
