"""The exporter as a process: what ends it, what does not, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.samples import Sample

from tests.support import exporter as exporter_process
from tests.support.altered import altered
from tests.support.children import child, script
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.processes import alive, children_of, members
from tests.support.waiting import wait_for

COMPLETED = ("neuron_executions_total", "status_type", "completed")
COMPLETED_IN_A_LIFE = 3


def source(*steps: str, **more: Any) -> dict[str, Any]:
    """A configuration with a child that does these steps."""
    return {"source": {"command": child(*steps), "period": "1s", **more}}


def child_of(exporter: RunningExporter) -> int:
    """The id of the child that runs now."""
    return wait_for(lambda: children_of(exporter.process.pid))[0]


def ready(exporter: RunningExporter) -> int:
    """Wait for the first report; gives the id of the child."""
    exporter.wait_for_event("source_state", state="ok")
    return child_of(exporter)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "steps", [["report", "forever"], ["ignore", "grandchild", "report", "forever"]]
)
def test_a_signal_ends_it_and_the_whole_group(
    tmp_path: Path, number: signal.Signals, steps: list[str]
) -> None:
    """SIGTERM and SIGINT end the child and all it started, stubborn or not; the status is 0."""
    with running_exporter(tmp_path, source(*steps)) as exporter:
        group = ready(exporter)
        started = time.monotonic()

        assert exporter.stop(number) == 0

    assert time.monotonic() - started < 10
    assert members(group) == []
    assert exporter.events("stopping")[0]["reason"] == number.name
    assert exporter.events("stopped")[0]["status"] == 0
    assert [event for event in exporter.log if event["level"] == "error"] == []


def test_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    """Whoever is impatient and signals again gets the same orderly end."""
    with running_exporter(tmp_path, source("ignore", "report", "forever")) as exporter:
        group = ready(exporter)
        exporter.process.send_signal(signal.SIGTERM)
        exporter.wait_for_event("stopping")
        exporter.process.send_signal(signal.SIGINT)

        assert exporter.stop(signal.SIGTERM) == 0

    assert members(group) == []


def test_a_stop_right_after_the_start_leaves_nothing(tmp_path: Path) -> None:
    """A child that is only just being started is ended as well."""
    for _ in range(3):
        with running_exporter(tmp_path, source("report", "forever")) as exporter:
            exporter.wait_for_event("started")
            started = children_of(exporter.process.pid)

            assert exporter.stop() == 0

        assert not any(map(alive, started))


def test_a_killed_exporter_leaves_no_child(tmp_path: Path) -> None:
    """Even SIGKILL of the exporter ends neuron-monitor, which would go on for ever."""
    with running_exporter(tmp_path, source("ignore", "report", "forever")) as exporter:
        pid = ready(exporter)
        exporter.process.kill()

        assert exporter.wait() == -signal.SIGKILL
        wait_for(lambda: not alive(pid))


def test_a_hang_up_does_not_end_it(tmp_path: Path) -> None:
    """SIGHUP is answered in the log, and the child goes on."""
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        pid = ready(exporter)
        exporter.process.send_signal(signal.SIGHUP)
        exporter.wait_for_event("config_reloaded", changed=[])

        assert exporter.get("/healthz") == (200, "ok\n")
        assert child_of(exporter) == pid


@pytest.mark.parametrize(
    ("steps", "reason", "state"),
    [
        (["report", "sleep=0.1", "exit=1"], "exited", "exited"),
        (["report", "sleep=0.1", "kill=9"], "exited", "exited"),
        (["report", "close", "forever"], "end_of_file", "exited"),
        (["report", "grandchild", "exit=0"], "exited", "exited"),
        (["report", "forever"], "stalled", "stalled"),
        (["report", "half-report", "forever"], "stalled", "stalled"),
        (["report", "print=hello", "sleep=0.1", "binary", "forever"], "garbage", "garbage"),
    ],
    ids=["crash", "killed", "closed", "grandchild", "silent", "half", "garbage"],
)
def test_whatever_ends_the_child_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str], reason: str, state: str
) -> None:
    """A restart is counted by its reason, no counter ever falls or disappears, and health stays."""
    monkeypatch.setattr(exporter_process, "EXPORTER", altered("impatient"))
    seen: dict[tuple[str, ...], float] = {}
    groups = set()
    with running_exporter(tmp_path, source(*steps)) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        restarts = ("neuron_exporter_source_restarts_total", "reason", reason)
        while seen.get(restarts, 0) < 2:
            now = counters(exporter)
            assert all(now[key] >= value for key, value in seen.items())
            seen = now
            groups |= set(children_of(exporter.process.pid))
            assert exporter.get("/healthz")[0] == 200
            time.sleep(0.05)
        exporter.wait_for_event("source_state", state=state)
        wait_for(lambda: counters(exporter).get(COMPLETED, 0) >= 3 * COMPLETED_IN_A_LIFE)
        assert exporter.value("neuron_exporter_up") == 1
        assert exporter.stop() == 0

    assert len(groups) >= 2
    assert not any(map(members, groups))


def test_an_inherited_ignored_signal_hides_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor that ignores SIGCHLD, and so lets us inherit that, changes nothing."""
    program = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "os.execv(sys.executable, [sys.executable, '-m', 'exporter', *sys.argv[1:]])"
    )
    monkeypatch.setattr(exporter_process, "EXPORTER", (sys.executable, "-c", program))
    with running_exporter(tmp_path, source("report", "exit=3")) as exporter:
        event = exporter.wait_for_event("source_state", state="exited")

        assert "exited with status 3" in event["detail"]
        assert exporter.stop() == 0


