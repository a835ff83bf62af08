"""The source under pressure: each fault has its state, costs only itself, and passes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.model import SourceState
from tests.support import exporter as exporter_process
from tests.support.altered import altered
from tests.support.children import child, script
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.processes import alive, children_of, members, thread_count
from tests.support.waiting import wait_for

EXECUTIONS_IN_A_REPORT = 3
MIB = 2**20


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child is complained of after a fraction of a second."""
    monkeypatch.setattr(exporter_process, "EXPORTER", altered("impatient"))


def source(*steps: str, **more: Any) -> dict[str, Any]:
    """A configuration with a child that does these steps."""
    return {"source": {"command": child(*steps), "period": "1s", **more}}


def states(exporter: RunningExporter) -> dict[str, float]:
    """The state of the source, as a scrape shows it: every state of the closed list."""
    family = exporter.families()["neuron_exporter_source_state"]
    return {sample.labels["state"]: sample.value for sample in family.samples}


def executions(exporter: RunningExporter) -> float:
    """The machine's counter; 0 before the first report."""
    return exporter.value("neuron_executions_total", status_type="completed") or 0.0


def serves(exporter: RunningExporter) -> None:
    """Scrapes and probes are answered, and soon."""
    for path in ("/metrics", "/healthz", "/readyz", "/", "/api/v1/snapshot"):
        started = time.monotonic()
        assert exporter.get(path)[0] == 200
        assert time.monotonic() - started < 2


def stops(exporter: RunningExporter, within: float = 8.0) -> None:
    """SIGTERM leads to status 0, in time, and leaves no child."""
    left = children_of(exporter.process.pid)
    started = time.monotonic()
    assert exporter.stop() == 0
    assert time.monotonic() - started < within
    wait_for(lambda: not any(map(alive, left)))
    assert not any(map(members, left))


@pytest.mark.usefixtures("impatient")
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
def test_each_fault_has_its_state_and_harms_nothing_else(
    tmp_path: Path, steps: list[str], state: str
) -> None:
    """Exactly one state of the closed list is 1, and it tells this fault from the others; the
    exporter serves and stops as if nothing were."""
    with running_exporter(tmp_path, source(*steps)) as exporter:
        exporter.wait_for_event("source_state", state=state)
        wait_for(lambda: states(exporter)[state] == 1, every=0.005)
        shown = states(exporter)
        assert set(shown) == {each.value for each in SourceState}
        assert sum(shown.values()) == 1
        serves(exporter)
        stops(exporter)


def test_a_missing_program_and_a_pause_have_states_too(tmp_path: Path) -> None:
    """The list is complete: nothing to run, and nothing to be run."""
    with running_exporter(tmp_path, {"source": {"command": ["/nowhere"]}}) as exporter:
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        serves(exporter)
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        serves(exporter)
        assert sum(states(exporter).values()) == 1
        stops(exporter)


@pytest.mark.usefixtures("impatient")
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


@pytest.mark.usefixtures("impatient")
def test_a_child_that_even_sigkill_does_not_end(tmp_path: Path) -> None:
    """While the system holds a child there is no second one, the state is stalled and says why, and
    the exporter serves; when it is let go, all goes on."""
    release = tmp_path / "release"
    with running_exporter(
        tmp_path, source(f"unreapable={release}", "report", "forever")
    ) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        (held,) = children_of(exporter.process.pid)
        event = exporter.wait_for_event("source_state", state="stalled")
        assert event["detail"].endswith("does not end, even when killed")
        serves(exporter)
        assert children_of(exporter.process.pid) == [held]

        release.touch()
        wait_for(lambda: executions(exporter) == 2 * EXECUTIONS_IN_A_REPORT)
        assert children_of(exporter.process.pid) != [held]
        stops(exporter)


def test_a_stop_waits_for_no_child_that_cannot_be_ended(tmp_path: Path) -> None:
    """A child that the system holds delays a stop by seconds, and the status is 0 all the same."""
    release = tmp_path / "release"
    with running_exporter(
        tmp_path, source(f"unreapable={release}", "report", "forever")
    ) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        try:
            started = time.monotonic()
            assert exporter.stop() == 0
            assert time.monotonic() - started < 8
        finally:
            release.touch()
    assert exporter.events("stopped")


