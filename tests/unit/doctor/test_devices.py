"""What is said of devices: how many, whether they open, and who has them open."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuron_exporter.doctor import devices as subject
from neuron_exporter.doctor import probe
from neuron_exporter.doctor.devices import count, open_each, openings, refusal, who_holds
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.probe import NO_DEVICE
from neuron_exporter.doctor.processes import Holders, holders, other_variables, running_exporters
from neuron_exporter.doctor.scraped import Exposed
from tests.support.doctoring import GONE, WITH_FEW_RIGHTS, case, of
from tests.support.mounts import tmpfs

WHOLE = "pid:[4026531836]"

EXPOSED = """
neuron_exporter_build_info{version="1"} 1
neuron_hardware_info{neuron_device_count="16",instance_type="trn1.32xlarge"} 1
"""


def _node(path: Path, major: int, minor: int) -> str:
    made = subprocess.run(["mknod", path, "c", str(major), str(minor)], check=False)
    if made.returncode:
        pytest.skip("the tests may not make devices (they are not run by root)")
    return str(path)


def test_as_many_devices_as_there_should_be() -> None:
    """Where /dev, reports and the type of machine agree, all is well."""
    told = case(identity__instance_type="trn1.32xlarge")
    told.exposed = Exposed(EXPOSED)
    (finding,) = count(range(16), told)
    assert finding.verdict is Verdict.OK
    assert finding.seen == "16 in /dev (0 to 15); reports count 16; trn1.32xlarge has 16"


def test_fewer_devices_than_there_should_be() -> None:
    """A container with part of the machine is told so, unless it is meant to have a part."""
    told = case()
    told.exposed = Exposed(EXPOSED)
    (finding,) = count([0, 1], told)
    assert finding.verdict is Verdict.WARNING
    assert "scope: task" in finding.fix

    of_task = case(
        cloudwatch__scope="task",
        cloudwatch__enabled=True,
        cloudwatch__dimension_sets=[["ServiceName"]],
    )
    of_task.exposed = Exposed(EXPOSED)
    (finding,) = count([0, 1], of_task)
    assert finding.verdict is Verdict.OK


def test_no_device_at_all() -> None:
    """Where there is none, whoever reads it learns how a container is given some."""
    (finding,) = count([], case())
    assert finding.verdict is Verdict.FAILED
    assert "linuxParameters.devices" in finding.fix


def test_devices_that_open_and_that_do_not(tmp_path: Path) -> None:
    """Real device files: those that open are one line, each kind that does not is another."""
    good = {number: _node(tmp_path / f"neuron{number}", 1, 3) for number in (0, 1, 2)}
    gone = {7: _node(tmp_path / "neuron7", *GONE)}
    (tmp_path / "neuron8").mkdir()
    findings = list(openings({**good, **gone, 8: str(tmp_path / "neuron8")}))

    assert of(findings, Verdict.OK) == [f"each of {tmp_path}/neuron0 to 2 can be opened"]
    without_driver, folder = of(findings, Verdict.FAILED)
    assert without_driver == f"{tmp_path}/neuron7 has no driver behind it any more"
    assert folder == f"{tmp_path}/neuron8 is no device file"


def test_a_device_that_may_not_be_opened(tmp_path: Path) -> None:
    """A device on a file system that allows none is refused with EACCES, which is explained."""
    with tmpfs(tmp_path, "64k"):
        subprocess.run(["mount", "-o", "remount,nodev", str(tmp_path)], check=True)
        (finding,) = openings({0: _node(tmp_path / "neuron0", 1, 3)})
    assert finding.verdict is Verdict.FAILED
    assert f"by user {os.geteuid()} (EACCES: crw" in finding.seen
    assert "nodev" in finding.fix


def test_a_device_is_opened_for_writing_only(tmp_path: Path) -> None:
    """Neuron's driver takes that as a question, which costs no process its place: a device that
    nobody may read opens all the same."""
    node = _node(tmp_path / "neuron0", 1, 3)
    Path(node).chmod(0o200)
    done = subprocess.run(
        [*WITH_FEW_RIGHTS, sys.executable, "-I", "-S", probe.__file__, node],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"0\n"


def test_nothing_is_opened_while_the_driver_may_be_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an exporter that is paused, no device is touched."""
    monkeypatch.setattr(subject, "devices", lambda: frozenset({0}))
    monkeypatch.setattr(subject, "open_each", lambda _: pytest.fail("it was opened"))
    told = case()
    told.exposed = Exposed(
        'neuron_exporter_build_info 1\nneuron_exporter_source_state{state="paused"} 1\n'
    )
    assert any("is paused" in seen for seen in of(subject.examine(told), Verdict.SKIPPED))


