"""The simulator's flags, and neuron-monitor's configuration file as it understands it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from exporter.facts.instance_types import INSTANCE_TYPES
from exporter.model import Group

SCENARIOS = ("idle", "inference", "mixed")
FAULTS = ("crash", "stall", "garbage")
DEFAULT_INSTANCE_TYPE = "trn1.32xlarge"
DEFAULT_RUNTIMES = 4

_DEFAULT_PERIOD = 5
_FAULT = re.compile(r"(\w+)(?:@(\d+))?")


class Fault(NamedTuple):
    """A fault, and the number of the report at which it happens; None leaves it to chance."""

    name: str
    at: int | None


class Options(NamedTuple):
    """Everything that makes one run."""

    instance_type: str
    runtimes: int
    scenario: str
    seed: int
    faults: tuple[Fault, ...]
    reports: int | None
    speed: float
    periods: Mapping[Group, int]
    own_configuration: bool


def parse(arguments: list[str], program: str = "neuron-exporter simulate") -> Options:
    """Options from the command line; ends the process with status 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Write reports in neuron-monitor's shape to standard output, without hardware. "
        "The same flags and seed give the same reports.",
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
        choices=sorted(INSTANCE_TYPES),
        metavar="TYPE",
        help=f"the machine (default {DEFAULT_INSTANCE_TYPE}): {', '.join(sorted(INSTANCE_TYPES))}",
    )
    parser.add_argument(
        "--runtimes",
        type=_whole(0, 1024),
        metavar="N",
        help=f"processes that use Neuron (default {DEFAULT_RUNTIMES}; none when idle)",
    )
    parser.add_argument(
        "--scenario",
        default="inference",
        choices=SCENARIOS,
        help="idle: loaded, nothing runs. inference: a changing load. mixed: training beside "
        "inference, helpers that come and go, containers that share a tag, some errors",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another load (default 0)")
    parser.add_argument(
        "--faults",
        type=_faults,
        default=(),
        metavar="LIST",
        help="of crash, stall and garbage, separated by commas; crash@5 is at the fifth report",
    )
    parser.add_argument(
        "--reports", type=_whole(1, 10**9), metavar="N", help="end after so many reports"
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="X",
        help="so many times faster; 0 is as fast as possible (default 1)",
    )
    given = parser.parse_args(arguments)
    if given.speed < 0:
        parser.error(f"argument --speed: must not be negative (got {given.speed})")
    try:
        periods = _periods(given.config_file)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        parser.error(
            f"argument -c: {given.config_file}: not a configuration of neuron-monitor: {error}"
        )
    runtimes = given.runtimes
    if runtimes is None:
        runtimes = 0 if given.scenario == "idle" else DEFAULT_RUNTIMES
    return Options(
        given.instance_type,
        runtimes,
        given.scenario,
        given.seed,
        given.faults,
        given.reports,
        given.speed,
        periods,
        given.config_file is not None,
    )


def _periods(path: str | None) -> Mapping[Group, int]:
    """The period of every group that is wanted, in seconds."""
    if path is None:
        # Hardware counters have not been in the default configuration since tools 2.4.6.
        return {g: _DEFAULT_PERIOD for g in Group if g is not Group.HW_COUNTERS}
    document = json.loads(Path(path).read_text())
    root = document.get("period")
    found: dict[Group, int] = {}
    entries = [(runtime, root) for runtime in document.get("neuron_runtimes") or ()]
    lists: list[tuple[Any, Any]] = [
        (entry.get("metrics") or (), entry.get("period", outer)) for entry, outer in entries
    ]
    lists.append((document.get("system_metrics") or (), root))
    for metrics, outer in lists:
        for metric in metrics:
            period = _seconds(metric.get("period", outer))
            if period:
                found[Group(metric["type"])] = period
    return found


def _seconds(text: str | None) -> int:
    """A period as neuron-monitor reads it: whole seconds, or the default for what it does not
    understand, or never (0) for milliseconds."""
    if text is None:
        return _DEFAULT_PERIOD
    if text.endswith("ms"):
        return 0
    number = text.removesuffix("s")
    return int(number) if number.isdigit() and int(number) and text != number else _DEFAULT_PERIOD


def _whole(low: int, high: int) -> Any:
    def parse(text: str) -> int:
        if not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a number from {low} to {high} (got {text})")
        return int(text)

    return parse


def _faults(text: str) -> tuple[Fault, ...]:
    found = []
    for part in text.split(","):
        match = _FAULT.fullmatch(part.strip())
        if not match or match[1] not in FAULTS:
            raise argparse.ArgumentTypeError(
                f"must be of {', '.join(FAULTS)}, as in crash@5,garbage (got {part})"
            )
        found.append(Fault(match[1], int(match[2]) if match[2] else None))
    return tuple(found)
