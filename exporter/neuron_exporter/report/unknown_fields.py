"""Search for fields that are not in the schema, which a new SDK adds.

A strict decoder, which accepts only known fields, answers for almost every report. One that it
rejects is read as plain JSON, which takes forty times as long.
"""

from __future__ import annotations

import re
from collections.abc import Set
from functools import lru_cache
from types import GenericAlias, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from neuron_exporter.report.decode import DECODE_ERRORS, parse_object
from neuron_exporter.report.salvage import Findings, salvage
from neuron_exporter.report.schema import IGNORED_FIELDS, Report

_ENCODABLE = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*')
"""Names that msgspec accepts for a field. A report with another unknown name is always walked."""


def unknown_fields(
    line: bytes | bytearray | memoryview, known: Set[str] = frozenset()
) -> list[str]:
    """Return the sorted paths of the fields that are in the line and neither in the schema nor in
    `known`. This is fast if there are none.

    Raises:
        ReportError: the line is not a report.
    """
    try:
        _strict_decoder(frozenset(known)).decode(line)
    except DECODE_ERRORS:
        findings = Findings()
        salvage(parse_object(bytes(line)), Report, findings)
        return sorted(findings.unknown - known)
    return []


@lru_cache(maxsize=1)
def _strict_decoder(known: frozenset[str]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_strict(Report, "", known))


def _strict(target: Any, path: str, known: frozenset[str]) -> Any:
    """Return a type like `target`, at this path of a report, that admits no other unknown fields
    than the known ones."""
    args, origin = get_args(target), get_origin(target)
    if origin in (Union, UnionType):
        return Union[tuple(_strict(each, path, known) for each in args)]  # noqa: UP007 # at runtime
    if origin is dict:
        return GenericAlias(dict, (args[0], _strict(args[1], f"{path}{{}}", known)))
    if origin is list:
        return GenericAlias(list, (_strict(args[0], f"{path}[]", known),))
    if not (isinstance(target, type) and issubclass(target, msgspec.Struct)):
        return target
    below = f"{path}." if path else ""
    types = {
        each.encode_name: _strict(each.type, below + each.encode_name, known)
        for each in msgspec.structs.fields(target)
    }
    skipped = {
        name
        for each in known
        if each.startswith(below) and _ENCODABLE.fullmatch(name := each.removeprefix(below))
    }
    skipped |= IGNORED_FIELDS.get(target, frozenset())
    types |= dict.fromkeys(skipped - types.keys(), msgspec.Raw)
    attributes = {f"_{number}": name for number, name in enumerate(types)}
    return msgspec.defstruct(
        target.__name__,
        [(each, types[name], None) for each, name in attributes.items()],
        rename=attributes,
        forbid_unknown_fields=True,
        gc=False,
    )
