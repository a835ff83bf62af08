"""Decoding of one line of the stream into one report.

The fast path decodes the whole line by type. A line with a mismatch is read again as plain JSON,
and loses only its invalid fields (`salvage`).
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from neuron_exporter.report.salvage import Findings, InvalidField, salvage
from neuron_exporter.report.schema import Report

_DECODER = msgspec.json.Decoder(Report)
_MAX_INTEGER_DIGITS = 32

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Errors of a decoder for a line that does not match its type."""

MAX_VALUES = 500_000
"""Maximum number of values in a line. A report of 32 runtimes has 25,000; a line of 16 MiB can have
8 million, for which plain JSON would need 1 GB of memory."""

_MIN_COUNTED_LINE = 1024 * 1024
"""Shorter lines cannot contain many more values, and are not counted."""


class ReportError(Exception):
    """A line is not a report.

    `reason` is not_json, not_a_report, too_deep or too_many_values.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Decoded(NamedTuple):
    """A report and the invalid fields of its line."""

    report: Report
    invalid_fields: tuple[InvalidField, ...]


def decode(line: bytes | bytearray | memoryview) -> Decoded:
    """Return the report in a line, with every field that matches its type.

    Raises:
        ReportError: the line is not a report.
    """
    invalid_fields: tuple[InvalidField, ...] = ()
    if len(line) > _MIN_COUNTED_LINE and bytes(line).count(b",") > MAX_VALUES:
        raise ReportError("too_many_values", f"more than {MAX_VALUES} values")
    try:
        report = _DECODER.decode(line)
    except DECODE_ERRORS:
        report, invalid_fields = _decode_leniently(bytes(line))
    if (
        not isinstance(report.neuron_runtime_data, list)
        and report.system_data is None
        and (report.instance_info or report.instance_data) is None
        and report.neuron_hardware_info is None
    ):
        raise ReportError("not_a_report", "JSON without any section of a neuron-monitor report")
    return Decoded(report, invalid_fields)


def _decode_leniently(line: bytes) -> Decoded:
    findings = Findings()
    return Decoded(salvage(parse_object(line), Report, findings), findings.invalid_fields)


def parse_json(line: bytes) -> Any:
    """Return the JSON of a line, also if a text is not UTF-8 or an integer has thousands of digits.

    Raises:
        ValueError: the line is not JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(line.decode("utf-8", "replace"), parse_int=_integer)


def parse_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        ReportError: the line is not a JSON object.
    """
    try:
        document = parse_json(line)
    except RecursionError:
        raise ReportError("too_deep", "JSON nested too deeply") from None
    except ValueError as error:
        raise ReportError("not_json", f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ReportError("not_a_report", f"a JSON {type(document).__name__}, not an object")
    return document


def _integer(digits: str) -> float:
    """Return an integer, or a float for digits beyond the limit of Python's `int`."""
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)
