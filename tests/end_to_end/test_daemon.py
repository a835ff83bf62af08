"""The exporter as a process: what stops it, what does not, and what remains."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.samples import Sample

from tests.support import exporter as exporter_process
from tests.support.children import child, script
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.patched import patched
from tests.support.processes import alive, children_of, group_members
from tests.support.waiting import wait_for

COMPLETED = ("neuron_executions_total", "status_type", "completed")
COMPLETED_PER_RUN = 3


def source(*steps: str, **more: Any) -> dict[str, Any]:
    """Return a configuration with a child that performs these steps."""
    return {"source": {"command": child(*steps), "period": "1s", **more}}


def child_of(exporter: RunningExporter) -> int:
    """Return the process ID of the current child."""
    return wait_for(lambda: children_of(exporter.process.pid))[0]


def wait_until_ready(exporter: RunningExporter) -> int:
    """Wait for the first report; return the process ID of the child."""
    exporter.wait_for_event("source_state", state="ok")
    return child_of(exporter)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "steps", [["report", "forever"], ["ignore", "grandchild", "report", "forever"]]
)
def test_signal_stops_the_process_group(
    tmp_path: Path, number: signal.Signals, steps: list[str]
) -> None:
    with running_exporter(tmp_path, source(*steps)) as exporter:
        group = wait_until_ready(exporter)
        assert exporter.stop(number) == 0

    assert group_members(group) == []
    assert exporter.events("stopping")[0]["reason"] == number.name
    assert exporter.events("stopped")[0]["status"] == 0
    assert [event for event in exporter.log if event["level"] == "error"] == []


def test_second_signal_is_ignored(tmp_path: Path) -> None:
    with running_exporter(tmp_path, source("ignore", "report", "forever")) as exporter:
        group = wait_until_ready(exporter)
        exporter.process.send_signal(signal.SIGTERM)
        exporter.wait_for_event("stopping")
        exporter.process.send_signal(signal.SIGINT)

        assert exporter.stop(signal.SIGTERM) == 0

    assert group_members(group) == []


def test_stop_right_after_start(tmp_path: Path) -> None:
    for _ in range(3):
        with running_exporter(tmp_path, source("report", "forever")) as exporter:
            exporter.wait_for_event("started")
            started = children_of(exporter.process.pid)

            assert exporter.stop() == 0

        assert not any(map(alive, started))


def test_sigkill_leaves_no_child(tmp_path: Path) -> None:
    with running_exporter(tmp_path, source("ignore", "report", "forever")) as exporter:
        pid = wait_until_ready(exporter)
        exporter.process.kill()

        assert exporter.wait() == -signal.SIGKILL
        wait_for(lambda: not alive(pid))


def test_sighup_reloads(tmp_path: Path) -> None:
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        pid = wait_until_ready(exporter)
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
def test_child_is_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str], reason: str, state: str
) -> None:
    """Restarts are counted by reason, no counter falls or disappears, and /healthz stays 200."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("short-timeouts"))
    before: dict[tuple[str, ...], float] = {}
    groups = set()
    with running_exporter(tmp_path, source(*steps)) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        restarts = ("neuron_exporter_source_restarts_total", "reason", reason)
        while before.get(restarts, 0) < 2 or len(groups) < 2:
            now = counters(exporter)
            assert all(now[key] >= value for key, value in before.items())
            before = now
            groups |= set(children_of(exporter.process.pid))
            assert exporter.get("/healthz")[0] == 200
            time.sleep(0.05)
        exporter.wait_for_event("source_state", state=state)
        wait_for(lambda: counters(exporter).get(COMPLETED, 0) >= 3 * COMPLETED_PER_RUN)
        # It is 0 between the end of a child and the first report of the next.
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert exporter.stop() == 0

    assert not any(map(group_members, groups))


def test_inherited_ignored_sigchld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "os.execv(sys.executable, [sys.executable, '-m', 'neuron_exporter', *sys.argv[1:]])"
    )
    monkeypatch.setattr(exporter_process, "EXPORTER", (sys.executable, "-c", program))
    with running_exporter(tmp_path, source("report", "exit=3")) as exporter:
        event = exporter.wait_for_event("source_state", state="exited")

        assert "exited with status 3" in event["detail"]
        assert exporter.stop() == 0


