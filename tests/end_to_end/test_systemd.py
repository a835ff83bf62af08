"""The service as systemd runs it: the unit file, the steps of the guide, and the notification."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.cli.common import WRONG_USE
from neuron_exporter.config.spool import SpoolConfig
from neuron_exporter.daemon.daemon import STOP_SECONDS
from tests.conftest import missing
from tests.support.children import child
from tests.support.commands import run, shell_environment
from tests.support.documents import section
from tests.support.exporter import EXPORTER, RunningExporter, clean_environment, running_exporter
from tests.support.paths import ROOT
from tests.support.processes import children_of
from tests.support.systemd import PROGRAM, UNIT

START_LIMIT_BURST, START_LIMIT_SECONDS = 5, 10.0
"""systemd's defaults (systemd-system.conf(5)): more starts in this time are one failure."""

EXPOSURE = 30
"""Highest exposure that `systemd-analyze security` may compute, from 0 to 100 (a unit without any
setting has 96)."""

NO_DRIVER = {"source": {"command": child("no-driver", "forever")}}


@pytest.fixture(scope="session")
def needs_systemd() -> None:
    """Require systemd-analyze 250, the first that judges a file without a running systemd."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze is not installed (Debian: systemd)")
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, check=True)
    if int(version.stdout.split()[1]) < 250:
        missing("systemd-analyze is older than 250")


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    """Return the section of the unit file that starts the program."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text())
    return unit["Service"]


class Manager:
    """The socket on which systemd receives notifications."""

    def __init__(self, address: str) -> None:
        self.variable = {"NOTIFY_SOCKET": address.replace("\0", "@")}
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)

    def receive(self, seconds: float) -> bytes:
        """Return the next datagram."""
        self.socket.settimeout(seconds)
        return self.socket.recv(4096)

    def fill(self) -> None:
        """Send datagrams that stay unread until no more fit."""
        with suppress(BlockingIOError):
            while True:
                # One socket alone would reach its own limit first.
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.setblocking(False)
                    sender.sendto(b"unread", self.address)


@contextmanager
def manager(folder: Path, kind: str = "path") -> Iterator[Manager]:
    """Open a socket in the file system, or an abstract one."""
    address = str(folder / "notify")
    found = Manager(f"\0{address}" if kind == "abstract" else address)
    try:
        yield found
    finally:
        found.socket.close()


# The notification


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_ready_once_without_a_driver(tmp_path: Path, kind: str) -> None:
    """READY=1 is sent when the port answers, not when a report arrives, and nothing else until the
    process ends. A host without a driver would otherwise reach the time limit of a start."""
    with (
        manager(tmp_path, kind) as systemd,
        running_exporter(tmp_path, NO_DRIVER, environment=systemd.variable) as exporter,
    ):
        assert systemd.receive(60) == b"READY=1"
        assert exporter.get("/healthz")[0] == 200
        exporter.wait_for_event("source_state", state="no_driver")
        assert exporter.stop() == 0
        with pytest.raises(BlockingIOError):
            systemd.receive(0)


def test_children_cannot_notify(tmp_path: Path) -> None:
    """neuron-monitor does not inherit the socket, even if `source.environment` passes it."""
    source = {"command": child("report", "forever"), "environment": {"NOTIFY_SOCKET": None}}
    with (
        manager(tmp_path) as systemd,
        running_exporter(tmp_path, {"source": source}, environment=systemd.variable) as exporter,
    ):
        exporter.wait_for_value("neuron_exporter_up", 1)
        (pid,) = children_of(exporter.process.pid)
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize("state", ["missing", "full", "not a path"])
def test_unusable_socket(tmp_path: Path, state: str) -> None:
    """The exporter logs that it could not notify, and serves."""
    with manager(tmp_path) as systemd:
        match state:
            case "missing":
                os.unlink(systemd.address)
            case "full":
                systemd.fill()
            case _:
                systemd.variable["NOTIFY_SOCKET"] = "vsock:2:1234"
        with running_exporter(tmp_path, NO_DRIVER, environment=systemd.variable) as exporter:
            exporter.wait_for_event("notify_failed", socket=systemd.variable["NOTIFY_SOCKET"])
            assert exporter.get("/healthz")[0] == 200
            assert exporter.stop() == 0


# The unit file


def test_unit_waits_for_the_notification(service: configparser.SectionProxy) -> None:
    assert service["Type"] == "notify"