@pytest.mark.parametrize(
    ("answer", "words", "fix"),
    [
        (errno.EPERM, "device cgroup", "kubernetes#79090"),
        (errno.EBUSY, "16 processes", "end processes"),
        (errno.ENODEV, "no driver behind it", "load the driver"),
        (errno.EIO, "Input/output error (EIO)", "dmesg"),
        (NO_DEVICE, "no device file", "volume"),
        (-2, "does not open within", "the driver hangs"),
    ],
)
def test_each_refusal_is_explained(answer: int, words: str, fix: str) -> None:
    """Whatever the system answers, it says what that means here and what to do."""
    why, what = refusal(answer, Path("/dev/neuron0"))
    assert words in why
    assert fix in what


def test_an_open_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that does not answer holds up one device, and for seconds only; those that answered
    before it are told."""
    never = tmp_path / "never.py"
    never.write_text("import time\nprint(0, flush=True)\ntime.sleep(3600)\n")
    monkeypatch.setattr("neuron_exporter.doctor.probe.__file__", str(never))
    monkeypatch.setattr("neuron_exporter.doctor.devices._SECONDS", 0.5)
    assert open_each(["a", "b", "c"]) == [0, -2, -2]


def _process(proc: Path, pid: int, *opened: str, command: str = "", mnt: str = "mnt:[1]") -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "ns").mkdir()
    (proc / str(pid) / "ns" / "mnt").symlink_to(mnt)
    (proc / str(pid) / "cmdline").write_text(command.replace(" ", "\0") + "\0")
    (proc / str(pid) / "cwd").symlink_to("/srv")
    for number, path in enumerate(opened):
        (proc / str(pid) / "fd" / str(number)).symlink_to(path)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of our own making, which links lead as they do in a real one."""
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "mnt").symlink_to("mnt:[1]")
    return tmp_path


def test_holders_are_counted_once_each(proc: Path) -> None:
    """A process that has a device open twice is one; other files are nobody's business."""
    (proc / "self" / "ns" / "pid").symlink_to(WHOLE)
    _process(proc, 10, "/dev/neuron0", "/dev/neuron0", "/dev/null", "/dev/neuron0 (deleted)")
    _process(proc, 11, "/dev/neuron0", "/dev/neuron11")
    known = holders(proc)
    assert known == Holders({0: [10, 11], 11: [11]}, hidden=0, whole=True, in_time=True)
    (finding,) = who_holds([0, 1, 11], known)
    assert finding == Finding("devices", Verdict.OK, "open in processes: neuron0: 2, neuron11: 1")


def test_what_cannot_be_seen_of_holders_is_said(proc: Path) -> None:
    """In a pid namespace of its own, no count passes for the machine's."""
    (proc / "self" / "ns" / "pid").symlink_to("pid:[4026532000]")
    (finding,) = who_holds([0], holders(proc))
    assert finding.verdict is Verdict.SKIPPED
    assert "only those of this container's" in finding.seen


@pytest.mark.parametrize(("number", "verdict"), [(13, Verdict.OK), (14, Verdict.WARNING)])
def test_a_device_with_nearly_all_its_processes(number: int, verdict: Verdict) -> None:
    """Before the driver refuses the seventeenth process, somebody is warned."""
    known = Holders({0: list(range(number))}, hidden=0, whole=True, in_time=True)
    (finding,) = who_holds([0], known)
    assert finding.verdict is verdict


def test_exporters_are_known_by_their_command_lines(proc: Path) -> None:
    """Exporters that run here are found, however they were started; other programs, commands and
    containers are not."""
    _process(proc, 1, command="/bin/sh entrypoint.sh neuron-exporter run")
    _process(proc, 2, command="/v/bin/python3 /v/bin/neuron-exporter run --config e.yaml --port 1")
    _process(proc, 3, command="python3.12 -m neuron_exporter run --config=/etc/e.yaml")
    _process(proc, 4, command="timeout 9 neuron-exporter run")
    _process(proc, 5, command="python3 /v/bin/neuron-exporter doctor")
    _process(proc, 6, command="python3 /v/bin/neuron-exporter run", mnt="mnt:[2]")
    _process(proc, 7, command="")
    assert running_exporters(proc) == {
        2: ["--config", "/srv/e.yaml", "--port", "1"],
        3: ["--config=/etc/e.yaml"],
    }


def test_variables_that_differ_are_named_and_not_shown(proc: Path) -> None:
    """Who asks in another environment than the exporter's learns which variables are different."""
    (proc / "9").mkdir()
    theirs = b"AWS_REGION=a\0AWS_PROFILE=geheim\0HOME=/x\0NEURON_EXPORTER__LOG__LEVEL=info\0\0"
    (proc / "9" / "environ").write_bytes(theirs)
    own = {"AWS_REGION": "b", "NEURON_EXPORTER__LOG__LEVEL": "info", "HOME": "/y"}
    assert other_variables(9, own, proc) == ["AWS_PROFILE", "AWS_REGION"]
    assert other_variables(10, own, proc) == []
