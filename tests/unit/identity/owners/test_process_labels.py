"""Labels of processes, from real processes and from folders in the place of /proc."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from neuron_exporter.identity.owners import process_labels
from neuron_exporter.identity.owners.cgroup import PROC
from neuron_exporter.identity.owners.process_labels import (
    HIDDEN,
    MAX_BYTES,
    NO_HOST_PIDS,
    ProcessLabelProvider,
    start_time,
)
from neuron_exporter.model import Labels
from neuron_exporter.text import MAX_LENGTH
from tests.support.waiting import wait_for

VARIABLES = {"job_id": "SLURM_JOB_ID", "job_name": "SLURM_JOB_NAME"}
JOB = (("job_id", "7"),)


def provider(proc: Path = PROC, variables: Mapping[str, str] = VARIABLES) -> ProcessLabelProvider:
    """Return a provider for which the namespace of these processes is that of the host."""
    return ProcessLabelProvider(variables, proc, (proc / "self/ns/pid").stat().st_ino)


def found(provider: ProcessLabelProvider, *pids: int) -> Mapping[int, Labels]:
    """Return the labels of processes that are read without an error."""
    owners, error, _ = provider.lookup(frozenset(pids))
    assert error == ""
    assert owners.process_labels is not None
    return owners.process_labels


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Return a folder in the place of /proc, without processes."""
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").touch()
    return tmp_path


def add(proc: Path, pid: int, start: int, environment: bytes = b"SLURM_JOB_ID=7\0") -> None:
    """Add or replace a process."""
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    fields = " ".join(map(str, range(4, 22)))
    (folder / "stat").write_text(f"{pid} (a b) c) S {fields} {start} 23\n")
    (folder / "environ").write_bytes(environment)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of job 7."""
    environment = {"SLURM_JOB_ID": "7", "AWS_SECRET_ACCESS_KEY": "hidden"}
    with subprocess.Popen(["sleep", "infinity"], env=environment) as process:
        yield process
        process.kill()


def test_real_processes(sleeper: subprocess.Popen[bytes]) -> None:
    with subprocess.Popen(["sleep", "infinity"], env={"XSLURM_JOB_ID": "8"}) as other:
        assert found(provider(), sleeper.pid, other.pid) == {sleeper.pid: JOB, other.pid: ()}
        other.kill()


def test_only_named_variables_are_kept(sleeper: subprocess.Popen[bytes]) -> None:
    labels = provider()
    found(labels, sleeper.pid)
    assert "hidden" not in repr(labels._known)


def test_process_that_ends_keeps_its_labels_until_it_is_gone(
    sleeper: subprocess.Popen[bytes],
) -> None:
    labels = provider()
    found(labels, sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert found(labels, sleeper.pid) == {sleeper.pid: JOB}
    assert found(provider(), sleeper.pid) == {sleeper.pid: ()}  # a zombie has no environment
    sleeper.wait()
    assert found(labels, sleeper.pid) == {sleeper.pid: ()}


@pytest.mark.parametrize(
    ("environment", "labels"),
    [
        (b"A=1\0SLURM_JOB_ID=7\0B=2\0", JOB),
        (b"SLURM_JOB_ID=7\0SLURM_JOB_ID=8\0", JOB),
        (b"SLURM_JOB_NAME=a=b c\0SLURM_JOB_ID= 7 \0", (*JOB, ("job_name", "a=b c"))),
        (
            b"SLURM_JOB_NAME=\xff\x1b[31m\n\0",
            (("job_name", "\N{REPLACEMENT CHARACTER}" * 2 + "[31m"),),
        ),
        (b"A=SLURM_JOB_ID=7\0slurm_job_id=7\0SLURM_JOB_ID\0", ()),
        (b"SLURM_JOB_ID=\0", ()),
        (b"SLURM_JOB_ID=7", ()),
        (b"\0" * 100, ()),
        (b"", ()),
        (b"X=" + b"x" * MAX_BYTES + b"\0SLURM_JOB_ID=7\0", ()),
        (b"SLURM_JOB_ID=" + b"7" * MAX_BYTES + b"\0", ()),
    ],
)
def test_environments(proc: Path, environment: bytes, labels: Labels) -> None:
    add(proc, 4711, 100, environment)
    assert found(provider(proc), 4711) == {4711: labels}


def test_long_value_is_cut(proc: Path) -> None:
    add(proc, 4711, 100, b"SLURM_JOB_ID=" + b"7" * 1000 + b"\0")
    ((_, value),) = found(provider(proc), 4711)[4711]
    assert len(value) == MAX_LENGTH


def test_reused_pid(proc: Path) -> None:
    """The environment of a process is read once, and that of the next one with its pid again."""
    labels = provider(proc)
    add(proc, 4711, 100)
    assert found(labels, 4711) == {4711: JOB}
    add(proc, 4711, 100, b"SLURM_JOB_ID=8\0")
    assert found(labels, 4711) == {4711: JOB}
    add(proc, 4711, 200, b"SLURM_JOB_ID=8\0")
    assert found(labels, 4711) == {4711: (("job_id", "8"),)}
    add(proc, 4711, 300, b"A=1\0")
    assert found(labels, 4711) == {4711: ()}
    assert found(labels) == {}
    assert labels._known == {}


def test_pid_that_changes_hands_during_the_read(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a process is unknown, not without labels, and read again in the next round."""
    add(proc, 4711, 100)
    starts = iter(["100", "200"])
    with monkeypatch.context() as patched:
        patched.setattr(process_labels, "start_time", lambda *_: next(starts))
        labels = provider(proc)
        assert found(labels, 4711) == {}
    assert found(labels, 4711) == {4711: JOB}


