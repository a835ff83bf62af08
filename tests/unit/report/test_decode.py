"""One bad reading costs only itself; one bad line never costs the next."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuron_exporter.report import ReportError, decode
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from tests import captures
from tests.support.reports import Bench, cores, ecc, executions, group, memory, report, runtime


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_reports_decode_without_faults(path: Path) -> None:
    """Whatever real machines have written is read whole."""
    for line in captures.lines(path):
        assert decode(line).faults == ()


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
def test_lines_that_are_no_reports_have_a_reason(line: bytes, reason: str) -> None:
    """What is not a report is refused with one word to count by and one sentence to read."""
    with pytest.raises(ReportError) as caught:
        decode(line)
    assert caught.value.reason == reason
    assert str(caught.value)


BAD = ["-1", '"50"', "true", "[]", "{}", "NaN", "Infinity", "-Infinity", "1e300", "1e400"]
BAD += ["1" + "0" * 400, "9" * 5000]


@pytest.mark.parametrize("written", BAD, ids=lambda written: written[:12])
def test_a_bad_number_costs_only_itself(written: str) -> None:
    """A utilization that is no number is named and left out; everything else is kept."""
    document = report(
        runtime(1, "a", neuroncore_counters=cores(_0=50, _1=40), execution_stats=executions(3)),
        system_data={"memory_info": group(memory_total_bytes=9)},
    )
    broken = copy.deepcopy(document)
    used = broken["neuron_runtime_data"][0]["report"]["neuroncore_counters"]["neuroncores_in_use"]
    used["0"]["neuroncore_utilization"] = "HERE"
    decoded = decode(json.dumps(broken).replace('"HERE"', written).encode())
    (fault,) = decoded.faults
    assert fault.path.endswith("neuroncores_in_use{}.neuroncore_utilization")
    assert "got" in fault.problem
    kept = decode(json.dumps(document).encode()).report
    for one in (decoded.report, kept):
        counters = one.neuron_runtime_data[0].report.neuroncore_counters.neuroncores_in_use  # type: ignore[index, union-attr]
        counters[0].neuroncore_utilization = None  # type: ignore[index, union-attr]
    assert decoded.report == kept


def test_a_defect_is_kept_once_however_often_it_shows() -> None:
    """A line full of the same defect takes the memory of one, and is counted in full."""
    line = json.dumps({"neuron_runtime_data": [1] * 1000, "system_data": {}}).encode()
    (fault,) = decode(line).faults
    assert (fault.path, fault.times) == ("neuron_runtime_data[]", 1000)


def test_a_line_of_millions_of_values_is_refused() -> None:
    """No report has so many, and to read them one by one would take gigabytes."""
    line = b'{"system_data":{},"neuron_runtime_data":[' + b"1," * 2_000_000 + b"1]}"
    with pytest.raises(ReportError) as caught:
        decode(line)
    assert caught.value.reason == "too_many_values"


def test_a_lost_runtime_is_remembered_as_unreadable() -> None:
    """A runtime that is no object stays in the list as one that could not be read."""
    assert decode(b'{"neuron_runtime_data":[5,{"pid":7}]}').report.neuron_runtime_data[0] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [("", ""), ("text", "text"), (None, None), (False, None), (0, None), ({}, None)],
)
def test_an_error_may_have_other_types(error: Any, wanted: str | None) -> None:
    """Nothing where an error text belongs is no error."""
    line = json.dumps({"system_data": {"memory_info": {"error": error}}}).encode()
    assert decode(line).report.system_data.memory_info.error == wanted  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [1, True, {"code": 5}, ["x"]])
def test_an_unreadable_error_is_still_an_error(error: Any) -> None:
    """Something where an error text belongs makes the group unusable, whatever its type."""
    line = json.dumps({"system_data": {"memory_info": {"error": error}}}).encode()
    assert "unreadable" in decode(line).report.system_data.memory_info.error  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("half", [r"\ud800", r"\udc00", r"\ud800\ud800"])
def test_text_that_nobody_can_write_is_replaced(half: str) -> None:
    """Half a surrogate pair, which JSON can escape, does not reach labels or the log."""
    tag = f'{{"neuron_runtime_tag":"a{half}b","report":{{"execution_stats":'
    stats = f'{{"execution_summary":{{"x{half}":1}}}}}}}}'
    report = decode(f'{{"neuron_runtime_data":[{tag}{stats}]}}'.encode()).report
    (runtime,) = report.neuron_runtime_data or ()
    assert runtime.neuron_runtime_tag.encode() in (b"a?b", b"a??b")
    assert [name.encode()[:2] for name in runtime.report.execution_stats.execution_summary] == [
        b"x?"
    ]


def test_a_broken_encoding_costs_one_text() -> None:
    """A tag in another encoding does not cost the report."""
    line = json.dumps(report(runtime(1, "TAG", neuroncore_counters=cores(_0=5)))).encode()
    read = decode(line.replace(b"TAG", b"caf\xe9")).report
    assert read.neuron_runtime_data[0].neuron_runtime_tag == "caf�"  # type: ignore[index, union-attr]


def whole() -> dict[str, Any]:
    """A report with every group in it."""
    return report(
        runtime(
            1,
            "a",
            neuroncore_counters=cores(_0=50, _1=0),
            execution_stats=executions(3, {"p50": 0.1, "p99": 0.2}, {"p50": 0.1}),
            memory_used=memory({"0": {"tensors": 5}}, host=7),
            neuron_runtime_vcpu_usage=group(vcpu_usage={"user": 1, "system": 2}),
        ),
        runtime(2, "b", neuroncore_counters=cores(_2=20), execution_stats=executions(1)),
        system_data={
            "memory_info": group(memory_total_bytes=9, memory_used_bytes=1),
            "vcpu_usage": group(
                average_usage=dict.fromkeys(
                    ("user", "nice", "system", "idle", "io_wait", "irq", "soft_irq"), 1
                ),
                usage_data={"0": {"user": 1}},
            ),
            "neuron_hw_counters": ecc({"mem_ecc_corrected": 1}, {}),
        },
    )


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    if isinstance(value, list):
        for at, item in enumerate(value):
            found += places(item, (*path, at))
    return found


def planted(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at one place."""
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


