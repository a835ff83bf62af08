"""The image under a real Docker daemon: rights, health, signals, restarts, exit statuses."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.container import cloudwatch_variables
from tests.support.docker_engine import IMAGE, Engine
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.processes import alive
from tests.support.waiting import wait_for

pytestmark = pytest.mark.image

RESTRICTED = (
    *("--read-only", "--cap-drop=ALL", "--cap-add=IPC_LOCK"),
    "--security-opt=no-new-privileges",
)
ANY_USER = 12345
IPC_LOCK = 1 << 14  # linux/capability.h
READ_METRICS = (
    "import urllib.request as u; print(u.urlopen('http://localhost:9415/metrics').read().decode())"
)
OFTEN = ("--health-interval=1s", "--health-retries=1")
"""The image's health check, more often than once a minute."""

SUPERVISED, ALONE = (), ("run",)


def status_of(pid: int, field: str) -> list[str]:
    """Return a field of /proc/PID/status."""
    status = Path(f"/proc/{pid}/status").read_text()
    return status.split(f"\n{field}:")[1].splitlines()[0].split()


def test_default_command_without_any_setting(engine: Engine) -> None:
    """The container listens on port 9415, says that neuron-monitor is missing, and stops with 0."""
    source = {"NEURON_EXPORTER__SOURCE__KIND": "neuron-monitor"}  # the default
    with engine.container(network="none", **source) as running:
        state = running.wait_for_event("source_state")
        assert state["state"] == "missing_program"
        assert running.url == "http://127.0.0.1:9415"
        wait_for(lambda: running.run("neuron-exporter", "healthcheck").returncode == 0)
        deep = running.run("neuron-exporter", "healthcheck", "--deep")
        assert (deep.returncode, deep.stdout) == (
            1,
            "unhealthy: the source is not up (missing_program)\n",
        )
        metrics = running.run("python3", "-c", READ_METRICS).stdout
        assert "\nneuron_exporter_up 0.0\n" in metrics
        assert "\nneuroncore_utilization_ratio" not in metrics
        assert running.stop_within(30) == 0


@pytest.mark.parametrize("command", [SUPERVISED, ALONE])
@pytest.mark.parametrize("user", [0, ANY_USER])
def test_restricted_container(engine: Engine, command: tuple[str, ...], user: int) -> None:
    """With a read-only root and no capability but IPC_LOCK, as any user, the exporter measures."""
    with engine.container(*RESTRICTED, f"--user={user}:{user}", command=command) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        for pid in running.processes():
            assert {*status_of(pid, "Uid"), *status_of(pid, "Gid")} == {str(user)}
            assert int(status_of(pid, "CapBnd")[0], 16) == IPC_LOCK
            assert int(status_of(pid, "CapEff")[0], 16) in (0, IPC_LOCK)
            assert status_of(pid, "NoNewPrivs") == ["1"]
        assert running.run("touch", "/x").stderr.strip().endswith("Read-only file system")
        assert running.run("neuron-exporter", "healthcheck", "--deep").stdout.startswith("healthy")
        below = running.processes()
        assert running.stop_within(30) == 0
        assert not [pid for pid in below if alive(pid)]


def test_published_port(engine: Engine, network: str) -> None:
    """In a network of its own, a published port reaches the exporter's default address."""
    with engine.container("--publish=127.0.0.1::9415", network=network) as running:
        address = engine.output("port", running.name, "9415/tcp")
        running.reached_at = f"http://{address}"
        running.wait_for_value("neuron_exporter_up", 1)
        assert running.stop_within(30) == 0


def test_health_status(engine: Engine) -> None:
    """The container is healthy while the exporter answers, unhealthy while it hangs, and healthy
    again."""
    with engine.container(*OFTEN) as running:
        wait_for(lambda: running.health == "healthy", every=0.2)
        hung = running.exporter
        os.kill(hung, signal.SIGSTOP)
        wait_for(lambda: running.health == "unhealthy", every=0.2)
        last = running.state["Health"]["Log"][-1]
        assert (last["ExitCode"], last["Output"]) == (1, "unhealthy: no response within 5 s\n")
        os.kill(hung, signal.SIGCONT)
        wait_for(lambda: running.health == "healthy", every=0.2)
        assert running.stop_within(30) == 0


def test_supervisord_restarts_the_exporter(engine: Engine) -> None:
    """A killed exporter starts again in the same container, and the engine notices nothing."""
    with engine.container("--restart=on-failure") as running:
        first = running.exporter
        running.wait_for_value("neuron_exporter_up", 1)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(running.events("started")) == 2)
        running.wait_for_value("neuron_exporter_up", 1)
        assert running.exporter != first
        assert running.inspect()["RestartCount"] == 0
        assert running.stop_within(30) == 0


