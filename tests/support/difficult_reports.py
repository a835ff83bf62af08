"""Files of reports that are hard to publish: all scenarios and faults, absurd numbers and texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.hardware import SIMULATED_TYPES
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.support import simulated
from tests.support.publishing import write_simulated

MANY_REPORTS = 24

ABSURD = [10**400, 1e300, 2**63, 1e18, 5e-324, -1]
"""Readings that no machine has."""

AWKWARD = [
    "Größe\t\x00\x1b[31m\x7f\u2028 模型 🧠",
    "x" * 2000,
    "é" * 2000,
    "  \r\n a" + " " * 1022 + "b",
    ":colon",
]
"""Names that are too long, or have characters that not every receiver accepts."""


def written(folder: Path, reports: list[dict[str, Any]]) -> Path:
    """Write these reports to a file."""
    path = folder / "reports.ndjson"
    path.write_text("".join(json.dumps(report) + "\n" for report in reports))
    return path


def with_scenario(folder: Path, scenario: str) -> Iterator[Path]:
    """Yield reports of every third type of machine in a scenario. All scenarios have all types."""
    first = [*SCENARIOS].index(scenario) % 3
    for instance_type in [*SIMULATED_TYPES][first::3]:
        flags = ("--instance-type", instance_type, "--scenario", scenario, "--runtimes", "7")
        yield write_simulated(folder / "r", 14, *flags)


def with_fault(folder: Path, fault: str) -> Path:
    """Return reports of a machine with a fault."""
    flags = ("--instance-type", "inf2.24xlarge", "--scenario", "mixed", "--faults", fault)
    return write_simulated(folder / "r", MANY_REPORTS, *flags)


def with_all_faults(folder: Path) -> Iterator[Path]:
    """Yield reports of machines that have all faults but those that end the reports."""
    faults = ",".join(name for name in FAULTS if name not in ("crash", "stall"))
    flags = ("--instance-type", "trn1.2xlarge", "--scenario", "mixed", "--faults", faults)
    for seed in ("1", "2", "3"):
        yield write_simulated(folder / "r", MANY_REPORTS, *flags, "--seed", seed)


def recorded(folder: Path, capture: Path) -> Path:
    """Return recorded reports, several times."""
    path = folder / "reports.ndjson"
    path.write_bytes((capture.read_bytes().rstrip() + b"\n") * 14)
    return path


def with_absurd_values(folder: Path, reading: float) -> Path:
    """Return reports of which some have only this reading."""
    reports = simulated.reports(14, *simulated.SMALL)
    return written(
        folder,
        [
            with_readings(each, reading) if number % 3 == 1 else each
            for number, each in enumerate(reports)
        ],
    )


def with_awkward_identity(folder: Path, text: str) -> Path:
    """Return reports whose machine and runtimes have this text as names."""
    fields = ("instance_name", "instance_availability_zone", "subnet_id", "ultraserver_id")
    reports = simulated.reports(14, *simulated.SMALL)
    for report in reports:
        report["instance_info"].update(dict.fromkeys(fields, text))
        for runtime in report["neuron_runtime_data"]:
            runtime["neuron_runtime_tag"] = text
    return written(folder, reports)


def with_readings(value: Any, reading: float) -> Any:
    """Replace every number except those that describe the hardware and processes."""
    if isinstance(value, dict):
        kept = ("neuron_hardware_info", "pid", "period")
        return {k: v if k in kept else with_readings(v, reading) for k, v in value.items()}
    if isinstance(value, list):
        return [with_readings(each, reading) for each in value]
    return reading if isinstance(value, int | float) else value
