"""The simulator's flags."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from neuron_exporter.model import Group
from neuron_exporter.simulator import script
from neuron_exporter.simulator.configuration import ConfigurationError, periods
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.hardware import SIMULATED, Hardware, hardware
from neuron_exporter.simulator.scenarios import DEFAULT_SCENARIO, SCENARIOS
from neuron_exporter.simulator.script import MOST_RUNTIMES, ScriptError, Step

DEFAULT_INSTANCE_TYPE = "trn1.32xlarge"

_FASTEST = 1_000_000
_FAULT = re.compile(r"([\w-]+)(?:@([1-9]\d{0,9}))?", re.ASCII)


class Asked(NamedTuple):
    """A fault, and the number of the report at which it happens; None leaves that to the fault."""

    name: str
    report: int | None


class Options(NamedTuple):
    """Everything that makes one run."""

    hardware: Hardware
    scenario: str
    runtimes: int | None
    seed: int
    faults: tuple[Asked, ...]
    script: tuple[Step, ...]
    kubernetes: bool
    tag: str | None
    reports: int | None
    speed: float
    periods: Mapping[Group, int]
    own_configuration: bool


def parse(arguments: list[str], program: str = "neuron-exporter simulate") -> Options:
    """Options from the command line; ends the process with status 2 where they are wrong."""
    parser = _parser(program)
    given = parser.parse_args(arguments)
    try:
        wanted = periods(given.config_file)
    except ConfigurationError as error:
        parser.error(f"argument -c: {error}")
    try:
        steps = script.load(given.script) if given.script is not None else ()
    except ScriptError as error:
        parser.error(f"argument --script: {error}")
    if given.kubernetes and given.instance_type.generation.old_tools:
        parser.error(
            f"argument --kubernetes: the tools of {given.instance_type.name} are older than "
            "neuron_k8s_info; must be with inf2 and later"
        )
    return Options(
        hardware=given.instance_type,
        scenario=given.scenario,
        runtimes=given.runtimes,
        seed=given.seed,
        faults=given.faults,
        script=steps,
        kubernetes=given.kubernetes,
        tag=given.tag,
        reports=given.reports,
        speed=given.speed,
        periods=wanted,
        own_configuration=given.config_file is not None,
    )


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Write reports in neuron-monitor's shape to standard output, without hardware. "
        "The same flags and seed give the same reports.",
        epilog=_explained(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-c", "--config-file", metavar="FILE", help="neuron-monitor's configuration file"
    )
    parser.add_argument(
        "--verbose", type=int, default=0, choices=range(5), help="neuron-monitor's; has no effect"
    )
    parser.add_argument(
        "--instance-type",
        default=DEFAULT_INSTANCE_TYPE,
        type=_hardware,
        metavar="TYPE",
        help=f"the machine (default {DEFAULT_INSTANCE_TYPE}): {', '.join(SIMULATED)}",
    )
    parser.add_argument(
        "--scenario",
        default=DEFAULT_SCENARIO,
        choices=SCENARIOS,
        help=f"what goes on (default {DEFAULT_SCENARIO})",
    )
    parser.add_argument(
        "--runtimes",
        type=_whole(0, MOST_RUNTIMES),
        metavar="N",
        help="processes that use Neuron (default: the scenario's)",
    )
    parser.add_argument(
        "--faults",
        type=_faults,
        default=(),
        metavar="LIST",
        help="what goes wrong, separated by commas; crash@5 is at the fifth report",
    )
    parser.add_argument(
        "--script", metavar="FILE", help="a list of steps (YAML): what changes, and when"
    )
    parser.add_argument(
        "--kubernetes", action="store_true", help="say which pod has which core (neuron_k8s_info)"
    )
    parser.add_argument(
        "--tag",
        help="the tag of every process (default: the scenario's), as NEURON_PROCESS_TAG sets it",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another load (default 0)")
    parser.add_argument(
        "--reports", type=_whole(1, 10**9), metavar="N", help="end after so many reports"
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help="so many times faster; 0 is as fast as possible (default 1)",
    )
    return parser


def _explained() -> str:
    """The scenarios, the faults and the script, for --help."""
    lines = ["scenarios:"]
    for scenario in SCENARIOS.values():
        lines.append(f"  {scenario.name:20}{scenario.help}; {scenario.runtimes} runtimes")
    lines += ["", "faults, and when they happen; with @N at report N, or from report N on:"]
    for fault in FAULTS.values():
        lines.append(f"  {fault.name:20}{fault.help}")
        lines.append(f"  {'':20}{fault.when.value}, {fault.name}@N {fault.when.numbered}")
    lines += [
        "",
        "script: each step has `at`, and `scenario`, `runtimes` or `fault` (a name or a list); a",
        "fault can end after a time (`for`). Times are those of the reports, whatever --speed is.",
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
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if re.fullmatch("[0-9]{1,19}", text) else -1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"must be a number from {low} to {high} (got {text!r})"
            )
        return number

    return parse


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 <= speed <= _FASTEST:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {_FASTEST} (got {text!r})")
    return speed


def _faults(text: str) -> tuple[Asked, ...]:
    found = []
    for part in text.split(","):
        match = _FAULT.fullmatch(part.strip())
        if not match or match[1] not in FAULTS:
            raise argparse.ArgumentTypeError(
                f"must be of {', '.join(FAULTS)}, as in crash@5,garbage (got {part!r})"
            )
        found.append(Asked(match[1], int(match[2]) if match[2] else None))
    return tuple(found)
