"""Check the devices in /dev: their number, whether they open, and which processes use them."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from neuron_exporter.doctor import device_faults, probe
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, format_numbers
from neuron_exporter.doctor.hanging import HUNG, run_until_silent
from neuron_exporter.doctor.processes import OpenDevices, find_open_devices
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.identity.local import DRIVER_VERSION, driver_devices, present_devices
from neuron_exporter.model import SourceState
from neuron_exporter.pipeline.identity import is_local_source

SUBJECT = device_faults.SUBJECT

MAX_PROCESSES = 16
"""Processes that may have one device open (`NEURON_MAX_PROCESS_PER_DEVICE` of the driver). The
driver rejects the next open with EBUSY."""

_WARN_FROM_PROCESSES = 14
_TIMEOUT = 3.0
_HUNG = -2
_UNKNOWN = -3
_OWN_RIGHTS = {errno.EACCES, errno.EPERM}
_HOW_TO_MAP = (
    "Docker: --device /dev/neuron0 for each; ECS: linuxParameters.devices; Kubernetes: "
    "privileged, or devices from the device plugin"
)
_NO_DRIVER_BEHIND = (
    "has no driver behind it",
    "the driver was unloaded or has lost the device: run `lsmod` and `dmesg` on the host, load the "
    "driver, then restart this container",
)
_EXPLANATIONS = {
    _HUNG: (
        f"does not open within {_TIMEOUT:g} s",
        "the driver hangs: run `dmesg` on the host; restart the machine if a driver reset does not "
        "help",
    ),
    _UNKNOWN: (
        "was not opened: the process that opens devices hung before, was killed or did not start",
        "run the doctor again when the machine has free memory and no device hangs",
    ),
    probe.NO_DEVICE: (
        "is not a device file",
        "a volume is mounted in place of the device; it creates a directory if the host has no "
        f"such device. {_HOW_TO_MAP}",
    ),
    errno.EPERM: (
        "may not be opened by this container (EPERM from its device cgroup)",
        "a hostPath volume of /dev shows devices that may not be opened, whatever capabilities "
        f"are added (kubernetes#79090). {_HOW_TO_MAP}",
    ),
    errno.EBUSY: (
        f"is busy (EBUSY): {MAX_PROCESSES} processes have it open, which is the maximum",
        "end processes that do not need it; each neuron-monitor and each process of a workload "
        "uses one slot",
    ),
    errno.ENXIO: _NO_DRIVER_BEHIND,
    errno.ENODEV: _NO_DRIVER_BEHIND,
}
"""What each error of an open means, and what to do."""


def check(context: Context) -> Iterator[Finding]:
    """Count the devices, open each of them, and count the processes that have them open."""
    if not is_local_source(context.config):
        yield SUBJECT.skipped(f"source.kind {context.config.source.kind} needs no devices")
        return
    found = sorted(present_devices())
    yield from check_count(found, context)
    if context.scraped is not None and context.scraped.source_state == SourceState.PAUSED:
        yield SUBJECT.skipped("not opened: the exporter is paused, perhaps to reset the driver")
    else:
        if found:
            yield from check_opens({device: f"/dev/neuron{device}" for device in found}, context)
        yield from device_faults.check(context)
    if found:
        yield from check_users(found, find_open_devices())


def check_count(found: Sequence[int], context: Context) -> Iterator[Finding]:
    """Compare the number of devices with the reports and with the instance type."""
    row = INSTANCE_TYPES.get(context.machine.instance_type)
    if not found:
        fix = f"on the host: load the driver. In a container: map the devices. {_HOW_TO_MAP}"
        if row is None and not DRIVER_VERSION.parent.exists():
            yield SUBJECT.skipped("there is neither a device nor a driver", fix)
        else:
            yield SUBJECT.failed("there is no /dev/neuron*", fix)
        return
    seen = f"{len(found)} in /dev ({format_numbers(found)})"
    expected = {}
    reported = context.hardware_info("neuron_device_count")
    if reported.isdigit():
        expected["reports have"] = int(reported)
    if row is not None and row.devices is not None:
        expected[f"{row.name} has"] = row.devices
    different = {name: number for name, number in expected.items() if number != len(found)}
    comparison = "; ".join(f"{name} {number}" for name, number in (different or expected).items())
    if not different:
        yield SUBJECT.ok(f"{seen}; {comparison}" if comparison else seen)
    elif context.config.cloudwatch.scope == "task" and len(found) < max(different.values()):
        yield SUBJECT.ok(f"{seen}; {comparison}: this task has part of the machine (scope: task)")
    elif row is not None and len(found) < (row.devices or 0) and driver_devices() == {*found}:
        yield SUBJECT.failed(
            f"{seen}; {comparison}",
            "the driver has lost a device: run `dmesg` on the host, reboot it, or replace it",
        )
    else:
        yield SUBJECT.warning(
            f"{seen}; {comparison}",
            "map all devices into the container, or set cloudwatch.scope: task; if all are mapped, "
            "the driver has lost a device: run `dmesg` on the host",
        )


def check_opens(paths: Mapping[int, str], context: Context) -> Iterator[Finding]:
    """Open each device, and yield one finding per answer of the system.

    The health of a device is unknown if it was not opened, or may not be opened by the doctor.
    """
    by_answer: dict[int, list[int]] = defaultdict(list)
    for device, answer in zip(paths, open_each(list(paths.values())), strict=True):
        by_answer[answer].append(device)
    for answer, which in by_answer.items():
        first = paths[which[0]]
        prefix = first.rstrip("0123456789")
        name = first if len(which) == 1 else f"each of {prefix}{format_numbers(which)}"
        if answer == 0:
            yield SUBJECT.ok(f"{name} can be opened")
        else:
            reason, fix = explain(answer, Path(first))
            if answer == _UNKNOWN or (answer in _OWN_RIGHTS and context.is_health_check):
                context.incomplete.add(SUBJECT)
                yield SUBJECT.warning(f"{name} {reason}", fix)
            else:
                yield SUBJECT.failed(f"{name} {reason}", fix)


def explain(answer: int, path: Path) -> tuple[str, str]:
    """Return what an error of an open means, and what to do."""
    if answer == errno.EACCES:
        return (
            f"may not be opened by user {os.geteuid()} (EACCES: {_mode(path)})",
            "run as root or as a member of its group (the driver's udev rule sets the mode); a "
            "file system mounted with nodev rejects every device",
        )
    error = f"{os.strerror(answer)} ({errno.errorcode.get(answer, answer)})"
    otherwise = f"cannot be opened: {error}", "run `dmesg` on the host for details"
    return _EXPLANATIONS.get(answer, otherwise)


def open_each(paths: Sequence[str]) -> list[int]:
    """Open each path in another process, and return the answers: 0, an errno, or a constant.

    A device hangs if the process began to open it and then stayed silent. If the process did not
    start in time or was killed, nothing is known of the driver.
    """
    command = [sys.executable, "-I", "-S", probe.__file__, *paths]
    output = run_until_silent(command, _TIMEOUT)
    *before, last = output.out.decode().split() or [""]
    answers = [int(word) for word in (*before, last) if word not in ("", probe.BEGUN)]
    if output.status == HUNG and last == probe.BEGUN:
        answers.append(_HUNG)
    return answers + [_UNKNOWN] * (len(paths) - len(answers))


def check_users(found: Iterable[int], open_devices: OpenDevices) -> Iterator[Finding]:
    """Count the visible processes that have each device open."""
    counts = {device: len(open_devices.by_device.get(device, ())) for device in found}
    users = ", ".join(f"neuron{device}: {count}" for device, count in counts.items() if count)
    seen = f"processes with a device open: {users}" if users else "no process has a device open"
    limits = []
    if not open_devices.host_pid_namespace:
        visible = "only this container's processes are visible"
        limits.append(f"{visible} (to see all: pidMode: host, hostPID: true)")
    if open_devices.hidden:
        limits.append(f"{open_devices.hidden} processes of other users are not visible")
    if not open_devices.is_complete:
        limits.append("not all processes could be read in time")
    seen += "".join(f"; {limit}" for limit in limits)
    if max(counts.values(), default=0) >= _WARN_FROM_PROCESSES:
        yield SUBJECT.warning(
            f"{seen}; the maximum is {MAX_PROCESSES}",
            "end processes that do not need it, or the driver will reject the next one (EBUSY)",
        )
    elif limits and not users:
        yield SUBJECT.skipped(seen)
    else:
        yield SUBJECT.ok(seen)


def _mode(path: Path) -> str:
    with suppress(OSError):
        found = path.stat()
        return f"{stat.filemode(found.st_mode)}, user {found.st_uid}, group {found.st_gid}"
    return "its mode is unknown"
