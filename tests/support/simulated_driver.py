"""The driver's files of simulated machines."""

from __future__ import annotations

from collections.abc import Iterator

from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from tests.support.simulated import Report

Files = dict[int, dict[str, str]]

TRN2 = ("--instance-type", "trn2.48xlarge")
INF2 = ("--instance-type", "inf2.24xlarge")


def run(count: int, *flags: str) -> Iterator[tuple[Report, Files]]:
    """Yield each report with the driver's files at its time."""
    machine = Machine(parse(["--sysfs", "unused", *flags]))
    assert machine.driver
    for number in range(count):
        report = machine.report(number)
        yield report, machine.driver.files()


def after(count: int, *flags: str) -> Files:
    """Return the driver's files after some reports."""
    *_, (_, files) = run(count, *flags)
    return files


def errors(files: Files, *names: str) -> int:
    """Return the total of some errors of all cores."""
    return sum(
        int(text)
        for each in files.values()
        for path, text in each.items()
        if path.endswith("/total") and path.split("/")[-2] in names
    )
