"""A child runs in its own session, is heard, and ends with all that it started."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.source.child import Backoff, Child, SpawnError
from tests.support.children import child, script
from tests.support.paths import ROOT
from tests.support.processes import alive, children_of, descriptors, members, threads
from tests.support.starter import starter
from tests.support.waiting import wait_for

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@contextmanager
def started(
    *command: str, hear: Callable[[str], None] = lambda _: None, patience: float = 5.0
) -> Iterator[Child]:
    """A child that is stopped after the test."""
    made = Child(command, ENVIRONMENT, hear)
    try:
        yield made
    finally:
        if made._process.returncode is None:
            made.stop(patience)


def read_line(made: Child) -> bytes:
    """One line of the child's output."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(made.stdout, 1)
        assert byte, f"the output ended after {line!r}"
        line += byte
    return line[:-1]


def read_all(made: Child) -> bytes:
    """The child's output to its end."""
    data = b""
    while chunk := os.read(made.stdout, 65536):
        data += chunk
    return data


@pytest.fixture
def facts() -> dict[str, Any]:
    """What a child sees of itself."""
    with started(*child("facts", "forever")) as made:
        found: dict[str, Any] = json.loads(read_line(made))
        assert found["pid"] == made.pid
        return found


def test_a_child_leads_a_session_of_its_own(facts: dict[str, Any]) -> None:
    """A Ctrl-C at our terminal does not reach it, and its group can be signalled as a whole."""
    assert facts["group"] == facts["session"] == facts["pid"]
    assert facts["session"] != os.getsid(0)


def test_a_child_gets_what_it_is_given_and_no_more(facts: dict[str, Any]) -> None:
    """Neither our variables nor our files nor our input are the child's."""
    environment = facts["environment"]
    environment.pop("LC_CTYPE", None)  # Python's own, under the C locale
    assert environment == ENVIRONMENT
    # The last one is the folder that was listed.
    assert len(facts["descriptors"]) == 4
    assert facts["descriptors"][:3] == [0, 1, 2]
    assert facts["input"] == "/dev/null"


def test_a_child_goes_first_when_memory_runs_out(facts: dict[str, Any]) -> None:
    """The kernel prefers to kill the child, not us."""
    own = int(Path("/proc/self/oom_score_adj").read_text())

    assert facts["oom_score_adj"] == min(1000, own + 500)


def test_a_broken_pipe_ends_a_child() -> None:
    """SIGPIPE, which Python ignores, is the child's own again."""
    with started("/bin/cat", "/proc/self/status") as made:
        status = dict(line.split(":\t", 1) for line in read_all(made).decode().splitlines())

    assert not int(status["SigIgn"], 16) >> (signal.SIGPIPE - 1) & 1


@pytest.mark.parametrize("how", ["main", "thread"])
def test_a_child_is_killed_with_its_starter(how: str) -> None:
    """Neither the death of our process nor that of the starting thread leaves a child behind."""
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


def test_what_a_child_leaves_behind_is_reaped() -> None:
    """As process 1, which inherits orphans, we leave no zombies."""
    with subprocess.Popen(
        starter("adopt", "grandchild", "forever"), cwd=ROOT, stdout=subprocess.PIPE
    ) as helper:
        assert helper.stdout is not None
        helper.stdout.readline()
        assert int(helper.stdout.readline()) == 0
        helper.kill()


def test_standard_error_is_drained_under_a_flood() -> None:
    """A child that complains megabytes does not freeze, and every line is heard."""
    heard: list[str] = []
    with started(*child("stderr-flood=40000", "print=done"), hear=heard.append) as made:
        assert read_line(made) == b"done"
        wait_for(made.ended)
        assert made.stop(5) == 0

    assert len(heard) == 40_000
    assert heard[0].startswith("complaint 000000 x")
    assert heard[-1].startswith("complaint 039999 x")


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        ("stderr=one\n\n  two  ", ["one", "two"]),
        ("stderr-rest=last words", ["last words"]),
        ("stderr-bytes=ff00fe0a", ["\ufffd\0\ufffd"]),
        ("stderr-rest=" + "x" * 5000, ["x" * 4096]),
    ],
    ids=["lines", "no end", "no text", "long"],
)
def test_every_kind_of_complaint_is_heard(step: str, wanted: list[str]) -> None:
    """Lines of standard error come without space around, at most 4096 bytes of each."""
    heard: list[str] = []
    with started(*child(step), hear=heard.append) as made:
        read_all(made)
        made.stop(5)

    assert heard == wanted


@pytest.mark.parametrize(
    ("steps", "status"),
    [(["exit=0"], 0), (["exit=7"], 7), (["kill=9"], -9)],
)
def test_stop_gives_the_status_of_a_child_that_has_ended(steps: list[str], status: int) -> None:
    """An exit status is what it was, and a signal is its number, negative."""
    with started(*child(*steps)) as made:
        wait_for(made.ended)

        assert made.stop(5) == status


