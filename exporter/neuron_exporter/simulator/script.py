"""A scripted run: a YAML list of steps, each with its time and what changes then.

- {at: 0s, scenario: inference}
- {at: 30s, runtimes: 8}
- {at: 2m, fault: [hang, nulls], for: 1m}
- {at: 5m, fault: crash}
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import yaml

from neuron_exporter.simulator.faults import FAULTS, When
from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.units import format_duration, parse_duration

MOST_RUNTIMES = 1024

_LONGEST_SHOWN = 60


class Step(NamedTuple):
    """What changes at a time (s). What is None stays as it is."""

    at: float
    scenario: str | None = None
    runtimes: int | None = None
    faults: tuple[str, ...] = ()
    lasting: float | None = None
    """Seconds after which the faults end; None is once, or until the end of the run."""


class ScriptError(Exception):
    """A script that cannot be played: where, what was given, and what is allowed."""


def load(path: str) -> tuple[Step, ...]:
    """The steps of a script, in their order.

    Raises:
        ScriptError: the file cannot be used.
    """
    try:
        with open(path, "rb") as file:
            document = yaml.compose(file.read(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        line = f"{error.problem_mark.line + 1}: " if error.problem_mark else " "
        raise ScriptError(f"{path}:{line}is not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ScriptError(f"{path}: is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(document, yaml.SequenceNode) or not document.value:
        raise ScriptError(f"{path}: must be a list of steps, such as - {{at: 30s, fault: crash}}")
    steps: list[Step] = []
    for node in document.value:
        try:
            step = _step(node)
            if steps and step.at < steps[-1].at:
                before, got = format_duration(steps[-1].at), format_duration(step.at)
                raise _Wrong(node, f"at: must not be before {before}, as above (got {got!r})")
        except _Wrong as wrong:
            raise ScriptError(f"{path}:{wrong.line}: {wrong}") from None
        steps.append(step)
    return tuple(steps)


class _Wrong(Exception):
    """What is wrong at a node."""

    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1


_KEYS = ("at", "scenario", "runtimes", "fault", "for")


def _step(node: yaml.Node) -> Step:
    if not isinstance(node, yaml.MappingNode):
        raise _Wrong(
            node,
            f"a step must be a mapping, such as {{at: 30s, fault: crash}} (got {_shown(node)})",
        )
    given: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _one_of(key, _KEYS, "a step's key")
        if name in given:
            raise _Wrong(key, f"{name}: must be given once")
        given[name] = value
    if "at" not in given:
        raise _Wrong(node, "at: is missing: every step has its time, such as 30s")
    if not given.keys() & {"scenario", "runtimes", "fault"}:
        raise _Wrong(node, "a step must have a scenario, runtimes or a fault: nothing changes")
    faults = _faults(given["fault"]) if "fault" in given else ()
    if "for" in given:
        _check_lasting(given["for"], faults)
    return Step(
        at=_duration(given["at"], "at"),
        scenario=_one_of(given["scenario"], SCENARIOS, "scenario") if "scenario" in given else None,
        runtimes=_runtimes(given["runtimes"]) if "runtimes" in given else None,
        faults=faults,
        lasting=_duration(given["for"], "for") if "for" in given else None,
    )


def _faults(node: yaml.Node) -> tuple[str, ...]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not nodes:
        raise _Wrong(node, f"fault: must be of {', '.join(FAULTS)} (got [])")
    return tuple(_one_of(each, FAULTS, "fault") for each in nodes)


def _check_lasting(node: yaml.Node, faults: tuple[str, ...]) -> None:
    if not faults:
        raise _Wrong(node, "for: must stand beside a fault, which ends then")
    for name in faults:
        if FAULTS[name].when in (When.ONCE, When.FIRST):
            lasting = [row.name for row in FAULTS.values() if row.when in (When.OFTEN, When.ON)]
            raise _Wrong(node, f"for: {name} happens once; must be with {', '.join(lasting)} only")


def _one_of(node: yaml.Node, allowed: Collection[str], what: str) -> str:
    if isinstance(node, yaml.ScalarNode) and node.value in allowed:
        return str(node.value)
    raise _Wrong(node, f"{what}: must be one of {', '.join(allowed)} (got {_shown(node)})")


def _duration(node: yaml.Node, what: str) -> float:
    if isinstance(node, yaml.ScalarNode):
        try:
            return parse_duration(node.value)
        except (ValueError, OverflowError):
            pass
    raise _Wrong(
        node, f'{what}: must be a duration such as "5s", "1m30s" or "2h" (got {_shown(node)})'
    )


def _runtimes(node: yaml.Node) -> int:
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not 0 <= number <= MOST_RUNTIMES:
        raise _Wrong(
            node, f"runtimes: must be a number from 0 to {MOST_RUNTIMES} (got {_shown(node)})"
        )
    return number


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        text = repr(node.value)
        return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
