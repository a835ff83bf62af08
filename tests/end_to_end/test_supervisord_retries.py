"""The image's entry point where the container must not end by itself, as on ECS Managed Daemons."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import yaml

from tests.support.exporter import simulated
from tests.support.processes import alive
from tests.support.supervised import Supervised, own_directory, supervised
from tests.support.task_definitions import environment_of, exporter_of, make_definition
from tests.support.waiting import wait_for

VARIABLE = "NEURON_EXPORTER_RETRY_SECONDS"
OFTEN = {VARIABLE: "1"}
ONCE = {VARIABLE: "9999"}
"""Longer than a test may take."""

INVALID = {"cloudwatch": {"preset": "nonsense"}}


def is_waiting(exporter: Supervised, times: int = 1) -> bool:
    """Return whether the entry point has so often announced that it will start anew."""
    return sum("; next start in " in line for line in list(exporter.raw_log)) >= times


def correct(folder: Path) -> None:
    """Write a valid configuration over the one that `supervised` has written."""
    path = folder / "exporter.yaml"
    document = yaml.safe_load(path.read_text())
    del document["cloudwatch"]
    path.write_text(yaml.safe_dump({**document, "source": simulated()}))


def test_a_managed_daemon_outlives_an_invalid_configuration(tmp_path: Path) -> None:
    """It starts as soon as the configuration is valid; arguments survive, quotes included."""
    definition = make_definition("inf2.xlarge", "none", "managed-daemon")
    assert VARIABLE in environment_of(exporter_of(definition))
    folder = tmp_path / 'it\'s "one"'
    folder.mkdir()
    with supervised(folder, INVALID, **OFTEN) as exporter:
        wait_for(lambda: is_waiting(exporter, times=2))
        assert exporter.logged("ended with status 2; next start in 1 s")
        assert exporter.process.poll() is None
        correct(folder)
        exporter.wait_for_start(1)
        below = exporter.supervisord
        assert exporter.stop() == 0
    assert not alive(below)


def test_a_stop_does_not_wait_for_the_next_start(tmp_path: Path) -> None:
    with supervised(tmp_path, INVALID, **ONCE) as exporter:
        wait_for(lambda: is_waiting(exporter) and exporter.find("sleep 9999"))
        assert exporter.stop() == 0


def test_a_stop_after_a_failure_ends_with_status_0(tmp_path: Path) -> None:
    """Whether it arrives during the pause or, as here, just before it."""
    with supervised(tmp_path, INVALID, **ONCE) as exporter:
        assert exporter.supervisord
        exporter.process.send_signal(signal.SIGSTOP)
        ended = own_directory(tmp_path / "run") / "ended"
        wait_for(lambda: ended.exists() and ended.read_text() == "2\n")
        exporter.process.send_signal(signal.SIGTERM)
        exporter.process.send_signal(signal.SIGCONT)
        assert exporter.wait() == 0
        assert not is_waiting(exporter)


def test_a_reload_starts_at_once(tmp_path: Path) -> None:
    with supervised(tmp_path, INVALID, **ONCE) as exporter:
        wait_for(lambda: is_waiting(exporter) and exporter.find("sleep 9999"))
        correct(tmp_path)
        os.kill(exporter.process.pid, signal.SIGHUP)
        exporter.wait_for_start(1)
        assert exporter.find("sleep 9999") is None
        assert exporter.stop() == 0


def test_exhausted_restarts_begin_again(tmp_path: Path) -> None:
    tries = {"NEURON_EXPORTER_STARTSECS": "60", "NEURON_EXPORTER_STARTRETRIES": "0"}
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = {
            "source": simulated(),
            "prometheus": {"listen": f"127.0.0.1:{server.getsockname()[1]}"},
        }
        with supervised(tmp_path, config, **OFTEN, **tries) as exporter:
            wait_for(lambda: exporter.logged("restarts exhausted: ") and is_waiting(exporter))
            server.close()
            exporter.wait_for_start(1)
            assert exporter.stop() == 0


def test_an_unusable_run_directory_does_not_end_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.touch()
    with supervised(tmp_path, {"source": simulated()}, **OFTEN) as exporter:
        wait_for(lambda: is_waiting(exporter))
        assert exporter.logged("NEURON_EXPORTER_RUN_DIRECTORY: must be a writable directory")
        run.unlink()
        exporter.wait_for_start(1)
        assert exporter.stop() == 0
