"""Faults of the child process: each has its state, affects nothing else, and passes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.daemon.daemon import STOP_SECONDS
from neuron_exporter.model import SourceState
from tests.support import exporter as exporter_process
from tests.support.children import child, script
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.patched import patched
from tests.support.processes import alive, children_of, group_members, thread_count
from tests.support.waiting import wait_for

EXECUTIONS_IN_A_REPORT = 3
MIB = 2**20


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the source's timeouts to a fraction of a second."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("short-timeouts"))


def source(*steps: str, **more: Any) -> dict[str, Any]:
    """Return a configuration whose child runs these steps."""
    return {"source": {"command": child(*steps), "period": "1s", **more}}


def states(exporter: RunningExporter) -> dict[str, float]:
    """Return every source state with its value, as a scrape shows them."""
    family = exporter.families()["neuron_exporter_source_state"]
    return {sample.labels["state"]: sample.value for sample in family.samples}


def executions(exporter: RunningExporter) -> float:
    """Return the machine's execution counter, 0 before the first report."""
    return exporter.value("neuron_executions_total", status_type="completed") or 0.0


def serves(exporter: RunningExporter) -> None:
    """Assert that every route answers."""
    for path in ("/metrics", "/healthz", "/readyz", "/", "/api/v1/snapshot"):
        assert exporter.get(path)[0] == 200


def stops(exporter: RunningExporter) -> None:
    """Assert that SIGTERM leads to status 0 before the stop deadline and leaves no child."""
    left = children_of(exporter.process.pid)
    started = time.monotonic()
    assert exporter.stop() == 0
    assert time.monotonic() - started < STOP_SECONDS
    wait_for(lambda: not any(map(alive, left)))
    assert not any(map(group_members, left))


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize(
    ("steps", "state"),
    [
        (["report", "forever"], "ok"),
        (["no-driver", "sleep=0.1", "again"], "no_driver"),
        (["report", "exit=1"], "exited"),
        (["report", "kill=9"], "exited"),
        (["report", "close", "forever"], "exited"),
        (["report", "grandchild", "exit=0"], "exited"),
        (["report", "kill=19"], "stalled"),
        (["report", "ignore", "kill=19"], "stalled"),
        (["report", "uninterruptible"], "stalled"),
        (["report", "half-report", "forever"], "stalled"),
        (["report", "print=hello", "forever"], "garbage"),
        (["report", "flood=hello"], "garbage"),
        (["report", "binary-flood"], "garbage"),
    ],
    ids=["well", "no driver", "crash", "killed", "closed", "grandchild", "stopped",
         "stopped and stubborn", "uninterruptible", "half a line", "text", "flood of text",
         "flood of bytes"],
)  # fmt: skip
def test_state_of_each_fault(tmp_path: Path, steps: list[str], state: str) -> None:
    """Exactly one state is 1 and names the fault; the exporter serves and stops as usual."""
    with running_exporter(tmp_path, source(*steps)) as exporter:
        exporter.wait_for_event("source_state", state=state)
        wait_for(lambda: states(exporter)[state] == 1, every=0.005)
        shown = states(exporter)
        assert set(shown) == {each.value for each in SourceState}
        assert sum(shown.values()) == 1
        serves(exporter)
        stops(exporter)


def test_states_without_child(tmp_path: Path) -> None:
    """A missing program and a pause have states too."""
    with running_exporter(tmp_path, {"source": {"command": ["/nowhere"]}}) as exporter:
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        serves(exporter)
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        serves(exporter)
        assert sum(states(exporter).values()) == 1
        stops(exporter)


@pytest.mark.usefixtures("short_timeouts")
def test_a_stopped_child_is_replaced(tmp_path: Path) -> None:
    """SIGSTOP, which a child cannot refuse, is silence: it is ended though it hears no SIGTERM, and
    the next one counts on."""
    with running_exporter(tmp_path, source("report", "sleep=0.2", "again")) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        (first,) = children_of(exporter.process.pid)
        os.kill(first, signal.SIGSTOP)
        before = executions(exporter)
        exporter.wait_for_event("source_state", state="stalled")
        wait_for(lambda: executions(exporter) >= before + 2 * EXECUTIONS_IN_A_REPORT)
        assert not alive(first)
        assert exporter.value("neuron_exporter_source_restarts_total", reason="stalled") == 1
        stops(exporter)


@pytest.mark.usefixtures("short_timeouts")
def test_unkillable_child(tmp_path: Path) -> None:
    """While the child cannot be killed no second one starts, the state is `stalled` with the
    reason, and the exporter serves; once the child ends, reports go on."""
    release = tmp_path / "release"
    with running_exporter(
        tmp_path, source(f"unreapable={release}", "report", "forever")
    ) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        (held,) = children_of(exporter.process.pid)
        (tracer,) = children_of(held)  # the exporter adopts it
        event = exporter.wait_for_event("source_state", state="stalled")
        assert event["detail"].endswith("does not end, even when killed")
        serves(exporter)
        assert {held} <= set(children_of(exporter.process.pid)) <= {held, tracer}

        release.touch()
        wait_for(lambda: executions(exporter) == 2 * EXECUTIONS_IN_A_REPORT)
        assert held not in children_of(exporter.process.pid)
        stops(exporter)


def test_stop_with_unkillable_child(tmp_path: Path) -> None:
    """The exporter stops with status 0 before its stop deadline."""
    release = tmp_path / "release"
    with running_exporter(
        tmp_path, source(f"unreapable={release}", "report", "forever")
    ) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        try:
            started = time.monotonic()
            assert exporter.stop() == 0
            assert time.monotonic() - started < STOP_SECONDS
        finally:
            release.touch()
    assert exporter.events("stopped")


