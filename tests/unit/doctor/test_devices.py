"""Devices: their number, whether they open, and how many processes use them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuron_exporter.doctor import devices as subject
from neuron_exporter.doctor import probe
from neuron_exporter.doctor.devices import check_count, check_opens, check_users, explain
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.probe import NO_DEVICE
from neuron_exporter.doctor.processes import OpenDevices
from neuron_exporter.doctor.scraped import ScrapedMetrics
from tests.support.doctor import GONE, WITH_FEW_RIGHTS, make_context, seen_with
from tests.support.mounts import tmpfs

EXPOSED = """
neuron_exporter_build_info{version="1"} 1
neuron_hardware_info{neuron_device_count="16",instance_type="trn1.32xlarge"} 1
"""


def _node(path: Path, major: int, minor: int) -> str:
    made = subprocess.run(["mknod", path, "c", str(major), str(minor)], check=False)
    if made.returncode:
        pytest.skip("the tests may not make devices (they are not run by root)")
    return str(path)


def test_expected_number_of_devices() -> None:
    context = make_context(identity__instance_type="trn1.32xlarge")
    context.scraped = ScrapedMetrics(EXPOSED)
    (finding,) = check_count(range(16), context)
    assert finding.verdict is Verdict.OK
    assert finding.seen == "16 in /dev (0 to 15); reports have 16; trn1.32xlarge has 16"


def test_too_few_devices() -> None:
    """Part of the machine's devices is a warning, unless the scope is the task."""
    context = make_context()
    context.scraped = ScrapedMetrics(EXPOSED)
    (finding,) = check_count([0, 1], context)
    assert finding.verdict is Verdict.WARNING
    assert "scope: task" in finding.fix

    of_task = make_context(
        cloudwatch__scope="task",
        cloudwatch__enabled=True,
        cloudwatch__dimension_sets=[["ServiceName"]],
    )
    of_task.scraped = ScrapedMetrics(EXPOSED)
    (finding,) = check_count([0, 1], of_task)
    assert finding.verdict is Verdict.OK


def test_lost_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the driver has no more devices than /dev, none is left to be mapped."""
    monkeypatch.setattr(subject, "driver_devices", lambda: frozenset(range(15)))
    context = make_context(identity__instance_type="trn1.32xlarge")
    (finding,) = check_count(range(15), context)
    assert finding.verdict is Verdict.FAILED
    assert finding.seen == "15 in /dev (0 to 14); trn1.32xlarge has 16"


@pytest.mark.parametrize(
    ("instance_type", "verdict"),
    [("trn1.32xlarge", Verdict.FAILED), ("m7i.large", Verdict.SKIPPED)],
)
def test_no_devices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, instance_type: str, verdict: Verdict
) -> None:
    """They are missed on a machine that has some. The fix explains how to map devices into a
    container."""
    monkeypatch.setattr(subject, "DRIVER_VERSION", tmp_path / "neuron" / "version")
    (finding,) = check_count([], make_context(identity__instance_type=instance_type))
    assert finding.verdict is verdict
    assert "linuxParameters.devices" in finding.fix


def test_no_devices_of_a_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subject, "DRIVER_VERSION", tmp_path / "version")
    (finding,) = check_count([], make_context())
    assert finding.verdict is Verdict.FAILED


def test_opens_are_grouped_by_answer(tmp_path: Path) -> None:
    """Devices that open share one finding; each error has its own."""
    good = {number: _node(tmp_path / f"neuron{number}", 1, 3) for number in (0, 1, 2)}
    gone = {7: _node(tmp_path / "neuron7", *GONE)}
    (tmp_path / "neuron8").mkdir()
    paths = {**good, **gone, 8: str(tmp_path / "neuron8")}
    findings = list(check_opens(paths, make_context()))

    assert seen_with(findings, Verdict.OK) == [f"each of {tmp_path}/neuron0 to 2 can be opened"]
    without_driver, folder = seen_with(findings, Verdict.FAILED)
    assert without_driver == f"{tmp_path}/neuron7 has no driver behind it"
    assert folder == f"{tmp_path}/neuron8 is not a device file"


@pytest.mark.parametrize("for_health", [False, True])
def test_permission_denied(tmp_path: Path, for_health: bool) -> None:
    """A device on a file system mounted with nodev is rejected with EACCES, which is no fault of
    the device: its health is unknown."""
    context = make_context()
    context.is_health_check = for_health
    with tmpfs(tmp_path, "64k"):
        subprocess.run(["mount", "-o", "remount,nodev", str(tmp_path)], check=True)
        (finding,) = check_opens({0: _node(tmp_path / "neuron0", 1, 3)}, context)
    assert finding.verdict is (Verdict.WARNING if for_health else Verdict.FAILED)
    assert context.incomplete == ({"devices"} if for_health else set())
    assert f"by user {os.geteuid()} (EACCES: crw" in finding.seen
    assert "nodev" in finding.fix


def test_device_is_opened_for_writing_only(tmp_path: Path) -> None:
    """A device without read permission opens, since the driver treats that as a query."""
    node = _node(tmp_path / "neuron0", 1, 3)
    Path(node).chmod(0o200)
    done = subprocess.run(
        [*WITH_FEW_RIGHTS, sys.executable, "-I", "-S", probe.__file__, node],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"open\n0\n"


def test_paused_exporter_opens_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "present_devices", lambda: frozenset({0}))
    monkeypatch.setattr(subject, "open_each", lambda _: pytest.fail("it was opened"))
    context = make_context()
    context.scraped = ScrapedMetrics(
        'neuron_exporter_build_info 1\nneuron_exporter_source_state{state="paused"} 1\n'
    )
    assert any("is paused" in seen for seen in seen_with(subject.check(context), Verdict.SKIPPED))


@pytest.mark.parametrize(
    ("answer", "words", "fix"),
    [
        (errno.EPERM, "device cgroup", "kubernetes#79090"),
        (errno.EBUSY, "16 processes", "end processes"),
        (errno.ENODEV, "no driver behind it", "load the driver"),
        (errno.EIO, "Input/output error (EIO)", "dmesg"),
        (NO_DEVICE, "not a device file", "volume"),
        (-2, "does not open within", "the driver hangs"),
        (-3, "was not opened", "free memory"),
    ],
)
def test_errors_are_explained(answer: int, words: str, fix: str) -> None:
    reason, what_to_do = explain(answer, Path("/dev/neuron0"))
    assert words in reason
    assert fix in what_to_do


def test_devices_that_were_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no problem, and the check is incomplete."""
    monkeypatch.setattr(subject, "open_each", lambda _: [0, -3])
    context = make_context()
    good, other = check_opens({0: "/dev/neuron0", 1: "/dev/neuron1"}, context)
    assert (good.verdict, other.verdict) == (Verdict.OK, Verdict.WARNING)
    assert context.incomplete == {"devices"}


@pytest.mark.parametrize(("number", "verdict"), [(13, Verdict.OK), (14, Verdict.WARNING)])
def test_nearly_all_process_slots_used(number: int, verdict: Verdict) -> None:
    processes = list(range(number))
    open_devices = OpenDevices({0: processes}, 0, host_pid_namespace=True, is_complete=True)
    (finding,) = check_users([0], open_devices)
    assert finding.verdict is verdict
