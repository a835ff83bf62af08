"""Documents follow the Embedded Metric Format and equal the window's content."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.dimensions import MACHINE_DIMENSIONS
from neuron_exporter.sinks.cloudwatch.emf import EmfTransport, Output, check, documents, downsample
from neuron_exporter.sinks.cloudwatch.window import Windows
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from tests.support.cloudwatch_sinks import START, request_of
from tests.support.datums import at, heartbeat_datums, metric_datums
from tests.support.documents import text
from tests.support.emf import assert_stands_for, published, sent, validate, weighted_sum
from tests.support.reports import Harness

STAMP = datetime(2023, 11, 14, 22, 14, tzinfo=UTC)
SETS = (
    (("InstanceId", "i-1"), ("InstanceType", "x")),
    (("InstanceType", "x"),),
    (),
)


def datum(name: str = "NeuronCoresInUse", **more: Any) -> Datum:
    """Return a datum of one value with these changes."""
    dimensions = more.pop("dimensions", SETS[0])
    value = {} if "Values" in more else {"Value": 1.0}
    return {
        "MetricName": name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions],
        "Timestamp": STAMP,
        "Unit": "Count",
        **value,
        **more,
    }


def test_documented_log_volume() -> None:
    selection, _ = select_for_cloudwatch("standard", [], [])
    machine, windows, harness = SimulatedMachine(parse([])), Windows(selection, 60), Harness()
    for number in range(12):
        windows.add(at(harness.collect(machine.report(number)).snapshot, START + 5 * number))
    (window,) = windows.take(START + 60)
    sets = SETS[:1]
    made = heartbeat_datums(window, selection, *sets) + metric_datums(window, selection, *sets)
    size = sum(map(len, documents("NeuronExporter", made)))
    a_month = size * 60 * 730 / 1e9
    assert f"about {size / 1000:.0f} KB a minute, {a_month:.1f} GB a month" in text(
        "docs/cloudwatch.md"
    )


@pytest.mark.parametrize("counts", [None, [2.0, 1.0, 7.0]])
def test_counts_are_exact(counts: list[float] | None) -> None:
    made = datum(Values=[3.0, 2.0**53 + 2, 0.1], **({"Counts": counts} if counts else {}))
    alone = datum("ExecutionsCompleted", Value=123_456_789_012.0)
    assert published(documents("N", [made, alone])) == sent([made, alone])


def test_values_have_shortest_form() -> None:
    (line,) = documents(
        "N", [datum("A"), datum("B", Values=[2.5, 1.0]), datum("C", Values=[4.0], Counts=[3.0])]
    )
    document = validate(line)
    assert document["A"] == 1
    assert document["B"] == [1, 2.5]
    assert document["C"] == {"Values": [4], "Counts": [3], "Count": 3}
    assert b".0" not in line


def test_stamp_is_window_start_in_milliseconds() -> None:
    (line,) = documents("N", [datum()])
    assert validate(line)["_aws"]["Timestamp"] == 1_700_000_040_000


def test_compatible_sets_share_a_document() -> None:
    (line,) = documents("N", [datum(dimensions=each) for each in SETS])
    (directive,) = validate(line)["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["InstanceId", "InstanceType"], ["InstanceType"], []]


def test_conflicting_sets_have_separate_documents() -> None:
    made = [
        datum(dimensions=(("Service", "a"),)),
        datum(dimensions=(("Service", "b"),)),
        datum(dimensions=(("InstanceId", "i"),), Value=5.0),
    ]
    lines = list(documents("N", made))
    assert len(lines) == 3
    assert published(lines) == sent(made)


def test_document_has_at_most_hundred_metrics() -> None:
    made = [datum(f"M{number}") for number in range(101)]
    lines = list(documents("N", made))
    counts = [len(validate(line)["_aws"]["CloudWatchMetrics"][0]["Metrics"]) for line in lines]
    assert counts == [100, 1]
    assert published(lines) == sent(made)


@pytest.mark.parametrize("sets", [1, 7])
def test_documents_are_small(sets: int) -> None:
    fields = tuple((f"{'D' * 100}{n}", "v" * 100) for n in range(30))
    values = [n + 1 / 3 for n in range(150)]
    made = [
        datum(f"{'M' * 250}{n}", dimensions=fields[at:], Values=values, Counts=[7.0] * 150)
        for n in range(12)
        for at in range(sets)
    ]
    found = published(documents("N" * 255, made))
    wanted = sent(made)
    assert found.keys() == wanted.keys()
    for key in wanted:
        assert_stands_for(found[key], wanted[key])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2.0**361])
def test_illegal_numbers_are_left_out(value: float) -> None:
    lines = list(documents("N", [datum("A", Values=[value, 4.0]), datum("B", Value=value)]))
    assert {key[0]: dict(counts) for key, counts in published(lines).items()} == {"A": {4.0: 1}}


@pytest.mark.parametrize(
    "full",
    [
        Counter({float(n): 30 for n in range(300)}) + Counter({1e6: 1}),
        Counter({n / 100: 1 for n in range(372)}) + Counter({90 + n / 7: 1 for n in range(12)}),
        Counter({0.0: 3000}) + Counter({50 + n / 7: 1 for n in range(200)}),
        Counter({0.1: 10**6}) + Counter({float(n): 1 for n in range(200)}),
    ],
    ids=["one outlier", "one busy core", "idle cores", "one frequent value"],
)
def test_downsampling_keeps_sum_and_extremes(full: Counter[float]) -> None:
    thin = Counter(dict(downsample(sorted(full.items()))))
    assert_stands_for(thin, full)
    mean = weighted_sum(full) / sum(full.values())
    assert weighted_sum(thin) / sum(thin.values()) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("name", ["_aws", "ExecutionErrors"])
def test_dimension_named_like_a_metric_is_rejected(name: str) -> None:
    (problem,) = check({name: "x", "Stage": "prod"}, ["ExecutionErrors"])
    (of_label,) = check({}, ["ExecutionErrors"], [name, "job_id"])
    assert of_label.key == f"identity.process_labels.{name}"
    assert problem.key == f"cloudwatch.extra_dimensions.{name}"


def test_too_large_extra_dimensions_are_rejected() -> None:
    (problem,) = check({f"D{n}": "x" * 1000 for n in range(9)}, [])
    assert problem.key == "cloudwatch.extra_dimensions"
    assert not list(check({f"D{n}": "x" * 1000 for n in range(8)}, []))


def test_no_dimension_is_named_like_a_metric() -> None:
    selection, _ = select_for_cloudwatch("full", [], [])
    assert not selection.names & MACHINE_DIMENSIONS.keys()


def test_too_large_document_is_dropped_alone() -> None:
    reader, writer = os.pipe()
    fields = tuple((f"D{n}", "v" * 1024) for n in range(16))
    outcome = EmfTransport(Output(writer)).send(
        request_of(datum("A", dimensions=fields), datum("B"))
    )
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "DocumentTooLarge")
    os.close(writer)
    with open(reader, "rb") as lines:
        assert {name for name, _, _ in published(lines)} == {"B"}


def test_request_is_written_as_whole_lines() -> None:
    reader, writer = os.pipe()
    transport = EmfTransport(Output(writer))
    assert transport.send(request_of(datum())) == Outcome(Verdict.DELIVERED, clock_agrees=False)
    transport.close()
    os.close(writer)
    with open(reader, "rb") as lines:
        assert published(lines) == sent([datum()])
