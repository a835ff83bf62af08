"""One line of the stream to one report.

The fast way decodes the whole line by type. A line that does not fit is read a second time as
plain JSON and gives up only what is wrong in it (`salvage`).
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from neuron_exporter.report.salvage import Fault, Findings, salvage
from neuron_exporter.report.schema import Report

_DECODER = msgspec.json.Decoder(Report)
_LONGEST_INTEGER = 32


MOST_VALUES = 500_000
"""Values of a line: a report of 32 runtimes has 25,000. A line of 16 MiB can have 8 million, for
which plain JSON takes a gigabyte."""

_LONG = 1024 * 1024


class ReportError(Exception):
    """A line that is no report. `reason` is one of not_json, not_a_report, too_deep and
    too_many_values."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Decoded(NamedTuple):
    """A report, and what of its line could not be read."""

    report: Report
    faults: tuple[Fault, ...]


def decode(line: bytes | bytearray | memoryview) -> Decoded:
    """The report in a line, with every reading that fits its type.

    Raises:
        ReportError: the line holds no report at all.
    """
    faults: tuple[Fault, ...] = ()
    if len(line) > _LONG and bytes(line).count(b",") > MOST_VALUES:
        raise ReportError("too_many_values", f"more than {MOST_VALUES} values")
    try:
        report = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        report, faults = _decode_leniently(bytes(line))
    if (
        not isinstance(report.neuron_runtime_data, list)
        and report.system_data is None
        and (report.instance_info or report.instance_data) is None
        and report.neuron_hardware_info is None
    ):
        raise ReportError("not_a_report", "no section of a neuron-monitor report in it")
    return Decoded(report, faults)


def unknown_fields(line: bytes | bytearray | memoryview) -> list[str]:
    """The paths of the fields in a report that nobody here knows, each once, in order.

    It is slow: the whole line is read as plain JSON.

    Raises:
        ReportError: the line holds no report at all.
    """
    findings = Findings()
    salvage(_document(bytes(line)), Report, findings)
    return sorted(findings.unknown)


def _decode_leniently(line: bytes) -> Decoded:
    findings = Findings()
    return Decoded(salvage(_document(line), Report, findings), findings.faults)


def _document(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line.decode("utf-8", "replace"), parse_int=_integer)
    except RecursionError:
        raise ReportError("too_deep", "JSON nested too deeply") from None
    except ValueError as error:
        raise ReportError("not_json", f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ReportError("not_a_report", f"a JSON {type(document).__name__}, not an object")
    return document


def _integer(digits: str) -> float:
    """An integer, or the float nearest to one so long that Python would refuse to read it."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)
