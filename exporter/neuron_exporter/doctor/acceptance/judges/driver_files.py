"""Assumptions on the driver's files below /sys."""

from __future__ import annotations

import re

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
from neuron_exporter.doctor.acceptance.sysfs import ROOT, SysfsTree
from neuron_exporter.doctor.finding import format_count, format_names, format_numbers
from neuron_exporter.facts.driver_files import POWER_FORM, TOTAL_FORM

LAST_OLD_LAYOUT = (2, 30)
"""The last driver with the published layout."""


@assumption(
    "sysfs-layout",
    "Drivers up to 2.30 have the published sysfs layout, and later ones another",
    "hardware/discovery.py",
)
def judge_layout(evidence: Evidence) -> Judgement:
    tree = _before(evidence)
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
        raise NotSeen(f"{text}; the driver's version is unknown")
    is_old_driver = (int(match[1]), int(match[2])) <= LAST_OLD_LAYOUT
    return held_if(is_old == is_old_driver, f"driver {match[0]}: {text}")


@assumption(
    "sysfs-values",
    "ECC totals, numbers of cores and power have the same names and forms in both layouts",
    "hardware/values.py",
)
def judge_values(evidence: Evidence) -> Judgement:
    tree = _before(evidence)
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
    require(tree.values, text)
    return held(text)


def _has_form(path: str, value: str) -> bool:
    name = path.rpartition("/")[2]
    return (POWER_FORM if name == "utilization" else TOTAL_FORM).fullmatch(value) is not None


@assumption(
    "sysfs-cores", "sysfs has one folder for each physical core", "metrics/driver_readings.py"
)
def judge_cores(evidence: Evidence) -> Judgement:
    counts = {len(folders) for folders in _before(evidence).cores.values()}
    require(counts, "no folder is named neuron_core*")
    size = evidence.hardware.logical_core_size
    logical = require(
        evidence.hardware.cores_per_device, "no report has the number of cores of a device"
    )
    text = f"{format_numbers(counts)} folders a device; LNC {size}, {logical} logical cores"
    if size > 1 and counts == {logical}:
        text += ": one folder for each logical core"
    return held_if(counts == {logical * size}, text)


@assumption(
    "sysfs-devices",
    "A container with some of the devices sees all devices of the machine in sysfs",
    "identity/local.py",
)
def judge_devices(evidence: Evidence) -> Judgement:
    seen, present = _before(evidence).devices, evidence.present
    text = f"sysfs has {format_numbers(seen)}, /dev {format_numbers(present)}"
    require(evidence.has_part, f"{text}: this is not a container with some of the devices")
    return held_if(present < seen, text)


@assumption(
    "sysfs-ecc", "sysfs and neuron-monitor have the same ECC totals", "metrics/driver_readings.py"
)
def judge_uncorrected(evidence: Evidence) -> Judgement:
    before, after = evidence.sysfs_before.ecc, _existing(evidence, evidence.sysfs_after).ecc
    readings = evidence.ecc.by_event
    shared = sorted(before.keys() & after.keys() & readings.keys())
    require(shared, "no total is in both")
    different = [
        f"{name} of device {device}: {after[device, name]} in sysfs, "
        f"{readings[device, name].last:g} in reports"
        for device, name in shared
        if not before[device, name] <= readings[device, name].last <= after[device, name]
    ]
    text = f"{format_count(len(shared), 'reading')} compared"
    if different:
        return contradicted(f"{text}: {format_names(different)}")
    above = require(sum(after[key] > 0 for key in shared), f"{text}, all of them 0")
    return held(f"{text}, {above} of them above 0")


def _before(evidence: Evidence) -> SysfsTree:
    """Return the files before the first report."""
    return _existing(evidence, evidence.sysfs_before)


def _existing(evidence: Evidence, tree: SysfsTree) -> SysfsTree:
    require(tree.devices, evidence.missing(ROOT))
    return tree