@pytest.mark.parametrize("command", [SUPERVISED, ALONE])
def test_the_engine_restarts_the_container(engine: Engine, command: tuple[str, ...]) -> None:
    """If process 1 or what it waits for is killed, the container fails, and starts once more with
    its volumes."""
    with engine.container("--restart=on-failure", command=command) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        running.run("touch", "/var/lib/neuron-exporter/kept")
        below = running.processes()
        os.kill(running.find("bin/supervisord") if not command else running.pid, signal.SIGKILL)
        running.wait_for_restart()
        assert not [pid for pid in below if alive(pid)]
        wait_for(lambda: len(running.events("started")) == 2)
        running.wait_for_value("neuron_exporter_up", 1)
        assert running.run("ls", "/var/lib/neuron-exporter/kept").returncode == 0
        assert running.stop_within(30) == 0


@pytest.mark.parametrize("command", [SUPERVISED, ALONE])
def test_stop_while_cloudwatch_hangs(engine: Engine, command: tuple[str, ...]) -> None:
    """Within the 30 s that ECS and Kubernetes allow, a container ends with 0 although a request is
    stuck."""
    with cloudwatch_endpoint() as hung:
        hung.answer = lambda _: wait_for(lambda: hung.answer is None, 90)
        settings = cloudwatch_variables(hung.url, "trn1.2xlarge")
        with engine.container(command=command, **settings) as running:
            wait_for(lambda: hung.connections)
            assert running.stop_within(30) == 0
            assert running.wait_for_event("stopped")["status"] == 0
        hung.answer = None  # type: ignore[assignment]


@pytest.mark.parametrize("command", [SUPERVISED, ALONE])
def test_signals(engine: Engine, tmp_path: Path, command: tuple[str, ...]) -> None:
    """`docker kill` with HUP reloads the mounted file, and with USR1 pauses and resumes."""
    file = tmp_path / "exporter.yaml"
    file.write_text("log: {level: info}\n")
    arguments = (*command, "--config", "/etc/exporter/exporter.yaml")
    mount = f"--volume={tmp_path}:/etc/exporter:ro"
    with engine.container(mount, command=arguments) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        running.send("HUP")  # without it, an unchanged file is not read again
        running.wait_for_event("config_reloaded", changed=[])
        file.write_text("prometheus: {preset: minimal}\n")
        running.send("HUP")
        running.wait_for_event("config_reloaded", changed=["prometheus.preset"])
        running.send("USR1")
        running.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        running.send("USR1")
        running.wait_for_value("neuron_exporter_up", 1)
        assert running.inspect()["RestartCount"] == 0
        assert running.stop_within(30) == 0


@pytest.mark.parametrize("command", [SUPERVISED, ALONE])
def test_invalid_configuration(engine: Engine, command: tuple[str, ...]) -> None:
    """A container that another start would not help ends with 2, and says why once."""
    wrong = {"NEURON_EXPORTER__SOURCE__PERIOD": "never"}
    with engine.container(command=command, **wrong) as running:
        assert running.wait() == 2
        _, log = running.streams()
        assert len([line for line in log if b"source.period" in line]) == 1


def test_retries_of_an_invalid_configuration(engine: Engine) -> None:
    """With NEURON_EXPORTER_RETRY_SECONDS the container stays, tries again, and can be stopped."""
    wrong = {"NEURON_EXPORTER__SOURCE__PERIOD": "never", "NEURON_EXPORTER_RETRY_SECONDS": "1"}
    with engine.container(**wrong) as running:
        wait_for(lambda: len([x for x in running.raw_log if "source.period" in x]) >= 2)
        assert running.stop_within(30) == 0


def test_failure_while_running(engine: Engine) -> None:
    """An exporter alone ends with 1 if its port is taken; the engine can then start it again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        listen = {"NEURON_EXPORTER__PROMETHEUS__LISTEN": address}
        with engine.container("--restart=on-failure", command=ALONE, **listen) as running:
            wait_for(lambda: running.inspect()["RestartCount"] >= 1, every=0.2)
            failed = wait_for(
                lambda: state if (state := running.state)["Status"] == "restarting" else None,
                every=0.01,
            )
            assert failed["ExitCode"] == 1
            assert f"cannot listen on {address}" in running.streams()[1][0].decode()
            taken.close()
            wait_for(lambda: b'"started"' in b"".join(running.streams()[1]), every=0.5)
            running.wait_for_restart()
            running.wait_for_value("neuron_exporter_up", 1)
            assert running.stop_within(30) == 0


@pytest.mark.parametrize("arguments", [("metrics",), ("check",), ("--no-such-flag",)])
def test_commands(engine: Engine, arguments: tuple[str, ...]) -> None:
    """A command runs alone, and its exit status is the container's: 2 after wrong use."""
    done = engine.run("run", "--rm", "--network=none", *RESTRICTED, IMAGE, *arguments)
    assert done.returncode == (0 if arguments == ("metrics",) else 2), done
