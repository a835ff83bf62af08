"""The built image, started as ECS starts it: read-only root, no capabilities."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.container import Image, container
from tests.support.processes import alive
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for

pytestmark = pytest.mark.image

ANY_USER = 12345


@pytest.mark.usefixtures("needs_prometheus")
@pytest.mark.parametrize("user", [0, ANY_USER])
def test_default_command(image: Image, tmp_path: Path, user: int) -> None:
    """Without a command the image supervises the exporter; Prometheus scrapes its cores; SIGTERM
    ends everything with 0."""
    with container(image, tmp_path, user=user) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        with prometheus_server(tmp_path, f"127.0.0.1:{running.port}") as prometheus:
            wait_for(lambda: prometheus.value("count(neuroncore_utilization_ratio)") == 32)
        below = running.processes()
        assert any("supervisord" in line for line in below.values()), below
        assert any("neuron_exporter.simulator" in line for line in below.values()), below
        uids = {Path(f"/proc/{pid}").stat().st_uid for pid in below}
        assert uids == {user}, below
        assert running.stop() == 0
        assert not [pid for pid in below if alive(pid)]


@pytest.mark.parametrize("user", [0, ANY_USER])
def test_restart_after_kill(image: Image, tmp_path: Path, user: int) -> None:
    """A killed exporter is restarted, and the container goes on."""
    with container(image, tmp_path, user=user) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        first = running.exporter
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(running.events("started")) == 2)
        running.wait_for_value("neuron_exporter_up", 1)
        assert running.exporter != first
        assert running.stop() == 0


def test_without_tools_nothing_is_measured(image: Image, tmp_path: Path) -> None:
    """The image without AWS's tools sets no source: it has no simulated values by itself."""
    assert not [name for name in image.environment if name.startswith("NEURON_EXPORTER__")]
    default = {"NEURON_EXPORTER__SOURCE__KIND": "neuron-monitor"}
    with container(image, tmp_path, **default) as running:
        running.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        assert "neuroncore_utilization_ratio" not in running.families()
        assert running.stop() == 0


def test_invalid_configuration(image: Image, tmp_path: Path) -> None:
    """An error that a restart cannot fix is logged once, and the container exits with 2."""
    wrong = {"NEURON_EXPORTER__SOURCE__PERIOD": "never"}
    with container(image, tmp_path, **wrong) as running:
        assert running.wait() == 2
        said = [line for line in running.raw_log if "source.period" in line]
        assert len(said) == 1, running.raw_log


def test_writable_root_is_left_alone(image: Image, tmp_path: Path) -> None:
    """Nothing outside the two volumes is written, even where it could be."""
    with container(image, tmp_path, read_only=False) as running:
        assert running.run("touch", "/by-the-test").returncode == 0
        running.wait_for_value("neuron_exporter_up", 1)
        made = running.run("find", "/", "-xdev", "-newer", "/dev", "-type", "f")
        assert made.stdout.split() == ["/by-the-test"]
        assert running.stop() == 0


def test_run_command(image: Image, tmp_path: Path) -> None:
    """With `run`, as on Kubernetes, process 1 is the exporter, so that it receives signals."""
    with container(image, tmp_path, "run") as running:
        running.wait_for_value("neuron_exporter_up", 1)
        assert "supervisord" not in " ".join(running.processes().values())
        assert "neuron-exporter run" in running.processes()[running.pid]
        running.send(signal.SIGUSR1)
        running.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        assert running.stop() == 0


@pytest.mark.parametrize("arguments", [(), ("run",)])
def test_orphans_of_neuron_monitor_are_reaped(
    image: Image, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Without an init, no zombie remains of neuron-monitor and its children."""
    command = '[sh, -c, "sleep 9999 & exec python3 -m neuron_exporter.simulator $@", sh]'
    source = {
        "NEURON_EXPORTER__SOURCE__KIND": "neuron-monitor",
        "NEURON_EXPORTER__SOURCE__COMMAND": command,
    }
    with container(image, tmp_path, *arguments, **source) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        left = {running.find("sleep 9999"), running.find("neuron_exporter.simulator")}
        os.kill(running.find("neuron_exporter.simulator"), signal.SIGKILL)
        wait_for(lambda: not left & set(running.processes()))
        running.wait_for_value("neuron_exporter_source_restarts_total", 1, reason="exited")
        wait_for(lambda: all(alive(pid) for pid in running.processes()))
        assert running.stop() == 0


def test_orphans_of_commands_are_reaped(image: Image, tmp_path: Path) -> None:
    """A command run in the container leaves no zombie."""
    with container(image, tmp_path) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        running.run("sh", "-c", "sleep 0.321 & exit 0")
        wait_for(lambda: not any("sleep 0.321" in line for line in running.processes().values()))
        wait_for(lambda: all(alive(pid) for pid in running.processes()))
        assert running.stop() == 0


@pytest.mark.parametrize("user", [0, ANY_USER])
@pytest.mark.parametrize("arguments", [(), ("run",)])
def test_health_check(image: Image, tmp_path: Path, arguments: tuple[str, ...], user: int) -> None:
    """The image's health check finds the port, and exits with 0 while the exporter answers and 1
    otherwise."""
    check = image.config["Healthcheck"]["Test"][1:]
    with container(image, tmp_path, *arguments, user=user) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        assert running.run(*check).returncode == 0
        assert running.run(*check, "--deep").stdout.startswith("healthy: ")
        stopped = running.exporter
        os.kill(stopped, signal.SIGSTOP)
        done = running.run(*check)
        assert (done.returncode, done.stdout) == (1, "unhealthy: no response within 5 s\n")
        os.kill(stopped, signal.SIGCONT)
        wait_for(lambda: running.run(*check).returncode == 0)
        assert running.stop() == 0


PEAK_MEMORY = """
from neuron_exporter.cli.main import main
assert main(["healthcheck"]) == 0
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def test_health_check_memory(image: Image, tmp_path: Path) -> None:
    """The health check takes at most 20 MiB."""
    with container(image, tmp_path) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        resident = int(running.run("python3", "-c", PEAK_MEMORY).stdout.splitlines()[-1]) / 1024
        print(f"{resident:.1f} MiB")
        assert resident <= 20