GROUPS = {
    "neuroncore_counters",
    "execution_stats",
    "memory_used",
    "neuron_runtime_vcpu_usage",
    "memory_info",
    "vcpu_usage",
    "neuron_hw_counters",
}
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([2**63, -1, 1e308, math.nan, math.inf, "", "p50", 65536]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


def check_survival(document: Any, path: tuple[Any, ...], value: Any) -> None:
    """Nothing raises, nothing is not finite, and no other group loses a reading."""
    bench, other = Bench(), Bench()
    line = json.dumps(planted(document, path, value)).encode()
    try:
        read = decode(line).report
    except ReportError:
        return  # the whole line is no report any more
    collected = bench.collector.collect(read, *_now())
    for series, number in zip(collected.snapshot.shape, collected.snapshot.values, strict=True):
        if isinstance(number, tuple):
            assert all(math.isfinite(part) for pair in number for part in pair), series
        elif number is not None:
            assert math.isfinite(number), series
    touched = path[3:4] if path[0] == "neuron_runtime_data" else path[1:2]
    if not GROUPS.intersection(touched) or path[-1] in (*touched, "error", "period"):
        return
    before = other.collector.collect(decode(json.dumps(document).encode()).report, *_now())
    for name in GROUPS.difference(touched):
        assert _of_group(collected.snapshot, name) == _of_group(before.snapshot, name)


def _now() -> tuple[Any, ...]:
    from neuron_exporter.model import Machine as Identity
    from neuron_exporter.model import Moment, Owners

    return Moment(1e9, 1e3), Identity(), Owners()


def _of_group(snapshot: Any, name: str) -> dict[Any, Any]:
    return {
        (series.spec.name, series.labels): value
        for series, value in zip(snapshot.shape, snapshot.values, strict=True)
        if series.spec.group == name
        and value is not None
        # Who holds a core is told by two groups.
        and series.spec.name != "neuroncore_runtime_info"
    }


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(places(whole())), values)
def test_any_value_in_any_place_is_survived(path: tuple[Any, ...], value: Any) -> None:
    """Any JSON value in any place never raises, never yields a sample that is not finite, and
    never loses another group's reading."""
    check_survival(whole(), path, value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 3), st.data())
def test_simulated_reports_survive_it_too(seed: int, data: st.DataObject) -> None:
    """The same holds for whole reports of a machine with four runtimes."""
    options = parse(["--instance-type", "inf1.xlarge", "--scenario", "mixed", "--seed", str(seed)])
    document = Machine(options).report(0)
    path = data.draw(st.sampled_from(places(document)))
    check_survival(document, path, data.draw(values))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_an_error(line: bytes) -> None:
    """A line of any bytes is refused by a ReportError, or read."""
    try:
        decode(line)
    except ReportError as error:
        assert error.reason in ("not_json", "not_a_report", "too_deep")  # noqa: PT017