def test_a_child_may_end_in_order() -> None:
    """SIGTERM comes first, and nobody waits longer than the child needs."""
    with started(*child("print=ready", "forever")) as made:
        read_line(made)
        before = time.monotonic()

        assert made.stop(60) == -signal.SIGTERM
        assert time.monotonic() - before < 10


def test_a_family_that_ignores_sigterm_is_killed() -> None:
    """Patience ends, and then the whole group does."""
    with started(*child("ignore", "grandchild", "forever")) as made:
        grandchild = int(read_line(made))
        assert len(members(made.pid)) == 2

        assert made.stop(0.1) == -signal.SIGKILL

        wait_for(lambda: not alive(grandchild))


def test_a_grandchild_is_killed_after_its_parent_has_gone() -> None:
    """A child that ended by itself may have left somebody who holds its output; he goes as well."""
    with started(*child("grandchild", "exit=3")) as made:
        grandchild = int(read_line(made))
        wait_for(made.ended)
        assert members(made.pid) == [grandchild]

        assert made.stop(5) == 3

        wait_for(lambda: not alive(grandchild))


def test_who_flees_from_the_group_holds_neither_thread_nor_pipe() -> None:
    """A daemon that the child made keeps its standard error, and costs us nothing."""
    before = descriptors()
    with started(*child("fled-grandchild", "stderr=told", "exit=0")) as made:
        fled = int(read_line(made))
        try:
            wait_for(made.ended)
            made.stop(5)

            assert alive(fled)
            assert threads("stderr") == []
            assert descriptors() == before
        finally:
            with suppress(ProcessLookupError):
                os.kill(fled, signal.SIGKILL)


def test_fifty_lives_leave_nothing() -> None:
    """Restarting for ever costs neither descriptors nor threads nor entries of the process table.

    Half of the lives end by themselves, half are ended.
    """
    pids = []
    before = descriptors(), threads("stderr")
    for number in range(50):
        command = ("/bin/true",) if number % 2 else ("/bin/sleep", "60")
        with started(*command) as made:
            pids.append(made.pid)
            if number % 2:
                read_all(made)

    assert (descriptors(), threads("stderr")) == before
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
def test_a_program_that_cannot_start_says_why(tmp_path: Path, name: str, reason: str) -> None:
    """The error names the program and the system's reason, and nothing is left behind."""
    (tmp_path / "not_executable").write_text("#!/bin/sh\n")
    (tmp_path / "folder").mkdir()
    script(tmp_path / "no_interpreter", "").write_text("#!/nowhere/sh\n")
    script(tmp_path / "no_program", "").write_text("just text\n")
    path = str(tmp_path / name)
    before = descriptors(), children_of(os.getpid())

    with pytest.raises(SpawnError) as caught:
        Child([path], ENVIRONMENT, lambda _: None)

    assert str(caught.value) == f"{path}: {reason}"
    assert (descriptors(), children_of(os.getpid())) == before


def test_a_machine_without_room_is_a_spawn_error() -> None:
    """A lack of descriptors is told as every other reason not to start."""
    code = (
        "import resource, os\n"
        "from neuron_exporter.source.child import Child, SpawnError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')), 64))\n"
        "try: Child(['/bin/true'], {}, print)\n"
        "except SpawnError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert said.stdout == "/bin/true: Too many open files\n"


def test_a_child_that_cannot_be_killed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits in the kernel outlives SIGKILL; stop says so instead of hanging."""
    with started(*child("print=ready", "forever")) as made:
        read_line(made)
        with monkeypatch.context() as patch:
            # No signal arrives while a driver does not let go of the process.
            patch.setattr(Child, "_signal_group", lambda *_: None)
            assert made.stop(0.05) is None
            assert not made.ended()

        assert made.stop(5) == -signal.SIGTERM


class Longest(random.Random):
    """Chooses the largest number, always."""

    def uniform(self, a: float, b: float) -> float:
        """The upper end."""
        return max(a, b)


def test_backoff_doubles_up_to_a_minute() -> None:
    """Attempts that fail again and again are made a minute apart, and never more rarely."""
    backoff = Backoff(rng=Longest())

    assert [backoff.next() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_backoff_begins_anew_after_success() -> None:
    """A source that was healthy is started again soon."""
    backoff = Backoff(rng=Longest())
    for _ in range(9):
        backoff.next()
    backoff.reset()

    assert [backoff.next(), backoff.next()] == [1, 2]


def test_backoff_is_spread() -> None:
    """Machines that fail together do not try together: each delay is from its half to its whole."""
    delays = [Backoff(8, 60).next() for _ in range(200)]

    assert all(4 <= delay <= 8 for delay in delays)
    assert max(delays) - min(delays) > 2
