"""Check the devices for faults: as a running exporter knows them, else as the driver's files do."""

from __future__ import annotations

from collections.abc import Iterator

from neuron_exporter.doctor.acceptance.sysfs import read_tree
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.driver_files import FILE_TIMEOUT, root_of
from neuron_exporter.doctor.finding import Finding, Subject, format_names, format_numbers
from neuron_exporter.doctor.scraped import ScrapedSnapshot, parse_snapshot
from neuron_exporter.facts.driver_files import UNHEALTHY
from neuron_exporter.hardware.values import parse_health
from neuron_exporter.identity.local import present_devices

SUBJECT = Subject("devices")

HARDWARE_PROBLEMS = ("device_missing", "uncorrected_ecc", "device_unhealthy", "hardware_faults")
"""Problems of a running exporter that show a fault of a device."""

_DRAIN = "drain the machine, then reboot or replace it (grafana/RUNBOOK.md)"


def check(context: Context) -> Iterator[Finding]:
    """Report the faults of the devices, and whether there was anything to judge them by."""
    snapshot = parse_snapshot(context.snapshot)
    if snapshot.source.is_fresh:
        yield from _from_exporter(snapshot)
        return
    if context.is_running:
        yield SUBJECT.skipped(
            "the exporter has no fresh report, or does not show its problems (web.page): whether "
            "errors rise is not known"
        )
    yield from _from_driver(context)


def _from_exporter(snapshot: ScrapedSnapshot) -> Iterator[Finding]:
    found = [each for each in snapshot.problems if each.reason in HARDWARE_PROBLEMS]
    for problem in found:
        yield SUBJECT.failed(f"{problem.reason.replace('_', ' ')}: {problem.detail}", _DRAIN)
    if not found:
        yield SUBJECT.ok("the exporter has seen no fault since its start")


def _from_driver(context: Context) -> Iterator[Finding]:
    """Read which components the driver calls unhealthy. Its counters do not show what is new."""
    root = root_of(context.config)
    if root is None:
        yield SUBJECT.skipped("hardware.sysfs is false: the health by the driver is not read")
        return
    tree = read_tree(root, FILE_TIMEOUT, (UNHEALTHY,), max_hung=1)
    for path, reason in tree.unreadable.items():
        context.incomplete.add(SUBJECT)
        yield SUBJECT.warning(f"{path}: {reason}", "if this stays, run `dmesg` on the host")
    healthy = set()
    own = present_devices()  # a container with some of the devices sees the files of all
    for (device, _), text in sorted(tree.values.items()):
        if device not in own:
            continue
        try:
            failing = [name for name, value in parse_health(text).items() if not value]
        except ValueError:
            yield SUBJECT.skipped(f"the health of neuron{device} is not understood: {text!r}")
            continue
        if failing:
            yield SUBJECT.failed(f"neuron{device} is unhealthy: {format_names(failing)}", _DRAIN)
        else:
            healthy.add(device)
    if healthy:
        yield SUBJECT.ok(f"the driver calls devices {format_numbers(healthy)} healthy")
