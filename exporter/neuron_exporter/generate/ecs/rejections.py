"""Find what ECS would reject in a definition that the exporter was added to.

The sources are the texts of RegisterTaskDefinition in botocore 1.44.8, ECS' quota of containers,
and errors of ECS that users report: "The sum of all container 'cpu' values cannot be greater than
the value of the task 'cpu'", "TCP host port '3000' is mapped multiple times in task".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from neuron_exporter.generate.ecs.containers import Node
from neuron_exporter.generate.ecs.definition_values import get, items, wrong
from neuron_exporter.text import shown_value


class _Size(NamedTuple):
    keys: tuple[str, ...]
    """What a container reserves: the first of these keys that it has."""
    units: str
    large_unit: str
    """Unit of 1,024 of these units, in which a task can be written."""


_SIZES: Mapping[str, _Size] = {
    "cpu": _Size(("cpu",), "CPU units", "vCPU"),
    "memory": _Size(("memoryReservation", "memory"), "MiB", "GB"),
}

_MAX_ENTRIES: Mapping[str, int] = {"containerDefinitions": 10, "placementConstraints": 10}

_SHARING_MODES = ("host", "awsvpc")
"""Network modes in which the containers of a task have the same ports."""


def rejections(definition: Node, others: Mapping[str, Node], exporter: Node) -> Iterator[str]:
    """Yield a line about each thing that ECS would reject.

    They are no errors, and the values stay: only the user knows whether a larger task still fits
    on the machine, or whether another container can do with less.

    Args:
        definition: with the exporter.
        others: the other containers, by their places in the user's file.

    Raises:
        ConfigError: a value of the definition has another type than ECS accepts.
    """
    for key, size in _SIZES.items():
        yield from _about_size(definition.get(key), key, size, others, exporter)
    for key, limit in _MAX_ENTRIES.items():
        count = len(get(definition, key, list) or [])
        if count > limit:
            yield f"{key}: must have at most {limit} entries with the exporter's (got {count})"
    (mapping,) = exporter["portMappings"]
    mode = get(definition, "networkMode", str)
    yield from _about_port(mapping["containerPort"], mode, others)


def _about_size(
    value: Any, key: str, size: _Size, others: Mapping[str, Node], exporter: Node
) -> Iterator[str]:
    of_others = sum(_reserved(each, size, place) for place, each in others.items())
    own = _reserved(exporter, size)
    if value is not None and of_others + own > _amount(value, key, size):
        yield (
            f"{key}: must be at least {of_others + own} ({size.units}), since the exporter "
            f"reserves {own} and the other containers {of_others} (got {shown_value(value)})"
        )


def _reserved(container: Node, size: _Size, place: str = "") -> int:
    amounts = [get(container, key, int, place) for key in size.keys]
    return next((amount for amount in amounts if amount), 0)


def _amount(value: Any, key: str, size: _Size) -> float:
    """Return the size of a task, which is a number or a text such as "1024" or ".5 vCPU"."""
    if type(value) is int:
        return value
    pattern = rf"\s*(\d{{0,9}}\.?\d{{1,9}})\s*({size.large_unit})?\s*"
    text = value if isinstance(value, str) else ""
    match = re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE)
    if match is None:
        raise wrong(key, f'must be a text such as "1024" or "1 {size.large_unit}"', value)
    return float(match[1]) * (1024 if match[2] else 1)


def _about_port(own: int, mode: str | None, others: Mapping[str, Node]) -> Iterator[str]:
    for place, each in others.items():
        for mapping_place, mapping in items(each, "portMappings", place):
            ports = [get(mapping, key, int, mapping_place) for key in ("containerPort", "hostPort")]
            is_udp = get(mapping, "protocol", str, mapping_place) == "udp"
            if own in ports and mode in _SHARING_MODES and not is_udp:
                yield (
                    f"{mapping_place}: must not have the exporter's port, since the containers "
                    f"share their ports with networkMode {mode} (got {own})"
                )
