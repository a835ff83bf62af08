"""The simulator's flags, and neuron-monitor's configuration file as it understands it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from exporter.facts.instance_types import INSTANCE_TYPES
from exporter.model import Group

SCENARIOS = ("idle", "inference", "mixed")
FAULTS = ("crash", "stall", "garbage")
DEFAULT_INSTANCE_TYPE = "trn1.32xlarge"
DEFAULT_RUNTIMES = 4

_DEFAULT_PERIOD = 5
_FASTEST = 1_000_000
_FAULT = re.compile(r"(\w+)(?:@([1-9]\d{0,9}))?", re.ASCII)


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


class _Metric(msgspec.Struct):
    """A group of neuron-monitor's configuration, which may have a period of its own."""

    type: Group
    period: str | None = None


class _Runtimes(msgspec.Struct):
    """The groups of runtimes, of which the simulator filters none."""

    metrics: list[_Metric] | None = None
    period: str | None = None


class _Configuration(msgspec.Struct):
    """neuron-monitor's configuration file."""

    period: str | None = None
    neuron_runtimes: list[_Runtimes] | None = None
    system_metrics: list[_Metric] | None = None

    def metrics(self) -> Iterator[tuple[Group, str | None]]:
        """Every group with its period: the innermost that is given."""
        for entry in self.neuron_runtimes or ():
            for metric in entry.metrics or ():
                yield metric.type, metric.period or entry.period or self.period
        for metric in self.system_metrics or ():
            yield metric.type, metric.period or self.period


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
        help="idle: nothing runs; --runtimes only hold memory. inference: a changing load. mixed: "
        "training beside inference, helpers that come and go, containers that share a tag, "
        "some errors",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another load (default 0)")
    parser.add_argument(
        "--faults",
        type=_faults,
        default=(),
        metavar="LIST",
        help="of crash, stall and garbage, separated by commas; crash@5 is instead of the fifth "
        "report, garbage@5 before it; without a number at some report, and garbage often",
    )
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
    given = parser.parse_args(arguments)
    try:
        periods = _periods(given.config_file)
    except OSError as error:
        parser.error(f"argument -c: {given.config_file!r}: cannot be read: {error.strerror}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        parser.error(
            f"argument -c: {given.config_file!r}: not a configuration of neuron-monitor: {error}"
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
    with open(path, "rb") as file:
        document = msgspec.json.decode(file.read(), type=_Configuration)
    periods = {group: _seconds(period) for group, period in document.metrics()}
    return {group: seconds for group, seconds in periods.items() if seconds}


def _seconds(text: str | None) -> int:
    """A period as neuron-monitor reads it: whole seconds, or the default for what it does not
    understand, or never (0) for milliseconds."""
    if text is None:
        return _DEFAULT_PERIOD
    if text.endswith("ms"):
        return 0
    return int(text[:-1]) if re.fullmatch("0*[1-9][0-9]{0,8}s", text) else _DEFAULT_PERIOD


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


def _faults(text: str) -> tuple[Fault, ...]:
    found = []
    for part in text.split(","):
        match = _FAULT.fullmatch(part.strip())
        if not match or match[1] not in FAULTS:
            raise argparse.ArgumentTypeError(
                f"must be of {', '.join(FAULTS)}, as in crash@5,garbage (got {part!r})"
            )
        found.append(Fault(match[1], int(match[2]) if match[2] else None))
    return tuple(found)