def test_restarts(service: configparser.SectionProxy) -> None:
    """An invalid configuration is not retried; any other end is, without reaching the start
    limit."""
    assert service["Restart"] == "always"
    assert int(service["RestartPreventExitStatus"]) == WRONG_USE
    assert float(service["RestartSec"]) * START_LIMIT_BURST > START_LIMIT_SECONDS
    assert float(service["TimeoutStopSec"]) >= STOP_SECONDS + 5


def test_spool_has_a_directory(service: configparser.SectionProxy) -> None:
    """The spool is the only thing that is written, and the rest of the system is read-only."""
    path = SpoolConfig().path
    assert path is not None
    assert Path("/var/lib", service["StateDirectory"]) == Path(path).parent
    assert service["ProtectSystem"] == "strict"


def test_devices_are_accessible(service: configparser.SectionProxy) -> None:
    """No setting restricts /dev/neuron*: ProtectClock implies DeviceAllow, which denies all devices
    that it does not name (systemd.exec(5), systemd.resource-control(5))."""
    assert not {"DeviceAllow", "DevicePolicy", "PrivateDevices", "ProtectClock"} & service.keys()


def with_present_program(folder: Path) -> Path:
    """Return a copy of the unit file whose program exists here."""
    program = folder / "neuron-exporter"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = folder / UNIT.name
    assert PROGRAM in UNIT.read_text()
    copy.write_text(UNIT.read_text().replace(PROGRAM, str(program)))
    return copy


@pytest.mark.usefixtures("needs_systemd")
@pytest.mark.parametrize(
    "arguments", [("verify", "--man=no"), ("security", "--offline=true", f"--threshold={EXPOSURE}")]
)
def test_systemd_accepts_the_unit(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["systemd-analyze", *arguments, str(with_present_program(tmp_path))],
        capture_output=True,
        text=True,
        env=shell_environment(SYSTEMD_COLORS="0"),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if arguments[0] == "verify":
        assert not done.stderr


# The steps of the guide


def steps(folder: Path) -> list[str]:
    """Run the commands of the guide that need no systemd, below a folder; return the others."""
    guide = section("docs/install.md", "Run as a systemd service")
    (text,) = re.findall(r"^```console\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    commands = [line.removeprefix("$ ").partition("  #")[0] for line in text.splitlines()]
    for command in commands:
        if command.startswith("systemctl"):
            continue
        done = subprocess.run(
            ["sh", "-ec", relocated(command, folder)],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return [command for command in commands if command.startswith("systemctl")]


def relocated(command: str, folder: Path) -> str:
    """Return a command with the program of this environment, and files below a folder."""
    return command.replace(PROGRAM, shlex.join(EXPORTER)).replace("/etc/", f"{folder}/etc/")


def test_steps_lead_to_a_running_service(
    tmp_path: Path, service: configparser.SectionProxy
) -> None:
    """The steps install the unit file and create every file that it names; its command then serves
    and notifies."""
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    remaining = steps(tmp_path)
    assert remaining[0] == "systemctl enable --now neuron-exporter"
    installed = tmp_path / "etc" / "systemd" / "system" / UNIT.name
    assert installed.read_text() == UNIT.read_text()
    settings = {
        "NEURON_EXPORTER__PROMETHEUS__LISTEN": '["127.0.0.1:0"]',
        "NEURON_EXPORTER__LOG__FORMAT": "json",
    }
    with (
        manager(tmp_path) as systemd,
        running(relocated(service["ExecStart"], tmp_path), systemd, settings) as exporter,
    ):
        assert systemd.receive(60) == b"READY=1"
        assert exporter.get("/healthz")[0] == 200
        assert exporter.stop() == 0


@contextmanager
def running(command: str, systemd: Manager, settings: dict[str, str]) -> Iterator[RunningExporter]:
    """Run the command of the unit file."""
    process: subprocess.Popen[Any] = subprocess.Popen(
        shlex.split(command),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=clean_environment(**systemd.variable, **settings),
    )
    with closing(RunningExporter(process)) as exporter:
        yield exporter


def test_missing_configuration_is_not_retried(
    tmp_path: Path, service: configparser.SectionProxy
) -> None:
    words = shlex.split(relocated(service["ExecStart"], tmp_path))
    done = run(*words[len(EXPORTER) :])
    assert done.status == int(service["RestartPreventExitStatus"])
    assert str(tmp_path) in done.err
