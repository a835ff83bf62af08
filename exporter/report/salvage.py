"""Keeps every reading of a damaged report that fits its type, and names every other."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

T = TypeVar("T", bound=Struct)

_LONGEST_SHOWN = 60


class Fault(NamedTuple):
    """A reading that could not be used.

    `path` has no indices and no map keys, so that one defect is one path however many cores,
    runtimes or devices show it.
    """

    path: str
    problem: str


_Keep = Callable[[Any, str, list[Fault]], Any]
_LOST = object()
_NOTHINGS = (type(None), msgspec.UnsetType)


def salvage(document: dict[str, Any], wanted: type[T], faults: list[Fault]) -> T:
    """A `wanted` of all that fits in `document`; what does not fit is appended to `faults`."""
    kept: T = _keeper(wanted)(document, "", faults)
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
    def run(value: Any, path: str, faults: list[Fault]) -> Any:
        return None if value is None else keep(value, path, faults)

    return run


def _scalar(wanted: Any) -> _Keep:
    def run(value: Any, path: str, faults: list[Fault]) -> Any:
        try:
            return _text(msgspec.convert(value, wanted))
        except msgspec.ValidationError as error:
            faults.append(Fault(path, f"{error} (got {_shown(value)})"))
            return _LOST

    return run


def _mapping(key_type: Any, keep: _Keep) -> _Keep:
    def run(value: Any, path: str, faults: list[Fault]) -> Any:
        if not isinstance(value, dict):
            faults.append(Fault(path, f"Expected `object` (got {_shown(value)})"))
            return _LOST
        kept = {}
        for key, item in value.items():
            try:
                good_key = _text(msgspec.convert(key, key_type, strict=False))
            except msgspec.ValidationError as error:
                faults.append(Fault(f"{path}{{}}", f"{error} in key {_shown(key)}"))
                continue
            good = keep(item, f"{path}{{}}", faults)
            if good is not _LOST:
                kept[good_key] = good
        return kept

    return run


def _sequence(keep: _Keep) -> _Keep:
    def run(value: Any, path: str, faults: list[Fault]) -> Any:
        if not isinstance(value, list):
            faults.append(Fault(path, f"Expected `array` (got {_shown(value)})"))
            return _LOST
        # A lost entry stays as null: that a runtime was there and could not be read is a fact.
        return [
            None if good is _LOST else good
            for good in (keep(item, f"{path}[]", faults) for item in value)
        ]

    return run


def _struct(wanted: type[Struct]) -> _Keep:
    fields = {
        field.encode_name: (field.name, _keeper(field.type))
        for field in msgspec.structs.fields(wanted)
    }

    def run(value: Any, path: str, faults: list[Fault]) -> Any:
        if not isinstance(value, dict):
            faults.append(Fault(path, f"Expected `object` (got {_shown(value)})"))
            return _LOST
        kept = {}
        for name, (attribute, keep) in fields.items():
            if name in value:
                good = keep(value[name], f"{path}.{name}" if path else name, faults)
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
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
