"""Assumptions on devices and cores: which exist, how they are numbered, and how large they are."""

from __future__ import annotations

from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import (
    Judgement,
    contradicted,
    format_count,
    format_names,
    held,
    not_seen,
)
from neuron_exporter.doctor.finding import format_numbers
from neuron_exporter.facts.instance_types import INSTANCE_TYPES

_GIB = 2**30
_NO_LIST = "no report lists devices"
_NO_CORES_PER_DEVICE = "no report has the number of cores of a device"


def judge_device_list(evidence: Evidence) -> Judgement:
    """Judge whether the list has as many devices as the report counts, and stays the same."""
    seen = evidence.hardware
    count = seen.hardware.neuron_device_count
    if not seen.devices or count is None:
        return not_seen(_NO_LIST if not seen.devices else "no report has the number of devices")
    text = f"listed are {format_numbers(seen.devices)}, neuron_device_count is {count}"
    if len(seen.lists) > 1 or seen.changes:
        changes = len(seen.lists) - 1 + seen.changes
        return contradicted(f"{text}; they changed {format_count(changes, 'time')}")
    return held(text) if len(seen.devices) == count else contradicted(text)


def judge_devices_by_neuron_ls(evidence: Evidence) -> Judgement:
    """Judge whether reports list the devices that neuron-ls lists."""
    listed, reported = evidence.neuron_ls.indices, evidence.hardware.devices
    if not listed:
        return not_seen(evidence.neuron_ls.reason)
    if not reported:
        return not_seen(_NO_LIST)
    text = f"neuron-ls lists {format_numbers(listed)}, reports list {format_numbers(reported)}"
    if evidence.neuron_ls.unknown:
        text += f"; fields not understood: {format_names(evidence.neuron_ls.unknown)}"
    return held(text) if listed == reported else contradicted(text)


def judge_cores_by_neuron_ls(evidence: Evidence) -> Judgement:
    """Judge whether core numbers are those of neuron-ls: device * cores per device + core."""
    seen = evidence.hardware
    devices = [each for each in evidence.neuron_ls.devices if each.neuroncore_ids]
    if not devices:
        return not_seen(evidence.neuron_ls.reason or "neuron-ls has no neuroncore_ids")
    if not seen.cores_per_device:
        return not_seen(_NO_CORES_PER_DEVICE)
    for each in devices:
        expected, ids = seen.cores_of(each.neuron_device), each.neuroncore_ids or []
        if {*ids} != {*expected}:
            return contradicted(
                f"device {each.neuron_device} has the cores {format_numbers(ids)} by neuron-ls, "
                f"and {format_numbers(expected)} by the exporter's rule"
            )
    listed = {core for each in devices for core in each.neuroncore_ids or ()}
    used = evidence.runtimes.used_cores
    text = f"neuron-ls lists the cores {format_numbers(listed)}"
    if not used:
        return held(f"{text}; no core was in use")
    text += f", runtimes use {format_numbers(used)}"
    return held(text) if used <= listed else contradicted(text)


def judge_logical_cores(evidence: Evidence) -> Judgement:
    """Judge whether reports and neuron-ls agree on LNC and the number of logical cores."""
    seen, devices = evidence.hardware, evidence.neuron_ls.devices
    if not devices:
        return not_seen(evidence.neuron_ls.reason)
    if not seen.cores_per_device:
        return not_seen(_NO_CORES_PER_DEVICE)
    text = f"LNC {seen.logical_core_size}: {seen.cores_per_device} logical cores a device"
    sizes = {each.logical_neuroncore_config for each in devices} - {None}
    counts = {len(each.neuroncore_ids) for each in devices if each.neuroncore_ids}
    if not counts and seen.logical_core_size == 1:  # with LNC 2, its meaning is unknown
        counts = {each.nc_count for each in devices if each.nc_count}
    if not counts:
        return not_seen(f"reports have {text}; neuron-ls has no neuroncore_ids")
    text += f"; neuron-ls has {format_numbers(counts)}"
    if sizes:
        text += f" with LNC {format_numbers(each for each in sizes if each)}"
    is_same = counts == {seen.cores_per_device} and sizes <= {seen.logical_core_size}
    return held(text) if is_same else contradicted(text)