def counters(exporter: RunningExporter) -> dict[tuple[str, ...], float]:
    """Every counter that a scrape shows, by name and labels; those of the process are not ours."""

    def key(sample: Sample) -> tuple[str, ...]:
        labels = sorted(pair for pair in sample.labels.items() if pair[0] != "instance_id")
        return sample.name, *(text for pair in labels for text in pair)

    return {
        key(sample): sample.value
        for family in exporter.families().values()
        if family.type == "counter" and not family.name.startswith(("process", "python"))
        for sample in family.samples
    }


def test_a_flood_on_standard_error_holds_nothing_up(tmp_path: Path) -> None:
    """Complaints are all counted, few of them are logged, and reports come."""
    steps = source("stderr-flood=20000", "report", "forever")
    with running_exporter(tmp_path, steps) as exporter:
        ready(exporter)
        exporter.wait_for_value("neuron_exporter_source_stderr_lines_total", 20_000)

        assert exporter.value("neuron_exporter_up") == 1
        assert 1 <= len(exporter.events("source_says")) <= 20


def test_series_are_counted_by_metric(tmp_path: Path) -> None:
    """What a metric costs in series can be read off, in both formats, and is 0 without a source."""
    with running_exporter(tmp_path, {"source": simulated("--reports", "2")}) as exporter:
        exporter.wait_for_value("neuron_exporter_reports_total", 2)
        name = "neuroncore_utilization_ratio"
        shown = len(exporter.families()[name].samples)
        assert exporter.value("neuron_exporter_series", metric=name) == shown == 32
        _, text = exporter.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert f'neuron_exporter_series{{metric="{name}"}} 32.0' in text
        assert text.endswith("# EOF\n")
    with running_exporter(tmp_path, {"source": {"command": ["/nowhere"]}}) as exporter:
        exporter.wait_for_event("source_state", state="missing_program")
        assert exporter.value("neuron_exporter_series", metric=name) == 0


