"""The simulator's command line."""

from __future__ import annotations

import argparse
import re
from argparse import ArgumentTypeError
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neuron_exporter.model import Group
from neuron_exporter.simulator import script
from neuron_exporter.simulator.configuration import ConfigurationError, periods
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.hardware import SIMULATED_TYPES, Hardware, hardware
from neuron_exporter.simulator.scenarios import DEFAULT_SCENARIO, SCENARIOS
from neuron_exporter.simulator.script import MAX_RUNTIMES, ScriptError, Step
from neuron_exporter.simulator.sysfs import LAYOUTS
from neuron_exporter.text import whole

DEFAULT_INSTANCE_TYPE = "trn1.32xlarge"

_MAX_SPEED = 1_000_000
_FAULT = re.compile(r"([\w-]+)(?:@([1-9]\d{0,9}))?", re.ASCII)


class RequestedFault(NamedTuple):
    """A fault and the number of its report; None means the fault's own timing."""

    name: str
    report: int | None


class Options(NamedTuple):
    """Options of one run."""

    hardware: Hardware
    scenario: str
    runtimes: int | None
    seed: int
    faults: tuple[RequestedFault, ...]
    script: tuple[Step, ...]
    kubernetes: bool
    tag: str | None
    reports: int | None
    speed: float
    periods: Mapping[Group, int]
    own_configuration: bool
    sysfs: Path | None
    sysfs_layout: str


def parse(arguments: list[str]) -> Options:
    """Return the options of a command line. Exit with status 2 if they are not valid."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    try:
        group_periods = periods(parsed.config_file)
        steps = script.load(parsed.script) if parsed.script is not None else ()
    except ConfigurationError as error:
        parser.error(f"argument -c: {error}")
    except ScriptError as error:
        parser.error(f"argument --script: {error}")
    if parsed.instance_type.generation.old_tools:
        name = parsed.instance_type.name
        if parsed.kubernetes:
            parser.error(
                "argument --kubernetes: must be used with inf2 or later "
                f"(got {name}, whose tools have no neuron_k8s_info)"
            )
        if parsed.sysfs:
            parser.error(
                "argument --sysfs: must be used with inf2 or later "
                f"(got {name}, whose driver has other files)"
            )
    if parsed.sysfs_layout and not parsed.sysfs:
        parser.error("argument --sysfs-layout: must be used with --sysfs")
    return Options(
        hardware=parsed.instance_type,
        scenario=parsed.scenario,
        runtimes=parsed.runtimes,
        seed=parsed.seed,
        faults=parsed.faults,
        script=steps,
        kubernetes=parsed.kubernetes,
        tag=parsed.tag,
        reports=parsed.reports,
        speed=parsed.speed,
        periods=group_periods,
        own_configuration=parsed.config_file is not None,
        sysfs=parsed.sysfs,
        sysfs_layout=parsed.sysfs_layout or next(iter(LAYOUTS)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neuron-exporter simulate",
        description="Write reports in neuron-monitor's format to standard output. No hardware is "
        "needed. The same flags and seed produce the same reports.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-c", "--config-file", metavar="FILE", help="neuron-monitor's configuration file")
    add(
        "--verbose",
        type=int,
        default=0,
        choices=range(5),
        help="accepted for compatibility; no effect",
    )
    add(
        "--instance-type",
        default=DEFAULT_INSTANCE_TYPE,
        type=_hardware,
        metavar="TYPE",
        help=f"the machine (default {DEFAULT_INSTANCE_TYPE}): {', '.join(SIMULATED_TYPES)}",
    )
    add(
        "--scenario",
        default=DEFAULT_SCENARIO,
        choices=SCENARIOS,
        help=f"the load (default {DEFAULT_SCENARIO})",
    )
    add(
        "--runtimes",
        type=whole(0, MAX_RUNTIMES),
        metavar="N",
        help="number of runtimes (default: the scenario's)",
    )
    add(
        "--faults",
        type=_faults,
        default=(),
        metavar="LIST",
        help="faults to inject, separated by commas; crash@5 is at the fifth report",
    )
    add("--script", metavar="FILE", help="a YAML list of changes and their times")
    add(
        "--kubernetes",
        action="store_true",
        help="report which pod has which core (neuron_k8s_info)",
    )
    add(
        "--sysfs",
        type=_directory,
        metavar="DIR",
        help="an empty directory for the driver's files, like those below /sys; each report "
        "changes them",
    )
    add(
        "--sysfs-layout",
        choices=LAYOUTS,
        help="paths of these files: those of drivers up to 2.30 (old, the default), or invented "
        "ones (moved)",
    )
    add("--tag", help="tag of every runtime, like NEURON_PROCESS_TAG (default: the scenario's)")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another variation of the same load (default 0)",
    )
    add("--reports", type=whole(1, 10**9), metavar="N", help="stop after N reports")
    add(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help="run X times faster; 0 is as fast as possible (default 1)",
    )
    return parser


def _epilog() -> str:
    """Return the part of --help on scenarios, faults and scripts."""
    lines = ["scenarios:"]
    for scenario in SCENARIOS.values():
        lines.append(f"  {scenario.name:20}{scenario.help}; {scenario.runtimes} runtimes")
    lines += ["", "faults and their timing, by default and with @N:"]
    for fault in FAULTS.values():
        lines.append(f"  {fault.name:20}{fault.help}")
        lines.append(f"  {'':20}{fault.timing.value}; {fault.name}@N: {fault.timing.numbered}")
    lines += [
        "",
        "script: each step has `at`, and `scenario`, `runtimes` or `fault` (a name or a list);",
        "`for` ends a fault after a time. Times are those of the reports, whatever --speed is.",
        "  - {at: 30s, scenario: training}",
        "  - {at: 90s, runtimes: 8}",
        "  - {at: 2m, fault: [hang, nulls], for: 1m}",
        "  - {at: 5m, fault: crash}",
    ]
    return "\n".join(lines)


def _hardware(text: str) -> Hardware:
    try:
        return hardware(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _directory(text: str) -> Path:
    if not text:
        raise ArgumentTypeError("must be the path of a directory (got '')")
    return Path(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 <= speed <= _MAX_SPEED:
        raise ArgumentTypeError(f"must be a number from 0 to {_MAX_SPEED} (got {text!r})")
    return speed


def _faults(text: str) -> tuple[RequestedFault, ...]:
    found = []
    for part in text.split(","):
        match = _FAULT.fullmatch(part.strip())
        if not match or match[1] not in FAULTS:
            raise ArgumentTypeError(
                f"must be one of {', '.join(FAULTS)}, as in crash@5,garbage (got {part!r})"
            )
        found.append(RequestedFault(match[1], int(match[2]) if match[2] else None))
    return tuple(found)
