"""The devices in /dev: how many there are, whether they can be opened, and who has them open."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from neuron_exporter.doctor import probe
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, failed, ok, skipped, warning
from neuron_exporter.doctor.processes import Holders, holders
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.identity.devices import devices
from neuron_exporter.model import SourceState
from neuron_exporter.pipeline.identity import is_of_this_machine

SUBJECT = "devices"

MOST_PROCESSES = 16
"""Processes that may have one device open (`NEURON_MAX_PROCESS_PER_DEVICE` of the driver); the next
open is refused with EBUSY."""

_NEARLY = 14
_SECONDS = 3.0
_HUNG = -2
_GIVE = (
    "Docker: --device /dev/neuron0 for each; ECS: linuxParameters.devices; Kubernetes: "
    "privileged, or devices of the device plugin"
)
_REFUSALS = {
    _HUNG: (
        f"does not open within {_SECONDS:g} s",
        "the driver hangs: `dmesg` on the host; restart the machine if a reset does not help",
    ),
    probe.NO_DEVICE: (
        "is no device file",
        "a volume was mounted where a device belongs, which makes a folder where the host has "
        f"none. {_GIVE}",
    ),
    errno.EPERM: (
        "may not be opened by this container (EPERM: its device cgroup)",
        "a hostPath volume of /dev shows devices that may not be opened, whatever capabilities "
        f"are added (kubernetes#79090). {_GIVE}",
    ),
    errno.EBUSY: (
        f"is refused (EBUSY): {MOST_PROCESSES} processes have it open, which is the most",
        "end processes that do not need it; each neuron-monitor, and each process of a workload, "
        "takes a place",
    ),
}
_GONE = (
    "has no driver behind it any more",
    "the driver was unloaded or has lost the device: `lsmod`, `dmesg` on the host; load the "
    "driver, then start this container again",
)
_REFUSALS |= {errno.ENXIO: _GONE, errno.ENODEV: _GONE}


def examine(case: Case) -> Iterator[Finding]:
    """Count them, open each of them, and look who else has them open."""
    if not is_of_this_machine(case.config):
        yield skipped(SUBJECT, f"source.kind {case.config.source.kind} needs none")
        return
    found = sorted(devices())
    yield from count(found, case)
    if case.exposed is not None and case.exposed.source_state == SourceState.PAUSED:
        yield skipped(
            SUBJECT, "not opened: the exporter is paused, maybe for a reset of the driver"
        )
    elif found:
        yield from openings({device: f"/dev/neuron{device}" for device in found})
    if found:
        yield from who_holds(found, holders())


def count(found: Sequence[int], case: Case) -> Iterator[Finding]:
    """Whether there are as many as reports say, and as this type of machine has."""
    if not found:
        yield failed(
            SUBJECT,
            "there is no /dev/neuron0, nor any other",
            f"on the host: load the driver. In a container, give it the devices. {_GIVE}",
        )
        return
    seen = f"{len(found)} in /dev ({_numbers(found)})"
    expected = {}
    reported = case.reported("neuron_device_count")
    if reported.isdigit():
        expected["reports count"] = int(reported)
    row = INSTANCE_TYPES.get(case.instance_type)
    if row is not None and row.devices is not None:
        expected[f"{row.name} has"] = row.devices
    more = {who: number for who, number in expected.items() if number != len(found)}
    told = "; ".join(f"{who} {number}" for who, number in (more or expected).items())
    if not more:
        yield ok(SUBJECT, f"{seen}; {told}" if told else seen)
    elif case.config.cloudwatch.scope == "task" and len(found) < max(more.values()):
        yield ok(SUBJECT, f"{seen}; {told}: this task has part of the machine (scope: task)")
    else:
        yield warning(
            SUBJECT,
            f"{seen}; {told}",
            "give the container all devices, or set cloudwatch.scope: task; if it has all, the "
            "driver has lost a device: `dmesg` on the host",
        )


def openings(paths: Mapping[int, str]) -> Iterator[Finding]:
    """Whether each can be opened, with what to do where it cannot."""
    by_answer: dict[int, list[int]] = defaultdict(list)
    for device, answer in zip(paths, open_each(list(paths.values())), strict=True):
        by_answer[answer].append(device)
    for answer, which in by_answer.items():
        first = paths[which[0]]
        name = (
            first if len(which) == 1 else f"each of {first.rstrip('0123456789')}{_numbers(which)}"
        )
        if answer == 0:
            yield ok(SUBJECT, f"{name} can be opened")
        else:
            why, fix = refusal(answer, Path(first))
            yield failed(SUBJECT, f"{name} {why}", fix)


def refusal(answer: int, path: Path) -> tuple[str, str]:
    """What an answer of the system means, and what to do."""
    if answer == errno.EACCES:
        return (
            f"may not be opened by user {os.geteuid()} (EACCES: {_mode(path)})",
            "run as a member of its group, or as root (the driver's udev rule sets the mode); a "
            "file system mounted with nodev refuses every device",
        )
    otherwise = f"cannot be opened: {_strerror(answer)}", "`dmesg` on the host says more"
    return _REFUSALS.get(answer, otherwise)


def open_each(paths: Sequence[str]) -> list[int]:
    """What the system answered to an open of each path: 0, an errno, or why there is none."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", probe.__file__, *paths],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        out, _ = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        out = _end(process)
    answers = [int(line) for line in out.split()]
    return answers + [_HUNG] * (len(paths) - len(answers))


def who_holds(found: Iterable[int], known: Holders) -> Iterator[Finding]:
    """How many processes have each device open, as far as that can be seen."""
    counts = {device: len(known.by_device.get(device, ())) for device in found}
    held = ", ".join(f"neuron{device}: {count}" for device, count in counts.items() if count)
    seen = f"open in processes: {held}" if held else "no process has one open"
    limits = []
    if not known.whole:
        limits.append(
            "only those of this container's process ids are seen (pidMode: host, hostPID: true)"
        )
    if known.hidden:
        limits.append(f"{known.hidden} processes of other users are not seen")
    if not known.in_time:
        limits.append("not all processes could be looked at in time")
    seen += "".join(f"; {limit}" for limit in limits)
    if max(counts.values(), default=0) >= _NEARLY:
        yield warning(
            SUBJECT,
            f"{seen}; at most {MOST_PROCESSES} may",
            "end processes that do not need it, or the next open is refused (EBUSY)",
        )
    elif limits and not held:
        yield skipped(SUBJECT, seen)
    else:
        yield ok(SUBJECT, seen)


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """What it has said; one that hangs in the kernel is waited for no longer than a moment."""
    process.kill()
    try:
        out, _ = process.communicate(timeout=0.5)
    except subprocess.TimeoutExpired as late:
        process.returncode = _HUNG  # nobody is to wait for it later on
        out = late.stdout or b""
    return out


def _numbers(devices: Sequence[int]) -> str:
    """0 to 15, or 0, 2, 5."""
    if len(devices) > 2 and list(devices) == list(range(devices[0], devices[-1] + 1)):
        return f"{devices[0]} to {devices[-1]}"
    return ", ".join(map(str, devices))


def _mode(path: Path) -> str:
    with suppress(OSError):
        found = path.stat()
        return f"{stat.filemode(found.st_mode)}, user {found.st_uid}, group {found.st_gid}"
    return "its mode is not known"


def _strerror(answer: int) -> str:
    return f"{os.strerror(answer)} ({errno.errorcode.get(answer, answer)})"
