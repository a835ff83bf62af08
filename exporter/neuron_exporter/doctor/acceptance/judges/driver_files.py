"""Assumptions on the driver's files below /sys."""

from __future__ import annotations

import re

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

LAST_OLD_LAYOUT = (2, 30)
"""The last driver with the published layout."""

_POWER = re.compile(r"POWER_STATUS_(?:VALID|NO_DATA|INVALID),\d+(?:,\d+(?:\.\d+)?){3}")
_WHOLE = re.compile(r"\d{1,20}")


def judge_layout(evidence: Evidence) -> Judgement:
    """Judge whether drivers up to 2.30 have the published layout, and later ones another."""
    tree = evidence.sysfs_before
    if not tree.devices:
        return not_seen(evidence.no_sysfs)
    layout = tree.layout
    is_old = bool(layout.known) and not layout.moved
    text = f"{format_count(len(tree.devices), 'device')}, {format_count(tree.files, 'file')}: "
    text += "the layout of drivers up to 2.30" if is_old else "another layout than up to 2.30"
    if layout.moved:
        text += f"; known names at other paths: {format_names(layout.moved)}"
    if layout.unknown:
        text += f"; not understood: {format_names(layout.unknown)}"
    match = re.match(r"(\d{1,6})\.(\d{1,6})", evidence.driver)
    if match is None:
        return not_seen(f"{text}; the driver's version is unknown")
    is_old_driver = (int(match[1]), int(match[2])) <= LAST_OLD_LAYOUT
    text = f"driver {match[0]}: {text}"
    return held(text) if is_old == is_old_driver else contradicted(text)


def judge_values(evidence: Evidence) -> Judgement:
    """Judge whether ECC totals, counts of cores and the power have their documented forms."""
    tree = evidence.sysfs_before
    if not tree.devices:
        return not_seen(evidence.no_sysfs)
    wrong = [
        f"{path} of device {device}"
        for (device, path), value in sorted(tree.values.items())
        if not _has_form(path, value)
    ]
    wrong += [f"{path}: {reason}" for path, reason in sorted(tree.unreadable.items())]
    names = {path.rpartition("/")[2] for _, path in tree.values}
    lacking = {"core_count", "mem_ecc_uncorrected", "sram_ecc_uncorrected", "utilization"} - names
    text = f"{format_count(len(tree.values), 'value')} of {format_names(sorted(names))}"
    if lacking:
        text += f"; no file is named {format_names(sorted(lacking))}"
    if wrong:
        return contradicted(f"{text}; not understood: {format_names(wrong)}")
    return held(text) if tree.values else not_seen(text)


def _has_form(path: str, value: str) -> bool:
    name = path.rpartition("/")[2]
    return (_POWER if name == "utilization" else _WHOLE).fullmatch(value) is not None


def judge_cores(evidence: Evidence) -> Judgement:
    """Judge whether sysfs has one folder for each physical core."""
    tree, hardware = evidence.sysfs_before, evidence.hardware
    counts = {len(folders) for folders in tree.cores.values()}
    if not counts:
        return not_seen(
            evidence.no_sysfs if not tree.devices else "no folder is named neuron_core*"
        )
    size, logical = hardware.logical_core_size, hardware.cores_per_device
    text = f"{format_numbers(counts)} folders a device; LNC {size}, {logical} logical cores"
    if not logical:
        return not_seen("no report has the number of cores of a device")
    if counts == {logical * size}:
        return held(text)
    if counts == {logical}:
        return contradicted(f"{text}: one folder for each logical core")
    return contradicted(text)


def judge_devices(evidence: Evidence) -> Judgement:
    """Judge whether a container with some of the devices sees all of the machine's in sysfs."""
    tree, present = evidence.sysfs_before, evidence.present
    if not tree.devices:
        return not_seen(evidence.no_sysfs)
    text = f"sysfs has {format_numbers(tree.devices)}, /dev {format_numbers(present)}"
    if not evidence.has_part:
        return not_seen(f"{text}: this is not a container with some of the devices")
    return held(text) if present < tree.devices else contradicted(text)


def judge_uncorrected(evidence: Evidence) -> Judgement:
    """Judge whether sysfs and neuron-monitor report the same ECC totals."""
    tree = evidence.sysfs_after
    shared = {
        key: (total, evidence.ecc.by_event[key].last)
        for key, total in tree.ecc.items()
        if key in evidence.ecc.by_event and key in evidence.sysfs_before.ecc
    }
    if not shared:
        return not_seen(evidence.no_sysfs if not tree.devices else "no total is in both")
    before = evidence.sysfs_before.ecc
    different = [
        f"{name} of device {device}: {total} in sysfs, {reading:g} in reports"
        for (device, name), (total, reading) in sorted(shared.items())
        if not before[device, name] <= reading <= total
    ]
    text = f"{format_count(len(shared), 'reading')} compared"
    if different:
        return contradicted(f"{text}: {format_names(different)}")
    above = sum(total > 0 for total, _ in shared.values())
    if not above:
        return not_seen(f"{text}, all of them 0")
    return held(f"{text}, {above} of them above 0")
