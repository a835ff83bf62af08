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

NOBODY = 65534


@pytest.mark.usefixtures("needs_prometheus")
@pytest.mark.parametrize("user", [0, NOBODY])
def test_the_default_command_is_scraped_and_stops_in_order(
    image: Image, tmp_path: Path, user: int
) -> None:
    """Without a command the image supervises the exporter, whose source is the simulator; a
    Prometheus gets its cores; SIGTERM ends all of it with status 0."""
    with container(image, tmp_path, user=user) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        with prometheus_server(tmp_path, f"127.0.0.1:{running.port}") as prometheus:
            wait_for(lambda: prometheus.value("count(neuroncore_utilization_ratio)") == 32, 30)
        below = running.processes()
        assert any("supervisord" in line for line in below.values()), below
        assert any("neuron_exporter.simulator" in line for line in below.values()), below
        uids = {Path(f"/proc/{pid}").stat().st_uid for pid in below}
        assert uids == {user}, below
        assert running.stop() == 0
        assert not [pid for pid in below if alive(pid)]


@pytest.mark.parametrize("user", [0, NOBODY])
def test_a_killed_exporter_comes_back(image: Image, tmp_path: Path, user: int) -> None:
    """The death of the exporter ends neither the container nor its metrics."""
    with container(image, tmp_path, user=user) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        first = running.exporter
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(running.events("started")) == 2)
        running.wait_for_value("neuron_exporter_up", 1)
        assert running.exporter != first
        assert running.stop() == 0


def test_a_wrong_configuration_ends_the_container_with_2_once(image: Image, tmp_path: Path) -> None:
    """What another start would not mend is said once, and is the container's status."""
    wrong = {"NEURON_EXPORTER__SOURCE__PERIOD": "never"}
    with container(image, tmp_path, **wrong) as running:
        assert running.wait() == 2
        said = [line for line in running.raw_log if "source.period" in line]
        assert len(said) == 1, running.raw_log


def test_a_root_that_can_be_written_is_left_alone(image: Image, tmp_path: Path) -> None:
    """Nothing outside of the two volumes is written to, even where it could be."""
    with container(image, tmp_path, read_only=False) as running:
        assert running.run("touch", "/by-the-test").returncode == 0
        running.wait_for_value("neuron_exporter_up", 1)
        made = running.run("find", "/", "-xdev", "-newer", "/dev", "-type", "f")
        assert made.stdout.split() == ["/by-the-test"]
        assert running.stop() == 0


def test_run_is_the_exporter_alone(image: Image, tmp_path: Path) -> None:
    """With `run`, as on Kubernetes, process 1 is the exporter itself: it gets the signals."""
    with container(image, tmp_path, "run") as running:
        running.wait_for_value("neuron_exporter_up", 1)
        assert "supervisord" not in " ".join(running.processes().values())
        assert "neuron-exporter run" in running.processes()[running.pid]
        running.send(signal.SIGUSR1)
        running.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        assert running.stop() == 0


@pytest.mark.parametrize("arguments", [(), ("run",)])
def test_what_neuron_monitor_leaves_behind_is_reaped(
    image: Image, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Without an init, too, no zombie stays of neuron-monitor and of what it had started."""
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


def test_supervised_the_orphans_of_anybody_are_reaped(image: Image, tmp_path: Path) -> None:
    """What a command in the container leaves behind does not stay as a zombie either."""
    with container(image, tmp_path) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        running.run("sh", "-c", "sleep 0.321 & exit 0")
        wait_for(lambda: not any("sleep 0.321" in line for line in running.processes().values()))
        wait_for(lambda: all(alive(pid) for pid in running.processes()))
        assert running.stop() == 0


@pytest.mark.parametrize("user", [0, NOBODY])
@pytest.mark.parametrize("arguments", [(), ("run",)])
def test_the_health_check_tells_well_from_unwell(
    image: Image, tmp_path: Path, arguments: tuple[str, ...], user: int
) -> None:
    """The image's own check is 0 while the exporter answers and 1 while it does not, within what it
    may cost: it finds the port by itself."""
    check = image.config["Healthcheck"]["Test"][1:]
    with container(image, tmp_path, *arguments, user=user) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        assert running.run(*check).returncode == 0
        assert running.run(*check, "--deep").stdout.startswith("well: ")
        stopped = running.exporter
        os.kill(stopped, signal.SIGSTOP)
        done = running.run(*check)
        assert (done.returncode, done.stdout) == (1, "not well: no answer within 5 s\n")
        os.kill(stopped, signal.SIGCONT)
        wait_for(lambda: running.run(*check).returncode == 0)
        assert running.stop() == 0


COST = """
from neuron_exporter.cli.main import main
assert main(["healthcheck"]) == 0
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


TIME = """
import resource, subprocess
best, spent = 9.0, 0.0
for _ in range(10):
    subprocess.run(["neuron-exporter", "healthcheck"], check=True, stdout=subprocess.DEVNULL)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    now = usage.ru_utime + usage.ru_stime
    best, spent = min(best, now - spent), now
print(best)
"""


def test_the_health_check_fits_beside_the_exporter(image: Image, tmp_path: Path) -> None:
    """It takes at most 20 MiB, and less than 60 ms: of CPU time, which others do not make more."""
    with container(image, tmp_path) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        resident = int(running.run("python3", "-c", COST).stdout.splitlines()[-1]) / 1024
        took = float(running.run("python3", "-c", TIME).stdout)
        print(f"{resident:.1f} MiB, {1000 * took:.0f} ms of CPU")
        assert resident <= 20
        assert took < 0.06
