"""Decoding of reports, and salvage of damaged ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_exporter.report import ReportError, decode
from tests import captures
from tests.support.reports import cores, executions, group, report, runtime


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recordings_are_valid(path: Path) -> None:
    for line in captures.lines(path):
        assert decode(line).invalid_fields == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not_json"),
        (b"usage: neuron-monitor", "not_json"),
        (b"\xff\xfe\x00", "not_json"),
        (b'{"neuron_runtime_data":[', "not_json"),
        (b"null", "not_a_report"),
        (b"[]", "not_a_report"),
        (b"12", "not_a_report"),
        (b"{}", "not_a_report"),
        (b'{"level":"info","msg":"starting"}', "not_a_report"),
        (b'{"system_data":5}', "not_a_report"),
        (b'{"system_data":' + b"[" * 100_000, "too_deep"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"system_data":{}}', "too_deep"),
    ],
)
def test_invalid_lines(line: bytes, reason: str) -> None:
    """A line that is not a report raises an error with a reason and a message."""
    with pytest.raises(ReportError) as caught:
        decode(line)
    assert caught.value.reason == reason
    assert str(caught.value)


BAD = ["-1", '"50"', "true", "[]", "{}", "NaN", "Infinity", "-Infinity", "1e300", "1e400"]
BAD += ["1" + "0" * 400, "9" * 5000]


@pytest.mark.parametrize("number", BAD, ids=lambda number: number[:12])
def test_invalid_number(number: str) -> None:
    """An invalid utilization is reported and dropped; everything else is kept."""
    document = report(
        runtime(1, "a", neuroncore_counters=cores(_0=50, _1=40), execution_stats=executions(3)),
        system_data={"memory_info": group(memory_total_bytes=9)},
    )
    broken = copy.deepcopy(document)
    used = broken["neuron_runtime_data"][0]["report"]["neuroncore_counters"]["neuroncores_in_use"]
    used["0"]["neuroncore_utilization"] = "HERE"
    decoded = decode(json.dumps(broken).replace('"HERE"', number).encode())
    (field,) = decoded.invalid_fields
    assert field.path.endswith("neuroncores_in_use{}.neuroncore_utilization")
    assert "got" in field.problem
    expected = decode(json.dumps(document).encode()).report
    for one in (decoded.report, expected):
        counters = one.neuron_runtime_data[0].report.neuroncore_counters.neuroncores_in_use  # type: ignore[index, union-attr]
        counters[0].neuroncore_utilization = None  # type: ignore[index, union-attr]
    assert decoded.report == expected


def test_repeated_defect() -> None:
    """A repeated defect is stored once with its count."""
    line = json.dumps({"neuron_runtime_data": [1] * 1000, "system_data": {}}).encode()
    (field,) = decode(line).invalid_fields
    assert (field.path, field.occurrences) == ("neuron_runtime_data[]", 1000)


@pytest.mark.parametrize("value", [b"1", b"{}"], ids=["of another type", "valid"])
def test_too_many_values(value: bytes) -> None:
    """A line with millions of values is rejected, since decoding it could need gigabytes as JSON,
    and hundreds of megabytes by type."""
    line = b'{"system_data":{},"neuron_runtime_data":[' + (value + b",") * 2_000_000 + value + b"]}"
    with pytest.raises(ReportError) as caught:
        decode(line)
    assert caught.value.reason == "too_many_values"


def test_invalid_runtime() -> None:
    """A runtime that is not an object stays in the list as None."""
    assert decode(b'{"neuron_runtime_data":[5,{"pid":7}]}').report.neuron_runtime_data[0] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("error", "expected"),
    [("", ""), ("text", "text"), (None, None), (False, None), (0, None), ({}, None)],
)
def test_empty_error(error: Any, expected: str | None) -> None:
    """An empty value of any type is no error."""
    line = json.dumps({"system_data": {"memory_info": {"error": error}}}).encode()
    assert decode(line).report.system_data.memory_info.error == expected  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [1, True, {"code": 5}, ["x"]])
def test_error_of_another_type(error: Any) -> None:
    """A value of any other type in place of an error text means an error."""
    line = json.dumps({"system_data": {"memory_info": {"error": error}}}).encode()
    assert "unreadable" in decode(line).report.system_data.memory_info.error  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("half", [r"\ud800", r"\udc00", r"\ud800\ud800"])
def test_lone_surrogates(half: str) -> None:
    """Lone surrogates, which UTF-8 cannot encode, are replaced."""
    tag = f'{{"neuron_runtime_tag":"a{half}b","report":{{"execution_stats":'
    stats = f'{{"execution_summary":{{"x{half}":1}}}}}}}}'
    report = decode(f'{{"neuron_runtime_data":[{tag}{stats}]}}'.encode()).report
    (runtime,) = report.neuron_runtime_data or ()
    assert runtime.neuron_runtime_tag.encode() in (b"a?b", b"a??b")
    assert [name.encode()[:2] for name in runtime.report.execution_stats.execution_summary] == [
        b"x?"
    ]


def test_invalid_utf8() -> None:
    """Text in another encoding does not invalidate the report."""
    line = json.dumps(report(runtime(1, "TAG", neuroncore_counters=cores(_0=5)))).encode()
    read = decode(line.replace(b"TAG", b"caf\xe9")).report
    assert read.neuron_runtime_data[0].neuron_runtime_tag == "caf�"  # type: ignore[index, union-attr]


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes(line: bytes) -> None:
    try:
        decode(line)
    except ReportError as error:
        assert error.reason in ("not_json", "not_a_report", "too_deep")  # noqa: PT017