def test_missing_processes_have_no_labels(proc: Path) -> None:
    add(proc, 1, 100)
    (proc / "1/environ").unlink()
    add(proc, 2, 100)
    (proc / "2/stat").write_text("2 (cut off")
    assert found(provider(proc), 1, 2, 3) == {1: (), 2: (), 3: ()}


def test_hidden_processes(proc: Path) -> None:
    """With hidepid and without the right, even process 1 is not visible. Where it is, a missing
    process has ended."""
    labels = provider(proc)
    add(proc, 4711, 100)  # of our own user
    assert found(labels, 4711) == {4711: JOB}
    owners, error, _ = labels.lookup(frozenset({4711, 4712}))
    assert owners.process_labels == {4711: JOB, 4712: ()}
    assert error == f"{proc}/PID/stat: {HIDDEN}"
    add(proc, 1, 1)
    assert found(labels, 4711, 4712) == {4711: JOB, 4712: ()}


def test_pids_of_another_namespace_are_not_read(sleeper: subprocess.Popen[bytes]) -> None:
    labels = ProcessLabelProvider(VARIABLES, host_namespace=1)
    owners, error, _ = labels.lookup(frozenset({sleeper.pid}))
    assert (owners.process_labels, error) == ({sleeper.pid: ()}, NO_HOST_PIDS)


def test_no_proc(tmp_path: Path) -> None:
    owners, error, _ = ProcessLabelProvider(VARIABLES, tmp_path).lookup(frozenset({1}))
    assert owners.process_labels == {1: ()}
    assert error == f"{tmp_path}/self/ns/pid: No such file or directory"


def test_process_that_hangs(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs its own labels, one thread, and the time limit once."""
    monkeypatch.setattr(process_labels, "_TIMEOUT", 0.2)
    labels = provider(proc)
    add(proc, 1, 100)
    add(proc, 2, 100)
    (proc / "2/environ").unlink()
    os.mkfifo(proc / "2/environ")
    owners, error, _ = labels.lookup(frozenset({1, 2}))
    assert error == f"{proc}/2/environ: no answer"
    assert owners.process_labels in ({1: JOB}, {})
    thread = labels._blocked[2]
    owners, error, _ = labels.lookup(frozenset({1, 2}))
    assert (owners.process_labels, error) == ({1: JOB}, f"{proc}/2/environ: no answer")
    assert labels._blocked == {2: thread}
    (proc / "2/environ").write_bytes(b"SLURM_JOB_ID=7\0")
    wait_for(lambda: not thread.is_alive())
    (proc / "2/environ").unlink()
    add(proc, 2, 100)
    assert found(labels, 1, 2) == {1: JOB, 2: JOB}


def test_start_time_of_a_real_process(sleeper: subprocess.Popen[bytes]) -> None:
    assert int(start_time(sleeper.pid)) >= int(start_time(os.getpid()))
