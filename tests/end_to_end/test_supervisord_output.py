"""Standard output of the exporter under a real supervisord: metrics, and only metrics."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.emf import published
from tests.support.processes import alive
from tests.support.supervised import SIMULATED, descendants, supervised
from tests.support.waiting import wait_for


class Output:
    """Thread that collects the output of a pipe, a socket or a terminal."""

    def __init__(self, fd: int) -> None:
        self.data = b""
        self._fd = fd
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._fd, 65536):
                self.data += chunk
        except OSError as error:
            if error.errno != errno.EIO:  # the terminal was closed
                raise

    def lines(self) -> list[bytes]:
        """Return all lines once every writer has closed the output."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "a process still has the output open"
        return self.data.splitlines(keepends=True)


@contextmanager
def output_of_kind(kind: str) -> Iterator[tuple[int, Output]]:
    """Open an output of this kind; yield the write end and a collector of its lines."""
    if kind == "pipe":
        read, write = os.pipe()
    elif kind == "terminal":
        read, write = os.openpty()
    else:
        read, write = (each.detach() for each in socket.socketpair())
    output = Output(read)
    try:
        yield write, output
    finally:
        output._thread.join(60)
        os.close(read)


def test_restart_after_kill(tmp_path: Path) -> None:
    """SIGKILL of the exporter, or of the process that supervisord watches, leads to one new
    exporter; standard output has metrics only."""
    with (
        output_of_kind("pipe") as (write, output),
        supervised(tmp_path, SIMULATED, stdout=write) as exporter,
    ):
        os.close(write)
        exporter.wait_for_start(1)
        seen = set(descendants(exporter.process.pid))
        os.kill(exporter.exporter, signal.SIGKILL)
        exporter.wait_for_start(2)
        seen |= set(descendants(exporter.process.pid))
        supervised_shell = wait_for(lambda: exporter.find("run_exporter.sh"))
        os.kill(supervised_shell, signal.SIGKILL)
        exporter.wait_for_start(3)
        seen |= set(descendants(exporter.process.pid))
        found = len(output.data)
        wait_for(lambda: len(output.data) > found)

        assert exporter.stop() == 0
        lines = output.lines()
    assert published(lines)
    assert not any(map(alive, seen))
    assert exporter.logged("exit status 137; not expected"), "supervisord logs to stderr"


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_every_kind_of_stdout(tmp_path: Path, kind: str) -> None:
    """A pipe, a socket and a terminal receive metrics, and only metrics."""
    with (
        output_of_kind(kind) as (write, output),
        supervised(tmp_path, SIMULATED, stdout=write) as exporter,
    ):
        os.close(write)
        exporter.wait_for_start(1)
        wait_for(lambda: b"ExporterHeartbeat" in output.data)
        assert exporter.stop() == 0
        lines = output.lines()
    assert published(line.replace(b"\r\n", b"\n") for line in lines)


def test_unread_stdout(tmp_path: Path) -> None:
    """With a full pipe the exporter logs the failure, keeps running, and stops in order."""
    stuck, full = os.pipe()
    with open(stuck, "rb"), open(full, "wb", buffering=0) as output:
        os.set_blocking(full, False)
        while output.write(b"x" * 4096):
            pass
        os.set_blocking(full, True)
        with supervised(tmp_path, SIMULATED, stdout=output) as exporter:
            exporter.wait_for_event("delivery_failing", code="OutputBlocked")
            os.kill(exporter.exporter, signal.SIGKILL)
            exporter.wait_for_start(2)

            assert exporter.stop() == 0


def test_stdout_file_is_appended(tmp_path: Path) -> None:
    """Metrics follow what the file already contains."""
    path = tmp_path / "output"
    with path.open("wb") as file:
        file.write(b"before\n")
        file.flush()
        with supervised(tmp_path, SIMULATED, stdout=file) as exporter:
            exporter.wait_for_start(1)
            wait_for(lambda: b"ExporterHeartbeat" in path.read_bytes())
            assert exporter.stop() == 0
    first, *lines = path.read_bytes().splitlines(keepends=True)
    assert first == b"before\n"
    assert published(lines)
