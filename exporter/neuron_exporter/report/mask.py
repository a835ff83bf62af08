"""Masking of identifying text in reports, so that they can be shared.

An allow-list: what is not known to be harmless is masked.
"""

from __future__ import annotations

import json
import re
import types
from collections import defaultdict
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from neuron_exporter.facts.partitions import REGION_NAME
from neuron_exporter.facts.report_names import KNOWN_NAMES
from neuron_exporter.report.decode import parse_json
from neuron_exporter.report.schema import (
    EMPTY_TYPES,
    IGNORED_FIELDS,
    CoreMemory,
    HostMemory,
    Index,
    Name,
    Quantity,
    Report,
)
from neuron_exporter.text import MASK


class _Bytes(Struct):
    host: Quantity
    neuron_device: Quantity
    usage_breakdown: _Breakdown


class _Breakdown(Struct):
    host: HostMemory
    neuron_device: CoreMemory


class _Subgraph(Struct):
    memory_used_bytes: _Bytes
    neuroncore_index: Index
    neuron_device_index: Index
    v2: str


class _LoadedModel(Struct):
    name: str
    uuid: str
    model_id: Index
    is_running: bool
    memory_used_bytes: _Bytes
    subgraphs: dict[Name, _Subgraph]


_IGNORED = {
    "address": str,
    "ami_id": str,
    "idle": Quantity,
    "instance_availability_zone_id": str,
    "loaded_models": list[_LoadedModel],
}
"""Types of `IGNORED_FIELDS`."""

_KNOWN_NAMES = re.compile(
    r"[0-9]{1,4}|sg_?[0-9]{1,4}|nc_v[0-9][a-z]?\.[0-9]{1,4}|"
    + "|".join(sorted(set().union(*KNOWN_NAMES.values())))
)
"""Keys of maps: cores, devices, CPUs, subgraphs, physical cores, statuses, errors, percentiles."""

INSTANCE_TYPE = re.compile(
    r"[a-z]{1,4}[0-9]{1,2}[a-z]{0,6}(?:-[a-z0-9]{1,8})?"
    r"\.(?:nano|micro|small|medium|large|[0-9]{0,3}xlarge|metal(?:-[0-9]{1,3}xl)?)"
)

_KEPT_TEXTS = {
    "instance_type": INSTANCE_TYPE,
    "instance_availability_zone": re.compile(rf"{REGION_NAME.pattern}(?:-[a-z]{{3}}-[0-9])?[a-z]"),
    "instance_availability_zone_id": re.compile(
        r"[a-z]{3,5}[0-9]{1,2}-(?:[a-z]{3}[0-9]-)?az[0-9]{1,2}"
    ),
    "instance_region": REGION_NAME,
    "neuron_device_type": re.compile(r"(?:inferentia|trainium)[0-9]?"),
    "neuron_device_version": re.compile(r"v[0-9][a-z]?"),
    "neuroncore_version": re.compile(r"v[0-9][a-z]?"),
}
"""Texts that describe the type of machine, by key. All other text is masked."""

_FORMATS = {
    "instance_id": "i-{:017x}",
    "ami_id": "ami-{:017x}",
    "subnet_id": "subnet-{:017x}",
    "uuid": "{:032x}",
    "neuron_runtime_tag": "runtime-{}",
    "error": MASK,
}
"""Replacement by key, in which `{}` is a number. Elsewhere it is the key and a number."""


class Masker:
    """Replacement of names, ids, tags and paths in the reports of one recording.

    Only what the schema knows is kept: its keys, and the numbers and few texts of its types. Equal
    texts get equal replacements, so that a replay has the same number of series.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str | float, int]] = defaultdict(dict)

    def mask_line(self, line: bytes) -> bytes:
        """Return a masked line of JSON, without a newline.

        Raises:
            ValueError: the line is not JSON, or nested too deeply.
        """
        try:
            document = parse_json(line)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        return json.dumps(self._mask(document, Report, ""), separators=(",", ":")).encode()

    def _mask(self, value: Any, target: Any, key: str) -> Any:
        """Mask a value that should have the type `target`."""
        kind, target = _kind(target)
        match value:
            case dict() if kind is Struct:
                fields = _types(target)
                return dict(self._mask_entry(fields.get(n), n, value[n]) for n in value)
            case dict() if kind is dict:
                return dict(self._mask_item(get_args(target)[1], n, value[n], key) for n in value)
            case list() if kind is list:
                return [self._mask(each, get_args(target)[0], key) for each in value]
            case int() | float() if kind is int:
                return self._number(key, value) if key == "pid" else value
            case str() if kind is str and value:
                kept = _KEPT_TEXTS.get(key)
                if kept is not None and kept.fullmatch(value):
                    return value
                return self.mask_text(key, value)
        return MASK if value else value

    def mask_text(self, key: str, value: str) -> str:
        """Return the replacement of a text with this key."""
        return _FORMATS.get(key, f"{key}-{{}}").format(self._number(key, value))

    def _mask_entry(self, target: Any, name: str, value: Any) -> tuple[str, Any]:
        if target is None:  # an unknown field
            return f"key-{self._number('', name)}", MASK
        return name, self._mask(value, target, name)

    def _mask_item(self, target: Any, name: str, value: Any, key: str) -> tuple[str, Any]:
        if _KNOWN_NAMES.fullmatch(name):
            return name, self._mask(value, target, key)
        # A number at an unknown name may be an id.
        masked = None if _kind(target)[0] is int else self._mask(value, target, key)
        return f"key-{self._number('', name)}", masked

    def _number(self, key: str, value: str | float) -> int:
        numbers = self._numbers[key]
        return numbers.setdefault(value, len(numbers) + 1)


def _kind(target: Any) -> tuple[type, Any]:
    """Return which of `Struct`, `dict`, `list`, `str` and `int` a type is, and the type without
    `Annotated` and None. Numbers are `int`."""
    origin = get_origin(target)
    if origin is Annotated:
        return _kind(get_args(target)[0])
    if origin in (Union, types.UnionType):
        return _kind(next(each for each in get_args(target) if each not in EMPTY_TYPES))
    if origin is not None:
        return origin, target
    if issubclass(target, Struct):
        return Struct, target
    return (str if target is str else int), target


@cache
def _types(target: type[Struct]) -> dict[str, Any]:
    """Return the types of all fields of a section."""
    ignored = {name: _IGNORED[name] for name in IGNORED_FIELDS.get(target, ())}
    return ignored | {each.encode_name: each.type for each in msgspec.structs.fields(target)}
