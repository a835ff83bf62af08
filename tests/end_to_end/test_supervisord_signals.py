"""SIGUSR1 and SIGHUP reach the exporter under a real supervisord, and no other process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import FOREVER, child
from tests.support.exporter import write_config
from tests.support.processes import alive, children_of, ended
from tests.support.reloading import reloaded
from tests.support.supervised import (
    ENTRY_POINT,
    Supervised,
    own_directory,
    supervised,
)
from tests.support.waiting import wait_for

CONFIG = {"source": {"command": child("report", "forever"), "period": "1s"}}
IGNORED = "neuron-exporter: SIGUSR1 is ignored: the exporter is not up"
WITHIN = {
    "the script": [],
    "its process group": ["setsid"],
    "process 1": ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"],
}
"""Targets of a signal, with the command that starts the entry point for each."""


def lasting_state(exporter: Supervised, script: int) -> dict[str, Any]:
    """Return what a forwarded signal must not change: the processes that last as long as the script
    with this id. Others come and go: those that print a line, and neuron-monitor."""
    return {
        "printer": children_of(script)[0],
        "supervisord": exporter.supervisord,
        "listener": exporter.find("fatal_listener.sh"),
        "runner": exporter.find("run_exporter.sh"),
        "exporter": exporter.exporter,
        "starts": len(exporter.events("started")),
    }


@pytest.mark.parametrize("target", WITHIN)
def test_signals_are_forwarded(tmp_path: Path, target: str) -> None:
    """SIGUSR1 pauses and resumes and SIGHUP reloads, whether the entry point is process 1, below an
    init, or signalled with its process group; nothing is restarted."""
    if target == "process 1" and os.geteuid() != 0:
        pytest.skip("only root can make the namespace")
    command = [str(ENTRY_POINT), "--config", str(tmp_path / "exporter.yaml")]
    within = [*WITHIN[target], *command]
    environment = {"NEURON_EXPORTER_STARTSECS": "1"}
    with supervised(tmp_path, CONFIG, within=within, **environment) as exporter:
        wait_for(lambda: exporter.process.poll() is not None or exporter.events("started"))
        if exporter.logged("unshare: "):
            pytest.skip(f"this machine does not allow it: {exporter.raw_log}")
        exporter.wait_for_start(1)
        wait_for(lambda: exporter.logged("entered RUNNING state"))  # supervisord's last line
        pid = exporter.process.pid
        if target == "process 1":
            (pid,) = children_of(pid)
        before = lasting_state(exporter, pid)
        assert None not in before.values()

        def send(number: int) -> None:
            (os.killpg if target == "its process group" else os.kill)(pid, number)

        send(signal.SIGUSR1)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        assert exporter.value("neuron_exporter_up") == 0
        send(signal.SIGUSR1)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="ok")
        send(signal.SIGHUP)
        assert reloaded(exporter) == []  # checking the file alone would not have reloaded
        write_config(tmp_path, {**CONFIG, "log": {"format": "json", "level": "warning"}})
        send(signal.SIGHUP)
        assert reloaded(exporter, 2) == ["log.level"]

        assert lasting_state(exporter, pid) == before
        os.kill(pid, signal.SIGTERM)
        assert exporter.wait() == 0
    assert os.listdir(own_directory(tmp_path / "run")) == ["ended"]


def test_signals_during_start(tmp_path: Path) -> None:
    """Until the exporter has started, signals wait or are logged as ignored."""
    with supervised(tmp_path, CONFIG) as exporter:
        wait_for(lambda: exporter.logged("supervisord started"))
        while not exporter.events("started"):
            assert exporter.process.poll() is None, exporter.raw_log
            assert not exporter.logged("not expected"), exporter.raw_log
            exporter.process.send_signal(signal.SIGUSR1)
            exporter.process.send_signal(signal.SIGHUP)
            time.sleep(0.005)
        wait_for(lambda: exporter.events("pausing"))

        assert len(exporter.events("started")) == 1
        assert exporter.stop() == 0


def test_signals_reach_the_exporter_only(tmp_path: Path) -> None:
    """If the pid file names another process or none, the signal is ignored and logged; a restarted
    exporter receives signals again."""
    path = own_directory(tmp_path / "run") / "exporter.pid"
    with (
        subprocess.Popen(["sleep", str(FOREVER)]) as bystander,
        ended(bystander),
        supervised(tmp_path, CONFIG) as exporter,
    ):
        exporter.wait_for_start(1)
        supervised_shell = wait_for(lambda: exporter.find("run_exporter.sh"))
        for text in (bystander.pid, supervised_shell, 1, -1, "", 99999999, None):
            path.write_text(f"{text}\n") if text is not None else path.unlink()
            ignored = exporter.raw_log.count(IGNORED)
            exporter.process.send_signal(signal.SIGUSR1)
            wait_for(lambda n=ignored: exporter.raw_log.count(IGNORED) > n)  # type: ignore[misc]
            assert alive(bystander.pid)
        assert not exporter.logged(path.name), "the shell reports no file that it cannot open"
        assert alive(supervised_shell)
        assert not exporter.events("pausing")

        os.kill(exporter.exporter, signal.SIGKILL)
        exporter.wait_for_start(2)
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        assert exporter.stop() == 0