def test_garbage_costs_only_itself(tmp_path: Path) -> None:
    """Lines that are no reports are counted by their kind, and the reports around them are kept."""
    noise = ["print=hello", "binary", "print=[1]", "print={}", "long-line=2000"]
    steps = source("report", *noise, "report", "forever", max_line="1KiB")
    with running_exporter(tmp_path, steps) as exporter:
        exporter.wait_for_value("neuron_exporter_reports_total", 2)

        def errors(reason: str) -> float | None:
            return exporter.value("neuron_exporter_report_errors_total", reason=reason)

        assert [errors(kind) for kind in ("not_json", "not_a_report", "too_long")] == [3, 2, 1]
        assert exporter.value("neuron_executions_total", status_type="completed") == 6
        assert exporter.value("neuron_exporter_up") == 1
        assert exporter.events("restarting") == []


def test_a_missing_program_is_waited_for(tmp_path: Path) -> None:
    """Without neuron-monitor the exporter lives, says so, and is well as soon as it is there."""
    path = tmp_path / "some-monitor"
    with running_exporter(tmp_path, {"source": {"command": [str(path)]}}) as exporter:
        exporter.wait_for_event("source_state", state="missing_program")

        assert exporter.value("neuron_exporter_up") == 0
        assert exporter.value("neuron_exporter_source_state", state="missing_program") == 1
        assert exporter.value("neuron_exporter_source_state", state="ok") == 0
        assert exporter.get("/healthz") == (200, "ok\n")
        assert exporter.get("/readyz") == (200, "ready\n")
        assert not [
            name
            for name in exporter.families()
            if not name.startswith(("neuron_exporter", "process", "python"))
        ]
        assert exporter.process.poll() is None

        script(path, f"exec {' '.join(child('report', 'forever'))}")
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert exporter.value("neuron_exporter_source_state", state="missing_program") == 0
        assert exporter.value("neuron_exporter_source_restarts_total", reason="missing_program")


def test_readiness_waits_for_a_verdict(tmp_path: Path) -> None:
    """While the child has neither spoken nor ended, the exporter is healthy and not ready."""
    with running_exporter(tmp_path, source("sleep=1", "report", "forever")) as exporter:
        exporter.wait_for_event("started")
        assert exporter.get("/readyz") == (503, "waiting for the first report\n")
        assert exporter.get("/healthz")[0] == 200
        assert exporter.value("neuron_exporter_source_state", state="starting") == 1
        assert exporter.value("neuron_exporter_up") == 0

        wait_for(lambda: exporter.get("/readyz")[0] == 200)
        assert exporter.value("neuron_exporter_up") == 1


def test_data_is_there_soon_after_the_start(tmp_path: Path) -> None:
    """At a period of a second the first scrape with data is possible within three."""
    started = time.monotonic()
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        wait_for(lambda: "neuroncore_utilization_ratio" in exporter.families(), every=0.01)

        assert time.monotonic() - started < 3


@pytest.mark.parametrize("thread", ["reader", "http"])
def test_the_death_of_a_thread_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    """A daemon that lost a part of itself ends with status 1, so that its supervisor acts."""
    monkeypatch.setattr(exporter_process, "EXPORTER", altered(f"dying-{thread}"))
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        exporter.wait_for_event("thread_died", thread=thread, error="MemoryError('no more')")

        assert exporter.wait() == 1


def test_a_stuck_thread_is_told_and_does_not_prevent_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that hangs makes /healthz fail; a signal still ends the exporter and its child."""
    monkeypatch.setattr(exporter_process, "EXPORTER", altered("stuck-reader"))
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        exporter.wait_for_event("started")
        pid = child_of(exporter)
        wait_for(lambda: exporter.get("/healthz") == (503, "no sign of life from reader\n"))

        assert exporter.stop() == 0
        wait_for(lambda: not alive(pid))


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """The child inherits none of the exporter's descriptors, its socket least of all."""
    path = tmp_path / "facts"
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        pid = ready(exporter)
        held = sorted(os.listdir(f"/proc/{pid}/fd"))
    path.write_text(json.dumps(held))

    assert held == ["0", "1", "2"]
