"""Check the driver's files below /sys: whether they are there, can be read, and are understood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from neuron_exporter.config import Config
from neuron_exporter.doctor.acceptance.sysfs import READ_NAMES, SysfsTree, read_tree
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import (
    Finding,
    Subject,
    format_count,
    format_names,
    format_numbers,
)
from neuron_exporter.doctor.remedies import AS_EXPORTER
from neuron_exporter.facts.driver_files import CORE_FILES, DEVICE_FILES
from neuron_exporter.hardware import sysfs
from neuron_exporter.identity.local import DRIVER_VERSION
from neuron_exporter.pipeline.identity import is_local_source

SUBJECT = Subject("sysfs")

FILE_TIMEOUT = 2.0
"""Seconds that a file may take. The exporter allows more."""

_NEW_DRIVER = "report the driver's version and these names in an issue; their values are not used"


def check(context: Context) -> Iterator[Finding]:
    """List the files, read some of them, and compare the layout with the one that is known."""
    if not is_local_source(context.config):
        yield SUBJECT.skipped(f"source.kind {context.config.source.kind} needs no driver")
        return
    root = root_of(context.config)
    if root is None:
        yield SUBJECT.skipped("hardware.sysfs is false: power, health and resets are absent")
        return
    tree = read_tree(root, FILE_TIMEOUT, (*READ_NAMES, *DEVICE_FILES))
    if tree.devices:
        yield from _layout(tree)
    elif not tree.unreadable:
        yield _missing(root)
    yield from _unreadable(tree.unreadable)


def root_of(config: Config) -> Path | None:
    """Return the folder with the files of all devices; None if they must not be read."""
    root = sysfs.root_of(config.hardware.sysfs)
    return None if root is None else Path(root)


def _missing(root: Path) -> Finding:
    if not DRIVER_VERSION.parent.exists():
        return SUBJECT.skipped(f"{root} has no devices, and no driver is loaded")
    return SUBJECT.warning(
        f"{root} has no devices, although a driver is loaded",
        "mount the host's /sys read-only at /sys; power, health and resets are absent without it",
    )


def _layout(tree: SysfsTree) -> Iterator[Finding]:
    layout = tree.layout
    seen = f"{format_count(tree.files, 'file')} of devices {format_numbers(tree.devices)}"
    names = {name for path in tree.paths for name in path.split("/")}
    lacking = [name for name in (*DEVICE_FILES, *CORE_FILES) if name not in names]
    if lacking:
        seen += f"; this driver has no {format_names(lacking)}"
    if layout.moved:
        seen += f"; {len(layout.moved)} known names are at other paths than up to driver 2.30"
    yield SUBJECT.ok(seen)
    if layout.unknown:
        yield SUBJECT.warning(f"not understood: {format_names(layout.unknown)}", _NEW_DRIVER)


def _unreadable(unreadable: Mapping[str, str]) -> Iterator[Finding]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for path, reason in unreadable.items():
        by_reason[reason].append(path)
    for reason, paths in by_reason.items():
        fix = AS_EXPORTER if reason == "EACCES" else "if this stays, run `dmesg` on the host"
        yield SUBJECT.warning(f"{format_names(paths)}: {reason}", fix)