@pytest.mark.usefixtures("short_timeouts")
def test_pause_with_unkillable_child(tmp_path: Path) -> None:
    """The state becomes `paused` only once the child has released the devices."""
    release = tmp_path / "release"
    with running_exporter(
        tmp_path, source(f"unreapable={release}", "report", "forever")
    ) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="stalled")
        serves(exporter)
        assert exporter.events("source_state")[-1]["state"] == "stalled"
        release.touch()
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        stops(exporter)


@pytest.mark.parametrize(
    "flood",
    [["report=50", "again"], ["print=hello", "report", "again"]],
    ids=["of reports", "of reports and text"],
)
def test_stdout_flood(tmp_path: Path, flood: list[str]) -> None:
    """Reports without a pause are counted, and the exporter serves and stops meanwhile."""
    with running_exporter(tmp_path, source(*flood)) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) > 2000)
        serves(exporter)
        assert states(exporter)["ok"] == 1
        assert executions(exporter) % EXECUTIONS_IN_A_REPORT == 0
        stops(exporter)


def test_stderr_flood(tmp_path: Path) -> None:
    """Endless stderr lines are drained and counted, and delay neither reports nor a stop."""
    steps = ["report", "stderr-flood=1000", "again"]
    with running_exporter(tmp_path, source(*steps)) as exporter:
        wait_for(
            lambda: (exporter.value("neuron_exporter_source_stderr_lines_total") or 0) > 50_000
        )
        assert executions(exporter) > 40 * EXECUTIONS_IN_A_REPORT
        assert len(exporter.events("source_stderr")) <= 20
        serves(exporter)
        stops(exporter)


def test_truncated_lines(tmp_path: Path) -> None:
    """A truncated report also spoils the next one if no newline stands between them, and no
    other."""
    steps = ["report", "half-report", "report", "report", "half-report", "print=", "report"]
    with running_exporter(tmp_path, source(*steps, "forever")) as exporter:
        exporter.wait_for_value("neuron_exporter_reports_total", 3)
        assert exporter.value("neuron_exporter_report_errors_total", reason="not_json") == 2
        assert executions(exporter) == 3 * EXECUTIONS_IN_A_REPORT
        assert states(exporter)["ok"] == 1


def resident(exporter: RunningExporter) -> int:
    """Return resident memory in bytes."""
    status = Path(f"/proc/{exporter.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_lines_of_16_mib(tmp_path: Path) -> None:
    """The longest allowed line is read, one byte more is skipped and counted, five times as much is
    never buffered, and the memory is released."""
    most, go = 16 * MIB, tmp_path / "go"
    steps = [
        "report", f"until={go}", f"large-report={most}", f"large-report={most + 1}",
        f"long-line={5 * most}", "report", "report", "forever",
    ]  # fmt: skip
    with running_exporter(tmp_path, source(*steps)) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        before = resident(exporter)
        go.touch()
        exporter.wait_for_value("neuron_exporter_reports_total", 4)
        assert exporter.value("neuron_exporter_report_errors_total", reason="too_long") == 2
        assert executions(exporter) == 4 * EXECUTIONS_IN_A_REPORT
        assert resident(exporter) - before < 3 * MIB
        serves(exporter)
        stops(exporter)


def test_driver_loaded_later(tmp_path: Path) -> None:
    """Without a driver the state is `no_driver`, up is 0 and only host series are shown; once the
    driver is loaded, reports arrive without a restart."""
    loaded = tmp_path / "loaded"
    steps = ["no-driver", f"until={loaded}", "report", "forever"]
    with running_exporter(tmp_path, source(*steps)) as exporter:
        exporter.wait_for_event("source_state", state="no_driver")
        assert states(exporter)["no_driver"] == 1
        assert exporter.value("neuron_exporter_up") == 0
        shown = [name for name, family in exporter.families().items() if family.samples]
        assert not [name for name in shown if name.startswith(("neuroncore", "neurondevice"))]
        serves(exporter)

        loaded.touch()
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert states(exporter)["ok"] == 1
        assert executions(exporter) == EXECUTIONS_IN_A_REPORT
        assert exporter.events("source_restarting") == []


@pytest.mark.usefixtures("short_timeouts")
def test_stubborn_process_group(tmp_path: Path) -> None:
    """A child and grandchildren that ignore SIGTERM are killed before the next child starts."""
    steps = ["ignore", "grandchild", "report", "forever"]
    threads: list[int] = []
    groups: list[int] = []
    with running_exporter(tmp_path, source(*steps)) as exporter:
        for life in (1, 2, 3):
            wait_for(lambda: executions(exporter) >= life * EXECUTIONS_IN_A_REPORT)  # noqa: B023
            threads.append(thread_count(exporter.process.pid))
            assert not any(map(group_members, groups))
            groups += children_of(exporter.process.pid)
            # A worker that has just answered a scrape may not have ended yet.
            wait_for(lambda: thread_count(exporter.process.pid) <= threads[0])
        assert len(set(groups)) == 3
        stops(exporter)


def test_program_installed_later(tmp_path: Path) -> None:
    """A missing program is found once installed, and missed again once removed."""
    path = tmp_path / "monitor"
    with running_exporter(tmp_path, {"source": {"command": [str(path)]}}) as exporter:
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        script(path, f"exec {' '.join(child('report', 'forever'))}")
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="ok")
        path.unlink()
        os.kill(children_of(exporter.process.pid)[0], signal.SIGKILL)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        stops(exporter)