@pytest.mark.usefixtures("impatient")
def test_a_pause_waits_for_a_child_that_cannot_be_ended(tmp_path: Path) -> None:
    """`paused` is not said while somebody may hold the device still."""
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
def test_a_flood_on_standard_output_is_read_and_costs_nobody_else(
    tmp_path: Path, flood: list[str]
) -> None:
    """Reports without a pause are counted; meanwhile everything is served, and a stop is one."""
    with running_exporter(tmp_path, source(*flood)) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) > 2000)
        serves(exporter)
        assert states(exporter)["ok"] == 1
        assert executions(exporter) % EXECUTIONS_IN_A_REPORT == 0
        stops(exporter)


def test_an_endless_flood_on_standard_error_costs_nobody_else(tmp_path: Path) -> None:
    """Complaints without end are drained, counted, and hold neither reports nor a stop up."""
    steps = ["report", "stderr-flood=1000", "again"]
    with running_exporter(tmp_path, source(*steps)) as exporter:
        wait_for(
            lambda: (exporter.value("neuron_exporter_source_stderr_lines_total") or 0) > 50_000
        )
        assert executions(exporter) > 40 * EXECUTIONS_IN_A_REPORT
        assert len(exporter.events("source_says")) <= 20
        serves(exporter)
        stops(exporter)


def test_half_a_line_costs_the_line_it_is_in(tmp_path: Path) -> None:
    """A report that breaks off takes the next with it where no end of line stands between, and no
    other."""
    steps = ["report", "half-report", "report", "report", "half-report", "print=", "report"]
    with running_exporter(tmp_path, source(*steps, "forever")) as exporter:
        exporter.wait_for_value("neuron_exporter_reports_total", 3)
        assert exporter.value("neuron_exporter_report_errors_total", reason="not_json") == 2
        assert executions(exporter) == 3 * EXECUTIONS_IN_A_REPORT
        assert states(exporter)["ok"] == 1


def resident(exporter: RunningExporter) -> int:
    """Resident memory in bytes."""
    status = Path(f"/proc/{exporter.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_lines_of_16_mib(tmp_path: Path) -> None:
    """The longest line that is allowed is read, one byte more is skipped and counted, five times as
    much is never held; memory is given back."""
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


def test_a_driver_that_comes_later(tmp_path: Path) -> None:
    """Without a driver the state says so, up is 0 and nothing of the hardware is shown but what the
    host has; as soon as it is there all is well, without a restart."""
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
        assert exporter.events("restarting") == []


@pytest.mark.usefixtures("impatient")
def test_a_family_that_refuses_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """A child that refuses SIGTERM and leaves grandchildren who refuse, too, is ended with them
    before the next one starts."""
    steps = ["ignore", "grandchild", "report", "forever"]
    threads: list[int] = []
    groups: list[int] = []
    with running_exporter(tmp_path, source(*steps)) as exporter:
        for life in (1, 2, 3):
            wait_for(lambda: executions(exporter) >= life * EXECUTIONS_IN_A_REPORT)  # noqa: B023
            threads.append(thread_count(exporter.process.pid))
            assert not any(map(members, groups))
            groups += children_of(exporter.process.pid)
            # One that has just answered a scrape may still be on its way out.
            wait_for(lambda: thread_count(exporter.process.pid) <= threads[0])
        assert len(set(groups)) == 3
        stops(exporter)


def test_a_program_that_is_installed_is_found(tmp_path: Path) -> None:
    """Missing, then there, then missing again: each time the state is what is true."""
    path = tmp_path / "monitor"
    with running_exporter(tmp_path, {"source": {"command": [str(path)]}}) as exporter:
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        script(path, f"exec {' '.join(child('report', 'forever'))}")
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="ok")
        path.unlink()
        os.kill(children_of(exporter.process.pid)[0], signal.SIGKILL)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        stops(exporter)
