"""Keeps every reading of a damaged report that fits its type, and names every other.

The same walk finds what a report has and the types do not: news of another generation.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from reprlib import Repr
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from neuron_exporter.report.schema import SKIPPED, UNREADABLE, Index

T = TypeVar("T", bound=Struct)

_LONGEST_SHOWN = 60
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _LONGEST_SHOWN

MOST_UNKNOWN = 1000
"""Unknown fields of one report."""


class Fault(NamedTuple):
    """A reading that could not be used.

    `path` has no indices and no map keys, so that one defect is one path however many cores,
    runtimes or devices show it; `times` says how often, `problem` is that of the first.
    """

    path: str
    problem: str
    times: int


@dataclass(slots=True)
class Findings:
    """What was found on the way: readings that cannot be used, and paths of unknown fields.

    However long a line is, each path is kept once.
    """

    counts: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def add(self, path: str, wanted: str, value: Any) -> None:
        """Note a reading that cannot be used."""
        if not self.counts[path]:
            self.problems[path] = f"{wanted} (got {_shown(value)})"
        self.counts[path] += 1

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The defects, in the order in which they were found."""
        return tuple(Fault(path, self.problems[path], n) for path, n in self.counts.items())


_Keep = Callable[[Any, str, Findings], Any]
_LOST = object()
_NOTHINGS = (type(None), msgspec.UnsetType)


def salvage(document: dict[str, Any], wanted: type[T], findings: Findings) -> T:
    """A `wanted` of all that fits in `document`; what does not fit, or is unknown, is noted."""
    kept: T = _keeper(wanted)(document, "", findings)
    return kept


@cache
def _keeper(wanted: Any) -> _Keep:
    """The function that keeps what fits `wanted`, or gives `_LOST`."""
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        some = [option for option in get_args(wanted) if option not in _NOTHINGS]
        return _optional(_keeper(some[0])) if len(some) == 1 else _scalar(wanted)
    if origin is dict:
        key, value = get_args(wanted)
        return _mapping(key, _keeper(value))
    if origin is list:
        return _sequence(_keeper(get_args(wanted)[0]))
    if origin is not Annotated and isinstance(wanted, type) and issubclass(wanted, Struct):
        return _struct(wanted)
    return _scalar(wanted)


def _optional(keep: _Keep) -> _Keep:
    def run(value: Any, path: str, findings: Findings) -> Any:
        return None if value is None else keep(value, path, findings)

    return run


def _scalar(wanted: Any) -> _Keep:
    def run(value: Any, path: str, findings: Findings) -> Any:
        try:
            return msgspec.convert(_text(value), wanted)
        except msgspec.ValidationError as error:
            findings.add(path, str(error), value)
            return _LOST

    return run


def _mapping(key_type: Any, keep: _Keep) -> _Keep:
    def run(value: Any, path: str, findings: Findings) -> Any:
        if not isinstance(value, dict):
            findings.add(path, "Expected `object`", value)
            return _LOST
        kept: dict[Any, Any] = {}
        below = f"{path}{{}}"
        for key, item in value.items():
            try:
                good_key = msgspec.convert(_text(key), key_type, strict=False)
            except msgspec.ValidationError as error:
                findings.add(below, f"{error} in a key", key)
                if key_type is Index:
                    kept[UNREADABLE] = None
                continue
            good = keep(item, below, findings)
            # As in a list: that it was there and could not be read is a fact.
            kept[good_key] = None if good is _LOST else good
        return kept

    return run


def _sequence(keep: _Keep) -> _Keep:
    def run(value: Any, path: str, findings: Findings) -> Any:
        if not isinstance(value, list):
            findings.add(path, "Expected `array`", value)
            return _LOST
        # A lost entry stays as null: that a runtime was there and could not be read is a fact.
        return [
            None if good is _LOST else good
            for good in (keep(item, f"{path}[]", findings) for item in value)
        ]

    return run


def _struct(wanted: type[Struct]) -> _Keep:
    fields = {
        each.encode_name: (each.name, _keeper(each.type)) for each in msgspec.structs.fields(wanted)
    }
    known = fields.keys() | SKIPPED.get(wanted, frozenset())

    def run(value: Any, path: str, findings: Findings) -> Any:
        if not isinstance(value, dict):
            findings.add(path, "Expected `object`", value)
            return _LOST
        kept = {}
        below = f"{path}." if path else ""
        if not known >= value.keys():
            for name in value.keys() - known:
                if len(findings.unknown) < MOST_UNKNOWN:
                    findings.unknown.add(below + name[:_LONGEST_SHOWN])
        for name, (attribute, keep) in fields.items():
            if name in value:
                good = keep(value[name], below + name, findings)
                if good is not _LOST:
                    kept[attribute] = good
                elif name == "error" and value[name]:
                    # Whatever it is that stands where an error text belongs, it is not "no error".
                    kept[attribute] = f"unreadable error: {_shown(value[name])}"
        return wanted(**kept)

    return run


def _text(value: Any) -> Any:
    """Text that can be written: JSON can escape half a surrogate pair, which UTF-8 has not."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _shown(value: Any) -> str:
    text = _SHORT.repr(value)  # a value may be as deep or as long as its line
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