def judge_memory_size(evidence: Evidence) -> Judgement:
    """Judge whether reports and neuron-ls agree on the memory of a device."""
    reported = evidence.hardware.hardware.neuron_device_memory_size
    sizes = (each.memory_size for each in evidence.neuron_ls.devices)
    listed = {size for size in sizes if size is not None}
    if not listed:
        return not_seen(evidence.neuron_ls.reason or "neuron-ls has no memory_size")
    if reported is None:
        return not_seen("no report has neuron_device_memory_size")
    text = f"reports have {reported:,} bytes, neuron-ls {', '.join(f'{n:,}' for n in listed)}"
    return held(text) if listed == {reported} else contradicted(text)


def judge_instance_type(evidence: Evidence) -> Judgement:
    """Judge whether the exporter's table of instance types is right about this one."""
    name, seen = evidence.instance_type, evidence.hardware
    row = INSTANCE_TYPES.get(name.removeprefix("ml."))
    if row is None:
        reason = f"{name} is not in the table" if name else "the instance type is unknown"
        return not_seen(reason)
    hardware = seen.hardware
    expected = {
        "device": (row.devices, hardware.neuron_device_count),
        "listed device": (row.devices, len(seen.devices) or None),
        "physical core": (
            row.cores_per_device,
            seen.cores_per_device * seen.logical_core_size or None,
        ),
        "byte": (row.device_memory_bytes, hardware.neuron_device_memory_size),
    }
    known = {
        what: (ours, theirs)
        for what, (ours, theirs) in expected.items()
        if ours is not None and theirs is not None
    }
    if not known:
        return not_seen(f"{name}: neither the table nor a report has its figures")
    wrong = [
        f"{format_count(ours, what)}, but {theirs:,} in reports"
        for what, (ours, theirs) in known.items()
        if ours != theirs
    ]
    if wrong and evidence.has_part:
        return not_seen(f"{name}: this container has some of its devices; {format_names(wrong)}")
    if wrong:
        return contradicted(f"{name}: {format_names(wrong)}")
    figures = format_names(format_count(theirs, what) for what, (_, theirs) in known.items())
    return held(f"{name}: {figures} (cores and bytes of a device)")


def judge_device_files(evidence: Evidence) -> Judgement:
    """Judge whether reports list the devices that /dev has, or all of the machine's."""
    present, reported = evidence.present, evidence.hardware.devices
    if not present:
        return not_seen(evidence.no_device_files)
    if not reported:
        return not_seen(_NO_LIST)
    text = f"/dev has {format_numbers(present)}, reports list {format_numbers(reported)}"
    if evidence.has_part and present < reported:
        return held(f"{text}: they cover the whole machine")
    return held(text) if present == reported else contradicted(text)


def judge_container(evidence: Evidence) -> Judgement:
    """Judge whether reports in a container with some of the devices number them as the host does.

    Reports that list all devices of the machine do, too.
    """
    present, reported = evidence.present, evidence.hardware.devices
    if not present:
        return not_seen(evidence.no_device_files)
    if not evidence.has_part:
        return not_seen(f"/dev has all devices of the machine: {format_numbers(present)}")
    if not reported:
        return not_seen(_NO_LIST)
    text = f"/dev has {format_numbers(present)}, reports list {format_numbers(reported)}"
    used = evidence.runtimes.used_cores
    if used:
        text += f", runtimes use the cores {format_numbers(used)}"
    if present == frozenset(range(len(present))):
        return not_seen(f"{text}: both ways of numbering begin with 0")
    return held(text) if present <= reported else contradicted(text)
