"""A Docker daemon of the tests' own, and containers that it runs.

The daemon keeps everything in one folder, reads no configuration of this machine, and changes
neither its firewall nor its routing. It ends with the tests. Root is required.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.container import RunningContainer
from tests.support.waiting import wait_for

IMAGE = "neuron-exporter:test"
"""Name of the image that is tested."""

_DAEMON = (
    # Its mounts end with it, and it ends if the tests are killed.
    *("unshare", "--mount", "setpriv", "--pdeathsig", "TERM", "dockerd"),
    *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
)


class EngineUnavailable(Exception):
    """The daemon does not run on this machine; the message is its own."""


class Engine:
    """A running Docker daemon and its command line."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
            "DOCKER_CONFIG": str(folder / "client"),
        }
        self._numbers = itertools.count()

    def run(self, *arguments: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run `docker ARGUMENTS` to its end."""
        return subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=seconds,
            check=False,
        )

    def output(self, *arguments: str) -> str:
        """Return what `docker ARGUMENTS` prints; it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def configuration(self, image: str) -> dict[str, Any]:
        """Return the configuration of an image: its entry point, its variables, its volumes."""
        (found,) = json.loads(self.output("image", "inspect", image))
        return dict(found["Config"])

    def read(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `docker ARGUMENTS` beside the test, and return the process, whose standard error is
        a pipe."""
        return subprocess.Popen(
            ["docker", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.environment,
        )

    @contextmanager
    def container(
        self,
        *options: str,
        command: Sequence[str] = (),
        network: str = "host",
        attached: bool = False,
        **environment: str,
    ) -> Iterator[EngineContainer]:
        """Run a container with these options of `docker run`.

        On the machine's network the exporter listens on a free port, unless `environment` sets
        another address, and in any network it reads the simulator, unless it sets another source.
        An attached container's streams are copied to a client, `running.process`, too.
        """
        variables = {
            "NEURON_EXPORTER__SOURCE__KIND": "simulator",
            "NEURON_EXPORTER__LOG__FORMAT": "json",
            "AWS_EC2_METADATA_DISABLED": "true",
            **environment,
        }
        if network == "host":
            variables.setdefault("NEURON_EXPORTER__PROMETHEUS__LISTEN", "127.0.0.1:0")
        name = f"exporter-{next(self._numbers)}"
        arguments = [f"--name={name}", f"--network={network}", *options]
        arguments += [f"--env={key}={value}" for key, value in variables.items()]
        client = None
        if attached:
            client = self.read("run", *arguments, IMAGE, *command)
            wait_for(lambda: self.run("inspect", name).returncode == 0)
        else:
            self.output("run", "--detach", *arguments, IMAGE, *command)
        running = EngineContainer(self, name, client)
        try:
            yield running
        finally:
            running.process.kill()  # a client that does not read blocks the daemon
            self.output("rm", "--force", "--volumes", name)
            running.close()


class EngineContainer(RunningContainer):
    """A running container. `process` is a client that reads its standard error, by default
    `docker logs`."""

    def __init__(
        self, engine: Engine, name: str, client: subprocess.Popen[bytes] | None = None
    ) -> None:
        super().__init__(client or engine.read("logs", "--follow", name))
        self._engine = engine
        self.name = name
        self.reached_at = ""
        """URL of a published port, in place of the one that the exporter knows."""

    @property
    def url(self) -> str:
        """URL at which this machine reaches the exporter, once it has started."""
        own = super().url  # a published port accepts connections before the exporter does
        return self.reached_at or own

    def inspect(self) -> dict[str, Any]:
        """Return what the engine knows about the container."""
        (found,) = json.loads(self._engine.output("inspect", self.name))
        return dict(found)

    @property
    def state(self) -> dict[str, Any]:
        """State of the container: status, process id, exit status, health, out of memory."""
        return dict(self.inspect()["State"])

    @property
    def pid(self) -> int:
        """Id of the container's process 1 on this machine."""
        return int(wait_for(lambda: self.state["Pid"]))

    @property
    def health(self) -> str:
        """The engine's verdict: starting, healthy or unhealthy."""
        return str(self.state["Health"]["Status"])

    def wait_for_restart(self) -> None:
        """Wait until the engine has started the container again, and read its log from the
        beginning: a client's stream ends with process 1."""
        wait_for(lambda: self.inspect()["RestartCount"], every=0.2)
        wait_for(lambda: self.state["Status"] == "running", every=0.2)
        self.close()
        super().__init__(self._engine.read("logs", "--follow", self.name))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        return self._engine.run("exec", self.name, *command)

    def send(self, signal: str) -> None:
        """Send a signal (HUP, for example) to process 1."""
        self._engine.output("kill", f"--signal={signal}", self.name)

    def stop_within(self, seconds: int) -> int:
        """Stop the container, which the engine kills after so many seconds; return its status."""
        self._engine.output("stop", f"--time={seconds}", self.name)
        return self.wait()

    def wait(self, seconds: float = 60.0) -> int:
        """Wait for the container's end and return its exit status."""
        return int(self._engine.run("wait", self.name, seconds=seconds).stdout)

    def streams(self) -> tuple[list[bytes], list[bytes]]:
        """Return the lines on standard output and on standard error so far."""
        done = subprocess.run(
            ["docker", "logs", self.name],
            capture_output=True,
            env=self._engine.environment,
            check=True,
        )
        return done.stdout.splitlines(keepends=True), done.stderr.splitlines(keepends=True)

    def close(self) -> None:
        """End the client and close its pipes."""
        self.process.kill()
        self.process.wait()
        self._reading.join(60)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def docker_engine(folder: Path) -> Iterator[Engine]:
    """Run a Docker daemon that keeps everything in this folder, and remove it with all containers.

    Raises:
        EngineUnavailable: the daemon ended at once.
    """
    folder.mkdir(exist_ok=True)
    (folder / "daemon.json").write_text("{}")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *_DAEMON,
                f"--config-file={folder}/daemon.json",
                f"--host=unix://{folder}/docker.sock",
                f"--pidfile={folder}/pid",
                f"--data-root={folder}/data",
                f"--exec-root={folder}/run",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl+C ends the tests, and they end the daemon
        )
    engine = Engine(folder)
    try:
        wait_for(lambda: process.poll() is not None or engine.run("version").returncode == 0)
        if process.poll() is not None:
            raise EngineUnavailable(log.read_text().strip().splitlines()[-1])
        yield engine
    finally:
        process.terminate()
        process.wait(120)
        shutil.rmtree(folder)
