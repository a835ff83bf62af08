"""Read values of a user's task definition, whose types nothing has checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from neuron_exporter.config import ConfigError
from neuron_exporter.generate.ecs.containers import Node
from neuron_exporter.text import shown_value

_KINDS: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "a boolean",
    int: "a whole number",
}

_Value = TypeVar("_Value")


def get(node: Node, key: str, kind: type[_Value], place: str = "") -> _Value | None:
    """Return the value of a key; None without one, and for null.

    Raises:
        ConfigError: the value is of another kind.
    """
    value = node.get(key)
    return None if value is None else _checked(value, kind, _below(place, key))


def items(node: Node, key: str, place: str = "") -> Iterator[tuple[str, Node]]:
    """Yield the objects in a list, each after its place.

    Raises:
        ConfigError: the value is not a list of objects.
    """
    for index, each in enumerate(get(node, key, list, place) or []):
        path = f"{_below(place, key)}.{index}"
        yield path, _checked(each, dict, path)


def wrong(place: str, message: str, value: object) -> ConfigError:
    """Return the error for a value."""
    return ConfigError([f"--into: {place}: {message} (got {shown_value(value)})"])


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _checked(value: Any, kind: type[_Value], place: str) -> _Value:
    if type(value) is not kind:  # isinstance would take True for a number
        raise wrong(place, f"must be {_KINDS[kind]}", value)
    return value
