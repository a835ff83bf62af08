"""Salvage of damaged reports: fields that match their type are kept, others are recorded.

The same walk finds fields that are not in the schema, as those of a newer SDK.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from neuron_exporter.report.schema import EMPTY_TYPES, IGNORED_FIELDS, UNREADABLE, Index
from neuron_exporter.text import truncated_repr

T = TypeVar("T", bound=Struct)

MAX_UNKNOWN_FIELDS = 1000
"""Maximum number of unknown fields kept of one report."""

_MAX_SHOWN = 60


class InvalidField(NamedTuple):
    """A field whose value does not match its type.

    `path` is without indices and map keys, so that one defect is one path for all cores, runtimes
    and devices. `problem` describes the first of its occurrences.
    """

    path: str
    problem: str
    occurrences: int


@dataclass(slots=True)
class Findings:
    """Invalid fields and paths of unknown fields, each path once however long the line is."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def add_invalid(self, path: str, expectation: str, value: Any) -> None:
        """Record a field with an invalid value."""
        if not self.counts[path]:
            self.problems[path] = f"{expectation} (got {truncated_repr(value, _MAX_SHOWN)})"
        self.counts[path] += 1

    @property
    def invalid_fields(self) -> tuple[InvalidField, ...]:
        """Invalid fields in the order in which they were found."""
        return tuple(InvalidField(path, self.problems[path], n) for path, n in self.counts.items())


_Converter = Callable[[Any, str, Findings], Any]
_INVALID = object()


def salvage(document: dict[str, Any], target: type[T], findings: Findings) -> T:
    """Return a `target` with all valid fields of the document, and record the others."""
    result: T = _converter(target)(document, "", findings)
    return result


@cache
def _converter(target: Any) -> _Converter:
    """Return a function that converts a value to `target`, or returns `_INVALID`."""
    origin = get_origin(target)
    if origin in (Union, types.UnionType):
        options = [option for option in get_args(target) if option not in EMPTY_TYPES]
        return _optional(_converter(options[0])) if len(options) == 1 else _scalar(target)
    if origin is dict:
        key, value = get_args(target)
        return _mapping(key, _converter(value))
    if origin is list:
        return _sequence(_converter(get_args(target)[0]))
    if origin is not Annotated and isinstance(target, type) and issubclass(target, Struct):
        return _struct(target)
    return _scalar(target)


def _optional(convert: _Converter) -> _Converter:
    def run(value: Any, path: str, findings: Findings) -> Any:
        return None if value is None else convert(value, path, findings)

    return run


def _scalar(target: Any) -> _Converter:
    def run(value: Any, path: str, findings: Findings) -> Any:
        try:
            return msgspec.convert(_without_surrogates(value), target)
        except msgspec.ValidationError as error:
            findings.add_invalid(path, str(error), value)
            return _INVALID

    return run


def _mapping(key_type: Any, convert: _Converter) -> _Converter:
    def run(value: Any, path: str, findings: Findings) -> Any:
        if not isinstance(value, dict):
            findings.add_invalid(path, "Expected `object`", value)
            return _INVALID
        valid: dict[Any, Any] = {}
        below = f"{path}{{}}"
        for key, item in value.items():
            try:
                valid_key = msgspec.convert(_without_surrogates(key), key_type, strict=False)
            except msgspec.ValidationError as error:
                findings.add_invalid(below, f"{error} in a key", key)
                if key_type is Index:
                    valid[UNREADABLE] = None
                continue
            converted = convert(item, below, findings)
            # None records that the entry exists and could not be read.
            valid[valid_key] = None if converted is _INVALID else converted
        return valid

    return run


def _sequence(convert: _Converter) -> _Converter:
    def run(value: Any, path: str, findings: Findings) -> Any:
        if not isinstance(value, list):
            findings.add_invalid(path, "Expected `array`", value)
            return _INVALID
        # None records that the entry, such as a runtime, exists and could not be read.
        return [
            None if converted is _INVALID else converted
            for converted in (convert(item, f"{path}[]", findings) for item in value)
        ]

    return run


def _struct(target: type[Struct]) -> _Converter:
    fields = {
        each.encode_name: (each.name, _converter(each.type))
        for each in msgspec.structs.fields(target)
    }
    known = fields.keys() | IGNORED_FIELDS.get(target, frozenset())

    def run(value: Any, path: str, findings: Findings) -> Any:
        if not isinstance(value, dict):
            findings.add_invalid(path, "Expected `object`", value)
            return _INVALID
        valid = {}
        below = f"{path}." if path else ""
        if not known >= value.keys():
            for name in value.keys() - known:
                if len(findings.unknown) < MAX_UNKNOWN_FIELDS:
                    findings.unknown.add(below + name[:_MAX_SHOWN])
        for name, (attribute, convert) in fields.items():
            if name in value:
                converted = convert(value[name], below + name, findings)
                if converted is not _INVALID:
                    valid[attribute] = converted
                elif name == "error" and value[name]:
                    # A value of the wrong type in place of an error text still means an error.
                    shown = truncated_repr(value[name], _MAX_SHOWN)
                    valid[attribute] = f"unreadable error: {shown}"
        return target(**valid)

    return run


def _without_surrogates(value: Any) -> Any:
    """Replace lone surrogates, which JSON can escape and UTF-8 cannot encode."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
