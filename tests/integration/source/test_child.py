"""Child processes: isolation, standard error, exit and cleanup."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.source import child as child_module
from neuron_exporter.source.child import Backoff, Child, SpawnError
from tests.support.children import child, script
from tests.support.paths import ROOT
from tests.support.processes import alive, children_of, descriptors, group_members, threads
from tests.support.starter import starter
from tests.support.waiting import wait_for

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@contextmanager
def started(
    *command: str, on_stderr: Callable[[str], None] = lambda _: None, timeout: float = 5.0
) -> Iterator[Child]:
    """Start a child and stop it afterwards."""
    process = Child(command, ENVIRONMENT, on_stderr)
    try:
        yield process
    finally:
        if process._process.returncode is None:
            process.stop(timeout)


def read_line(process: Child) -> bytes:
    """Read one line of the child's output."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(process.stdout, 1)
        assert byte, f"the output ended after {line!r}"
        line += byte
    return line[:-1]


def read_all(process: Child) -> bytes:
    """Read the child's output to its end."""
    data = b""
    while chunk := os.read(process.stdout, 65536):
        data += chunk
    return data


@pytest.fixture
def facts() -> dict[str, Any]:
    """Return what a child can see of its own process."""
    with started(*child("facts", "forever")) as process:
        found: dict[str, Any] = json.loads(read_line(process))
        assert found["pid"] == process.pid
        return found


def test_own_session(facts: dict[str, Any]) -> None:
    """Ctrl-C in the exporter's terminal does not reach the child, whose group can be signalled."""
    assert facts["group"] == facts["session"] == facts["pid"]
    assert facts["session"] != os.getsid(0)


def test_inherited_state(facts: dict[str, Any]) -> None:
    """The child does not inherit variables, files or the standard input."""
    environment = facts["environment"]
    environment.pop("LC_CTYPE", None)  # Python's own, under the C locale
    assert environment == ENVIRONMENT
    # The last one is the directory that was listed.
    assert len(facts["descriptors"]) == 4
    assert facts["descriptors"][:3] == [0, 1, 2]
    assert facts["input"] == "/dev/null"


def test_oom_score(facts: dict[str, Any]) -> None:
    """The kernel kills the child before the exporter."""
    own = int(Path("/proc/self/oom_score_adj").read_text())

    assert facts["oom_score_adj"] == min(1000, own + 500)


def test_default_sigpipe() -> None:
    """SIGPIPE, which Python ignores, has its default effect in the child."""
    with started("/bin/cat", "/proc/self/status") as process:
        status = dict(line.split(":\t", 1) for line in read_all(process).decode().splitlines())

    assert not int(status["SigIgn"], 16) >> (signal.SIGPIPE - 1) & 1


@pytest.mark.parametrize("how", ["main", "thread"])
def test_killed_with_starting_thread(how: str) -> None:
    """The kernel kills the child when the starting process or thread ends."""
    with subprocess.Popen(
        starter(how, "ignore", "print=ready", "forever"), cwd=ROOT, stdout=subprocess.PIPE
    ) as helper:
        assert helper.stdout is not None
        pid = int(helper.stdout.readline())
        if how == "main":
            assert alive(pid)
            helper.kill()
        wait_for(lambda: not alive(pid))
        helper.kill()


def test_orphans_are_reaped() -> None:
    """As process 1 the exporter reaps the orphans of a child."""
    with subprocess.Popen(
        starter("adopt", "grandchild", "forever"), cwd=ROOT, stdout=subprocess.PIPE
    ) as helper:
        assert helper.stdout is not None
        helper.stdout.readline()
        assert int(helper.stdout.readline()) == 0
        helper.kill()


def test_stderr_flood() -> None:
    """Megabytes on standard error do not block the child, and no line is lost."""
    lines: list[str] = []
    with started(*child("stderr-flood=40000", "print=done"), on_stderr=lines.append) as process:
        assert read_line(process) == b"done"
        wait_for(process.ended)
        assert process.stop(5) == 0

    assert len(lines) == 40_000
    assert lines[0].startswith("complaint 000000 x")
    assert lines[-1].startswith("complaint 039999 x")


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("stderr=one\n\n  two  ", ["one", "two"]),
        ("stderr-rest=last words", ["last words"]),
        ("stderr-bytes=ff00fe0a", ["\ufffd\ufffd\ufffd"]),
        ("stderr-rest=" + "x" * 5000, ["x" * 999 + "…"]),
    ],
    ids=["lines", "no end", "no text", "long"],
)
def test_stderr_lines(step: str, expected: list[str]) -> None:
    """Lines are stripped and limited to 4096 bytes."""
    lines: list[str] = []
    with started(*child(step), on_stderr=lines.append) as process:
        read_all(process)
        process.stop(5)

    assert lines == expected


@pytest.mark.parametrize(
    ("steps", "status"),
    [(["exit=0"], 0), (["exit=7"], 7), (["kill=9"], -9)],
)
def test_exit_status(steps: list[str], status: int) -> None:
    """`stop` returns the exit status, or the negative number of a signal."""
    with started(*child(*steps)) as process:
        wait_for(process.ended)

        assert process.stop(5) == status


