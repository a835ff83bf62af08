"""Assumptions on devices and cores: which exist, how they are numbered, and how large they are."""

from __future__ import annotations

from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import (
    Judgement,
    NotSeen,
    assumption,
    contradicted,
    held,
    held_if,
    require,
)
from neuron_exporter.doctor.finding import format_count, format_names, format_numbers
from neuron_exporter.facts.instance_types import INSTANCE_TYPES


@assumption(
    "device-list",
    "neuron_hw_counters lists every device, and the list does not change",
    "metrics/inventory.py",
)
def judge_device_list(evidence: Evidence) -> Judgement:
    seen, listed = evidence.hardware, _reported(evidence)
    count = seen.hardware.neuron_device_count
    require(count is not None, "no report has the number of devices")
    text = f"listed are {format_numbers(listed)}, neuron_device_count is {count}"
    changes = len(seen.lists) - 1 + seen.changes
    if changes:
        return contradicted(f"{text}; they changed {format_count(changes, 'time')}")
    return held_if(len(listed) == count, text)


@assumption(
    "device-files",
    "Reports list the devices that /dev has, or all of the machine's",
    "metrics/task_scope.py",
)
def judge_device_files(evidence: Evidence) -> Judgement:
    present, reported = _present(evidence), _reported(evidence)
    text = f"/dev has {format_numbers(present)}, reports list {format_numbers(reported)}"
    if evidence.has_part and present < reported:
        return held(f"{text}: they cover the whole machine")
    return held_if(present == reported, text)


@assumption(
    "container-numbers",
    "In a container with some of the devices, reports number them as the host does",
    "metrics/task_scope.py",
)
def judge_container(evidence: Evidence) -> Judgement:
    """Judge the numbers in reports, which may also list all devices of the machine."""
    present = _present(evidence)
    whole = f"/dev has all devices of the machine: {format_numbers(present)}"
    require(evidence.has_part, whole)
    reported = _reported(evidence)
    text = f"/dev has {format_numbers(present)}, reports list {format_numbers(reported)}"
    used = evidence.runtimes.used_cores
    if used:
        text += f", runtimes use the cores {format_numbers(used)}"
    if present == frozenset(range(len(present))):
        raise NotSeen(f"{text}: both ways of numbering begin with 0")
    return held_if(present <= reported, text)


@assumption(
    "neuron-ls-devices", "Reports list the devices that neuron-ls lists", "metrics/inventory.py"
)
def judge_devices_by_neuron_ls(evidence: Evidence) -> Judgement:
    listed = require(evidence.neuron_ls.indices, evidence.neuron_ls.reason)
    reported = _reported(evidence)
    text = f"neuron-ls lists {format_numbers(listed)}, reports list {format_numbers(reported)}"
    if evidence.neuron_ls.unknown:
        text += f"; fields not understood: {format_names(evidence.neuron_ls.unknown)}"
    return held_if(listed == reported, text)


@assumption(
    "neuron-ls-cores",
    "A core has the number device * cores per device + its position, as in neuron-ls",
    "metrics/inventory.py",
)
def judge_cores_by_neuron_ls(evidence: Evidence) -> Judgement:
    devices = [
        (each.neuron_device, each.neuroncore_ids)
        for each in evidence.neuron_ls.devices
        if each.neuroncore_ids
    ]
    require(devices, evidence.neuron_ls.reason or "neuron-ls has no neuroncore_ids")
    _cores_per_device(evidence)
    for device, ids in devices:
        expected = evidence.hardware.cores_of(device)
        if {*ids} != {*expected}:
            return contradicted(
                f"device {device} has the cores {format_numbers(ids)} by neuron-ls, "
                f"and {format_numbers(expected)} by the exporter's rule"
            )
    listed = {core for _, ids in devices for core in ids}
    used = evidence.runtimes.used_cores
    text = f"neuron-ls lists the cores {format_numbers(listed)}"
    text += f", runtimes use {format_numbers(used)}" if used else "; no core was in use"
    return held_if(used <= listed, text)


@assumption(
    "neuron-ls-lnc",
    "Reports and neuron-ls agree on LNC and on the number of logical cores",
    "metrics/inventory.py",
)
def judge_logical_cores(evidence: Evidence) -> Judgement:
    devices = require(evidence.neuron_ls.devices, evidence.neuron_ls.reason)
    lnc, cores = evidence.hardware.logical_core_size, _cores_per_device(evidence)
    text = f"LNC {lnc}: {cores} logical cores a device"
    counts = {len(each.neuroncore_ids) for each in devices if each.neuroncore_ids}
    if not counts and lnc == 1:  # with LNC 2, its meaning is unknown
        counts = {each.nc_count for each in devices if each.nc_count}
    require(counts, f"reports have {text}; neuron-ls has no neuroncore_ids")
    text += f"; neuron-ls has {format_numbers(counts)}"
    sizes = {size for each in devices if (size := each.logical_neuroncore_config) is not None}
    if sizes:
        text += f" with LNC {format_numbers(sizes)}"
    return held_if(counts == {cores} and sizes <= {lnc}, text)


@assumption(
    "neuron-ls-memory",
    "Reports and neuron-ls agree on the memory of a device",
    "metrics/aggregate.py",
)
def judge_memory_size(evidence: Evidence) -> Judgement:
    reported = evidence.hardware.hardware.neuron_device_memory_size
    sizes = (each.memory_size for each in evidence.neuron_ls.devices)
    listed = {size for size in sizes if size is not None}
    require(listed, evidence.neuron_ls.reason or "neuron-ls has no memory_size")
    if reported is None:
        raise NotSeen("no report has neuron_device_memory_size")
    text = f"reports have {reported:,} bytes, neuron-ls {', '.join(f'{n:,}' for n in listed)}"
    return held_if(listed == {reported}, text)


@assumption(
    "instance-type", "The table of instance types has the right figures", "facts/instance_types.py"
)
def judge_instance_type(evidence: Evidence) -> Judgement:
    name, seen = evidence.instance_type, evidence.hardware
    row = INSTANCE_TYPES.get(name.removeprefix("ml."))
    if row is None:
        raise NotSeen(f"{name} is not in the table" if name else "the instance type is unknown")
    physical_cores = seen.cores_per_device * seen.logical_core_size
    figures = (
        ("device", row.devices, seen.hardware.neuron_device_count),
        ("listed device", row.devices, len(seen.devices) or None),
        ("physical core", row.cores_per_device, physical_cores or None),
        ("byte", row.device_memory_bytes, seen.hardware.neuron_device_memory_size),
    )
    known = [
        (format_count(ours, what), ours, theirs)
        for what, ours, theirs in figures
        if ours is not None and theirs is not None
    ]
    require(known, f"{name}: neither the table nor a report has its figures")
    wrong = format_names(
        f"{figure}, but {theirs:,} in reports" for figure, ours, theirs in known if ours != theirs
    )
    if wrong and evidence.has_part:
        raise NotSeen(f"{name}: this container has some of its devices; {wrong}")
    if wrong:
        return contradicted(f"{name}: {wrong}")
    same = format_names(figure for figure, _, _ in known)
    return held(f"{name}: {same} (cores and bytes of a device)")


def _reported(evidence: Evidence) -> frozenset[int]:
    """Return the devices that reports list."""
    return require(evidence.hardware.devices, "no report lists devices")


def _present(evidence: Evidence) -> frozenset[int]:
    """Return the devices in /dev."""
    return require(evidence.present, evidence.missing("/dev/neuron*"))


def _cores_per_device(evidence: Evidence) -> int:
    cores = evidence.hardware.cores_per_device
    return require(cores, "no report has the number of cores of a device")