def counters(exporter: RunningExporter) -> dict[tuple[str, ...], float]:
    """Return every counter of a scrape by name and labels, without those of the process."""

    def key(sample: Sample) -> tuple[str, ...]:
        labels = sorted(pair for pair in sample.labels.items() if pair[0] != "instance_id")
        return sample.name, *(text for pair in labels for text in pair)

    return {
        key(sample): sample.value
        for family in exporter.families().values()
        if family.type == "counter" and not family.name.startswith(("process", "python"))
        for sample in family.samples
    }


def test_stderr_flood(tmp_path: Path) -> None:
    steps = source("stderr-flood=20000", "report", "forever")
    with running_exporter(tmp_path, steps) as exporter:
        wait_until_ready(exporter)
        exporter.wait_for_value("neuron_exporter_source_stderr_lines_total", 20_000)

        assert exporter.value("neuron_exporter_up") == 1
        assert 1 <= len(exporter.events("source_stderr")) <= 20


def test_series_counts(tmp_path: Path) -> None:
    with running_exporter(tmp_path, {"source": simulated("--reports", "2")}) as exporter:
        exporter.wait_for_value("neuron_exporter_reports_total", 2)
        name = "neuroncore_utilization_ratio"
        count = len(exporter.families()[name].samples)
        assert exporter.value("neuron_exporter_series", metric=name) == count == 32
        _, text = exporter.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert f'neuron_exporter_series{{metric="{name}"}} 32.0' in text
        assert text.endswith("# EOF\n")
    with running_exporter(tmp_path, {"source": {"command": ["/nowhere"]}}) as exporter:
        exporter.wait_for_event("source_state", state="missing_program")
        assert exporter.value("neuron_exporter_series", metric=name) == 0


def test_invalid_lines_between_reports(tmp_path: Path) -> None:
    noise = ["print=hello", "binary", "print=[1]", "print={}", "long-line=2000"]
    steps = source("report", *noise, "report", "forever", max_line="1KiB")
    with running_exporter(tmp_path, steps) as exporter:
        exporter.wait_for_value("neuron_exporter_reports_total", 2)

        def errors(reason: str) -> float | None:
            return exporter.value("neuron_exporter_report_errors_total", reason=reason)

        assert [errors(kind) for kind in ("not_json", "not_a_report", "too_long")] == [3, 2, 1]
        assert exporter.value("neuron_executions_total", status_type="completed") == 6
        assert exporter.value("neuron_exporter_up") == 1
        assert exporter.events("source_restarting") == []


def test_missing_program(tmp_path: Path) -> None:
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


def test_readyz_before_first_report(tmp_path: Path) -> None:
    with running_exporter(tmp_path, source("sleep=1", "report", "forever")) as exporter:
        exporter.wait_for_event("started")
        assert exporter.get("/readyz") == (503, "waiting for the first report\n")
        assert exporter.get("/healthz")[0] == 200
        assert exporter.value("neuron_exporter_source_state", state="starting") == 1
        assert exporter.value("neuron_exporter_up") == 0

        wait_for(lambda: exporter.get("/readyz")[0] == 200)
        assert exporter.value("neuron_exporter_up") == 1


def test_first_scrape_with_data(tmp_path: Path) -> None:
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        wait_for(lambda: "neuroncore_utilization_ratio" in exporter.families(), every=0.01)
        assert exporter.value("neuron_exporter_up") == 1


@pytest.mark.parametrize("thread", ["reader", "http"])
def test_failing_thread_stops_the_exporter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    monkeypatch.setattr(exporter_process, "EXPORTER", patched(f"dying-{thread}"))
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        exporter.wait_for_event("thread_died", thread=thread, error="MemoryError('no more')")

        assert exporter.wait() == 1


def test_hanging_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("stuck-reader"))
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        exporter.wait_for_event("started")
        pid = child_of(exporter)
        wait_for(lambda: exporter.get("/healthz") == (503, "threads do not respond: reader\n"))

        assert exporter.stop() == 0
        wait_for(lambda: not alive(pid))


def test_child_inherits_no_descriptors(tmp_path: Path) -> None:
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        pid = wait_until_ready(exporter)
        descriptors = sorted(os.listdir(f"/proc/{pid}/fd"))
    assert descriptors == ["0", "1", "2"]