def test_sigterm_first() -> None:
    """`stop` sends SIGTERM first and returns as soon as the child has ended."""
    with started(*child("print=ready", "forever")) as process:
        read_line(process)

        assert process.stop(3600) == -signal.SIGTERM


def test_sigkill_after_the_timeout() -> None:
    """SIGKILL ends the whole process group after the timeout."""
    with started(*child("ignore", "grandchild", "forever")) as process:
        grandchild = int(read_line(process))
        assert len(group_members(process.pid)) == 2

        assert process.stop(0.1) == -signal.SIGKILL

        wait_for(lambda: not alive(grandchild))


def test_grandchild_of_an_ended_child() -> None:
    """`stop` also ends what an ended child has left behind."""
    with started(*child("grandchild", "exit=3")) as process:
        grandchild = int(read_line(process))
        wait_for(process.ended)
        assert group_members(process.pid) == [grandchild]

        assert process.stop(5) == 3

        wait_for(lambda: not alive(grandchild))


def test_grandchild_outside_the_group() -> None:
    """`stop` also ends a daemonised grandchild, and nothing of it remains."""
    before = descriptors()
    with started(*child("daemon-grandchild", "stderr=text", "exit=0")) as process:
        daemon = int(read_line(process))
        wait_for(process.ended)
        process.stop(5)

        assert not alive(daemon)
        assert daemon not in children_of(os.getpid())
        assert threads("stderr") == []
        assert descriptors() <= before


def test_grandchild_that_cannot_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It delays `stop`, but keeps neither the drain thread nor a descriptor in use."""
    monkeypatch.setattr(child_module, "kill_orphans_of", lambda _: True)
    before = descriptors()
    with started(*child("daemon-grandchild", "stderr=text", "exit=0")) as process:
        daemon = int(read_line(process))
        try:
            wait_for(process.ended)
            process.stop(5)

            assert alive(daemon)
            assert threads("stderr") == []
            assert descriptors() <= before
        finally:
            os.kill(daemon, signal.SIGKILL)
            os.waitpid(daemon, 0)


def test_fifty_children_leak_nothing() -> None:
    """Neither descriptors, threads nor zombies remain, whether children exit or are stopped."""
    pids = []
    before = descriptors()
    for number in range(50):
        command = ("/bin/true",) if number % 2 else ("/bin/sleep", "60")
        with started(*command) as process:
            pids.append(process.pid)
            if number % 2:
                read_all(process)

    assert descriptors() <= before
    assert not threads("stderr")
    assert not set(pids) & set(children_of(os.getpid()))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("not_executable", "Permission denied"),
        ("folder", "Permission denied"),
        ("no_interpreter", "No such file or directory"),
        ("no_program", "Exec format error"),
        ("nothing", "No such file or directory"),
        ("nul\0", "embedded null byte"),
    ],
)
def test_spawn_error(tmp_path: Path, name: str, reason: str) -> None:
    """The error contains the path and the system's reason, and nothing leaks."""
    (tmp_path / "not_executable").write_text("#!/bin/sh\n")
    (tmp_path / "folder").mkdir()
    script(tmp_path / "no_interpreter", "").write_text("#!/nowhere/sh\n")
    script(tmp_path / "no_program", "").write_text("just text\n")
    path = str(tmp_path / name)
    before, children = descriptors(), children_of(os.getpid())

    with pytest.raises(SpawnError) as caught:
        Child([path], ENVIRONMENT, lambda _: None)

    assert str(caught.value) == f"{path}: {reason}"
    assert descriptors() <= before
    assert children_of(os.getpid()) == children


def test_spawn_error_without_descriptors() -> None:
    code = (
        "import resource, os\n"
        "from neuron_exporter.source.child import Child, SpawnError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')), 64))\n"
        "try: Child(['/bin/true'], {}, print)\n"
        "except SpawnError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "/bin/true: Too many open files\n"


def test_unkillable_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop` returns None for a child that even SIGKILL does not end."""
    with started(*child("print=ready", "forever")) as process:
        read_line(process)
        with monkeypatch.context() as patch:
            # No signal takes effect while the driver blocks the process.
            patch.setattr(Child, "_signal_group", lambda *_: None)
            assert process.stop(0.05) is None
            assert not process.ended()

        assert process.stop(5) == -signal.SIGTERM


class MaxRandom(random.Random):
    """Generator of the largest number of each range."""

    def uniform(self, a: float, b: float) -> float:
        """Return the upper bound."""
        return max(a, b)


def test_backoff_doubles_up_to_a_minute() -> None:
    backoff = Backoff(rng=MaxRandom())

    assert [backoff.next() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_backoff_reset() -> None:
    backoff = Backoff(rng=MaxRandom())
    for _ in range(9):
        backoff.next()
    backoff.reset()

    assert [backoff.next(), backoff.next()] == [1, 2]


def test_backoff_jitter() -> None:
    """A delay is between its half and its whole."""
    delays = [Backoff(8, 60).next() for _ in range(200)]

    assert all(4 <= delay <= 8 for delay in delays)
    assert max(delays) - min(delays) > 2
