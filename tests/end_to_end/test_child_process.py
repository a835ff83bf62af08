"""The child of the exporter: what it inherits, and that nothing which it started outlives it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import child, script
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.processes import alive, children_of, processes_with_open
from tests.support.waiting import wait_for

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

INHERITED = {
    "HOME": "/home/of-the-exporter",
    "TZ": "Europe/Berlin",
    "LC_ALL": "C.UTF-8",
    "NEURON_RT_LOG_LEVEL": "INFO",
    "https_proxy": "http://proxy.internal:3128/",
}
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "value-one",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "value-two",
    "NEURON_EXPORTER__IDENTITY__CLUSTER": "value-three",
    "HTTP_PROXY": "http://user:value-four@proxy.internal:3128",
    "all_proxy": "user:value-five@proxy.internal",
    "DATABASE_PASSWORD": "value-six",
}


def child_of(pid: int) -> int:
    """Return the process ID of the only child of a process."""
    (found,) = wait_for(lambda: children_of(pid))
    return int(found)


def variables_of(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started."""
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def test_child_inherits_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the other variables are logged once, values never."""
    for name in os.environ.keys() - {"PATH", "PYTHONPATH", "PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)  # the number of names that are logged is limited
    leave = tmp_path / "leave"
    source: dict[str, Any] = {
        "command": child("report", f"until={leave}"),
        "environment": {"AWS_REGION": "eu-central-1", "AWS_PROFILE": None, "NOT_SET": None},
    }
    variables = INHERITED | SECRETS | {"AWS_PROFILE": "monitoring", "NO_PROXY": "host.internal"}
    with running_exporter(tmp_path, {"source": source}, environment=variables) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        found = variables_of(child_of(exporter.process.pid))
        leave.touch()
        exporter.wait_for_event("source_restarting")
        assert exporter.stop() == 0

    assert found.items() >= INHERITED.items()
    assert "host.internal" in found["NO_PROXY"].split(",")
    assert (found["AWS_REGION"], found["AWS_PROFILE"]) == ("eu-central-1", "monitoring")
    assert not found.keys() & {*SECRETS, "NOT_SET", "AWS_EC2_METADATA_DISABLED"}
    (event,) = exporter.events("source_variables_dropped")
    assert set(event["names"]) >= {*SECRETS, "AWS_EC2_METADATA_DISABLED"}
    assert not set(event["names"]) & found.keys()
    assert not any("value-" in line for line in exporter.raw_log)


@pytest.mark.parametrize("kind", ["neuron-monitor", "simulator"])
def test_python_variables_of_the_simulator(tmp_path: Path, kind: str) -> None:
    """It runs the exporter's own modules, so that it needs the path on which they were found."""
    source = {"kind": kind, "command": child("report", "forever"), "period": "1s"}
    environment = {"PYTHONPATH": str(tmp_path)}
    with running_exporter(tmp_path, {"source": source}, environment=environment) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        found = variables_of(child_of(exporter.process.pid))
        exporter.stop()

    assert found.get("PYTHONPATH") == (str(tmp_path) if kind == "simulator" else None)
    assert bool(exporter.events("source_variables_dropped")) == (kind == "neuron-monitor")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """File that daemons have open; those still running are killed in the end."""
    path = tmp_path / "marker"
    yield path
    for pid in processes_with_open(path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def leaving(marker: Path) -> dict[str, Any]:
    """Return a source whose program leaves four daemons that have the marker open.

    One is an orphan without variables, and one ignores signals and has started another.
    """
    open_marker = f"9>>{shlex.quote(str(marker))}"
    stubborn = "trap '' TERM HUP; setsid sleep 3600 & wait"
    lines = (
        f"setsid sleep 3600 {open_marker} &",
        f"(setsid env -i /bin/sleep 3600 {open_marker} &)",
        f"setsid sh -c {shlex.quote(stubborn)} {open_marker} &",
        f"exec {shlex.join(child('report', 'forever'))}",
    )
    program = script(marker.parent / "leaving-monitor", "\n".join(lines))
    return {"source": {"command": [str(program)], "period": "1s"}}


def daemons(exporter: RunningExporter, marker: Path) -> list[int]:
    """Return the four daemons of the current child once they run."""
    exporter.wait_for_event("source_state", state="ok")

    def found() -> list[int]:
        pids = processes_with_open(marker)
        return pids if len(pids) == 4 else []

    return list(wait_for(found))


def test_daemons_of_the_child_end_with_the_exporter(tmp_path: Path, marker: Path) -> None:
    with running_exporter(tmp_path, leaving(marker)) as exporter:
        daemons(exporter, marker)
        assert exporter.stop() == 0

        assert processes_with_open(marker) == []


def test_daemons_of_the_child_end_before_a_pause(tmp_path: Path, marker: Path) -> None:
    with running_exporter(tmp_path, leaving(marker)) as exporter:
        daemons(exporter, marker)
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_event("source_state", state="paused")

        assert processes_with_open(marker) == []
        assert children_of(exporter.process.pid) == []


def test_daemons_of_a_killed_child_end_before_the_next(tmp_path: Path, marker: Path) -> None:
    with running_exporter(tmp_path, leaving(marker)) as exporter:
        started = daemons(exporter, marker)
        first = next(pid for pid in children_of(exporter.process.pid) if pid not in started)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, started)))

        assert set(daemons(exporter, marker)).isdisjoint(started)


def test_process_1_only_reaps_what_others_leave(tmp_path: Path, marker: Path) -> None:
    """In a container, the orphan of a command that an engine ran there outlives the child, and is
    reaped when it ends."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("namespaces require root")
    other = tmp_path / "other"
    with running_exporter(tmp_path, leaving(marker), within=NAMESPACE) as exporter:
        started = daemons(exporter, marker)
        pid = child_of(exporter.process.pid)
        orphan = f"(setsid sleep 3600 9>>{shlex.quote(str(other))} &)"
        enter = ["nsenter", f"--target={pid}", "--pid", "--mount", "sh", "-c", orphan]
        subprocess.run(enter, check=True)
        (left,) = wait_for(lambda: processes_with_open(other))
        assert left in children_of(pid)

        for each in children_of(pid):
            if each not in (left, *started):
                os.kill(each, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, started)))
        daemons(exporter, marker)
        assert alive(left)
        os.kill(left, signal.SIGKILL)

        wait_for(lambda: left not in children_of(pid))
