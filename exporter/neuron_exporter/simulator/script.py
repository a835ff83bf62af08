"""Scripts: a YAML list of steps, each with a time and the changes at that time.

- {at: 0s, scenario: inference}
- {at: 30s, runtimes: 8}
- {at: 2m, fault: [hang, nulls], for: 1m}
- {at: 5m, fault: crash}
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

import yaml

from neuron_exporter.simulator.faults import FAULTS, Timing
from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.text import format_duration, parse_duration, parse_whole, truncated_repr

MAX_RUNTIMES = 1024

_MAX_SHOWN = 60


class Step(NamedTuple):
    """Changes at a time in seconds. None leaves a setting unchanged."""

    at: float
    scenario: str | None = None
    runtimes: int | None = None
    faults: tuple[str, ...] = ()
    duration: float | None = None
    """Seconds after which the faults end; None means once, or until the end of the run."""


class ScriptError(Exception):
    """The script cannot be read or is not valid."""


def load(path: str) -> tuple[Step, ...]:
    """Return the steps of a script.

    Raises:
        ScriptError: the file cannot be read or is not valid.
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
                last, got = format_duration(steps[-1].at), format_duration(step.at)
                message = f"at: must not be before {last}, the step above (got {got!r})"
                raise _InvalidNode(node, message)
        except _InvalidNode as error:
            raise ScriptError(f"{path}:{error.line}: {error}") from None
        steps.append(step)
    return tuple(steps)


class _InvalidNode(Exception):
    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1


_KEYS = ("at", "scenario", "runtimes", "fault", "for")


def _step(node: yaml.Node) -> Step:
    if not isinstance(node, yaml.MappingNode):
        must = "a step must be a mapping, such as {at: 30s, fault: crash}"
        raise _InvalidNode(node, f"{must} (got {_describe(node)})")
    entries: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _one_of(key, _KEYS, "a step's key")
        if name in entries:
            raise _InvalidNode(key, f"{name}: must occur only once")
        entries[name] = value
    if "at" not in entries:
        raise _InvalidNode(node, "at: is missing; every step must have a time, such as 30s")
    if not entries.keys() & {"scenario", "runtimes", "fault"}:
        raise _InvalidNode(node, "a step must have a scenario, runtimes or a fault")
    fault, duration = entries.get("fault"), entries.get("for")
    scenario, runtimes = entries.get("scenario"), entries.get("runtimes")
    faults = _faults(fault) if fault else ()
    if duration:
        _check_duration(duration, faults)
    return Step(
        at=_duration(entries["at"], "at"),
        scenario=_one_of(scenario, SCENARIOS, "scenario") if scenario else None,
        runtimes=_runtimes(runtimes) if runtimes else None,
        faults=faults,
        duration=_duration(duration, "for") if duration else None,
    )


def _faults(node: yaml.Node) -> tuple[str, ...]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not nodes:
        raise _InvalidNode(node, f"fault: must be one of {', '.join(FAULTS)} (got [])")
    return tuple(_one_of(each, FAULTS, "fault") for each in nodes)


def _check_duration(node: yaml.Node, faults: tuple[str, ...]) -> None:
    if not faults:
        raise _InvalidNode(node, "for: must be used with a fault")
    allowed = [n for n, row in FAULTS.items() if row.timing in (Timing.REPEATED, Timing.LASTING)]
    for name in faults:
        if name not in allowed:
            must = f"must be used with {', '.join(allowed)}"
            raise _InvalidNode(node, f"for: {must} (got {name!r}, which occurs once)")


def _one_of(node: yaml.Node, allowed: Collection[str], key: str) -> str:
    if isinstance(node, yaml.ScalarNode) and node.value in allowed:
        return str(node.value)
    raise _InvalidNode(node, f"{key}: must be one of {', '.join(allowed)} (got {_describe(node)})")


def _duration(node: yaml.Node, key: str) -> float:
    with suppress(ValueError, OverflowError):
        if isinstance(node, yaml.ScalarNode):
            return parse_duration(node.value)
    raise _InvalidNode(
        node, f'{key}: must be a duration such as "5s", "1m30s" or "2h" (got {_describe(node)})'
    )


def _runtimes(node: yaml.Node) -> int:
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    try:
        return parse_whole(text, 0, MAX_RUNTIMES)
    except ValueError as error:
        raise _InvalidNode(node, f"runtimes: {error} (got {_describe(node)})") from None


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return truncated_repr(node.value, _MAX_SHOWN)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
