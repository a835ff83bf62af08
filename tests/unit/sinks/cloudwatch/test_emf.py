"""Documents keep the rules of the Embedded Metric Format, and say what the window says."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.dimensions import FIELDS
from neuron_exporter.sinks.cloudwatch.emf import Emf, check, documents, thinned
from neuron_exporter.sinks.cloudwatch.output import Output
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Verdict
from neuron_exporter.sinks.cloudwatch.window import Windows
from tests.support import readme
from tests.support.datums import beats, readings
from tests.support.emf import assert_stands_for, published, sent, validate
from tests.support.reports import Bench
from tests.unit.sinks.cloudwatch.test_window import START, at

STAMP = datetime(2023, 11, 14, 22, 14, tzinfo=UTC)
SETS = (
    (("InstanceId", "i-1"), ("InstanceType", "x")),
    (("InstanceType", "x"),),
    (),
)


def datum(name: str = "NeuronCoresInUse", **more: Any) -> Datum:
    """A datum of one value, changed."""
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


@pytest.mark.parametrize("preset", ["minimal", "standard", "full"])
@pytest.mark.parametrize(
    "flags",
    [
        ("--instance-type", "trn1.32xlarge"),
        ("--instance-type", "inf1.xlarge", "--scenario", "idle"),
        ("--instance-type", "inf2.48xlarge", "--scenario", "mixed", "--runtimes", "5"),
        ("--instance-type", "trn2.48xlarge", "--scenario", "training"),
    ],
)
def test_every_document_keeps_the_rules_and_the_readings(
    preset: str, flags: tuple[str, ...]
) -> None:
    """Whatever machine and preset: lines are legal, and stand for what the api would be sent."""
    selection, problems = for_cloudwatch(preset, [], [])
    assert not problems
    machine, windows, bench = SimulatedMachine(parse([*flags])), Windows(selection, 60), Bench()
    for number in range(12):
        windows.add(at(bench.collect(machine.report(number)).snapshot, START + 5 * number))
    (window,) = windows.take(START + 60)
    made = beats(window, selection, *SETS) + readings(window, selection, *SETS)
    lines = list(documents("NeuronExporter", made))
    wanted, found = sent(made), published(lines)
    assert found.keys() == wanted.keys()
    for key, sent_values in wanted.items():
        assert_stands_for(found[key], sent_values)
    assert sum(map(len, lines)) < 60_000


def test_readme_says_what_a_machine_writes() -> None:
    """What the log group is charged for is told as it is: kilobytes a minute, gigabytes a month."""
    selection, _ = for_cloudwatch("standard", [], [])
    machine, windows, bench = SimulatedMachine(parse([])), Windows(selection, 60), Bench()
    for number in range(12):
        windows.add(at(bench.collect(machine.report(number)).snapshot, START + 5 * number))
    (window,) = windows.take(START + 60)
    sets = SETS[:1]
    made = beats(window, selection, *sets) + readings(window, selection, *sets)
    size = sum(map(len, documents("NeuronExporter", made)))
    a_month = size * 60 * 730 / 1e9
    assert f"about {size / 1000:.0f} KB a minute, {a_month:.1f} GB a month" in readme.TEXT


@pytest.mark.parametrize("counts", [None, [2.0, 1.0, 7.0]])
def test_sums_of_counts_are_exact(counts: list[float] | None) -> None:
    """What was counted is written as it was counted, however often it came and however large."""
    made = datum(Values=[3.0, 2.0**53 + 2, 0.1], **({"Counts": counts} if counts else {}))
    alone = datum("ExecutionsCompleted", Value=123_456_789_012.0)
    assert published(documents("N", [made, alone])) == sent([made, alone])


def test_values_have_the_shortest_form() -> None:
    """One value is a number, values that came once are an array, others have their counts."""
    (line,) = documents(
        "N", [datum("A"), datum("B", Values=[2.5, 1.0]), datum("C", Values=[4.0], Counts=[3.0])]
    )
    document = validate(line)
    assert document["A"] == 1
    assert document["B"] == [1, 2.5]
    assert document["C"] == {"Values": [4], "Counts": [3], "Count": 3}
    assert b".0" not in line


def test_stamps_are_milliseconds_of_the_windows_start() -> None:
    """The stamp is the datum's, not the moment of writing."""
    (line,) = documents("N", [datum()])
    assert validate(line)["_aws"]["Timestamp"] == 1_700_000_040_000


def test_sets_of_the_same_fields_share_a_document() -> None:
    """Metrics that are equal in several sets are written, and paid for, once."""
    (line,) = documents("N", [datum(dimensions=each) for each in SETS])
    (directive,) = validate(line)["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["InstanceId", "InstanceType"], ["InstanceType"], []]


def test_sets_with_other_values_have_documents_of_their_own() -> None:
    """A field has one value in a document, and so has a metric: neither replaces another."""
    made = [
        datum(dimensions=(("Service", "a"),)),
        datum(dimensions=(("Service", "b"),)),
        datum(dimensions=(("InstanceId", "i"),), Value=5.0),
    ]
    lines = list(documents("N", made))
    assert len(lines) == 3
    assert published(lines) == sent(made)


def test_a_hundred_metrics_fit_and_one_more_does_not() -> None:
    """The limit of metrics in a document is kept, and used."""
    made = [datum(f"M{number}") for number in range(101)]
    lines = list(documents("N", made))
    counts = [len(validate(line)["_aws"]["CloudWatchMetrics"][0]["Metrics"]) for line in lines]
    assert counts == [100, 1]
    assert published(lines) == sent(made)


@pytest.mark.parametrize("sets", [1, 7])
def test_documents_stay_small(sets: int) -> None:
    """Thirty long dimensions, long names and many values make more lines, none too long."""
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
def test_what_is_no_number_for_cloudwatch_is_left_out(value: float) -> None:
    """One bad value costs itself, not the document."""
    lines = list(documents("N", [datum("A", Values=[value, 4.0]), datum("B", Value=value)]))
    assert {key[0]: dict(readings) for key, readings in published(lines).items()} == {"A": {4.0: 1}}


READINGS = st.dictionaries(
    st.floats(-1e6, 1e6), st.integers(1, 10_000), min_size=101, max_size=400
).map(lambda found: Counter({float(value): count for value, count in found.items()}))


@settings(max_examples=40)
@given(READINGS)
def test_thinning_keeps_extremes_and_count_and_bounds_ranks(full: Counter[float]) -> None:
    """However the readings lie: a percentile is off by at most a 98th of them."""
    thin = thinned(sorted(full.items()))
    assert_stands_for(Counter(dict(thin)), full)


def test_the_extremes_keep_their_weight() -> None:
    """One outlier in ten thousand readings stays one, so that it does not move the average."""
    full = Counter({float(n): 30 for n in range(300)}) + Counter({1e6: 1})
    thin = dict(thinned(sorted(full.items())))
    assert thin[1e6] == 1
    mean = sum(value * count for value, count in full.items()) / sum(full.values())
    assert sum(v * c for v, c in thin.items()) / sum(thin.values()) == pytest.approx(mean, rel=0.01)


@pytest.mark.parametrize("name", ["_aws", "ExecutionErrors"])
def test_a_dimension_cannot_take_a_metrics_place(name: str) -> None:
    """Both would be one member of the document; it is refused at the start."""
    (problem,) = check({name: "x", "Stage": "prod"}, ["ExecutionErrors"])
    assert problem.key == f"cloudwatch.extra_dimensions.{name}"


def test_extra_dimensions_that_fill_a_document_are_refused() -> None:
    """What could never be sent is said at the start, not once a minute."""
    (problem,) = check({f"D{n}": "x" * 1000 for n in range(9)}, [])
    assert problem.key == "cloudwatch.extra_dimensions"
    assert not list(check({f"D{n}": "x" * 1000 for n in range(8)}, []))


def test_no_dimension_of_the_identity_is_named_like_a_metric() -> None:
    """Every documented dimension can be used beside every metric."""
    selection, _ = for_cloudwatch("full", [], [])
    assert not selection.names & FIELDS.keys()


def test_a_document_that_cannot_be_small_is_given_up_alone() -> None:
    """It would be split in two lines that nobody can read; the others are written."""
    reader, writer = os.pipe()
    fields = tuple((f"D{n}", "v" * 1024) for n in range(16))
    outcome = Emf(Output(writer)).send("N", [datum("A", dimensions=fields), datum("B")])
    assert (outcome.verdict, outcome.code) == (Verdict.NEVER, "DocumentTooLarge")
    os.close(writer)
    with open(reader, "rb") as lines:
        assert {name for name, _, _ in published(lines)} == {"B"}


def test_a_request_is_delivered_as_whole_lines() -> None:
    """What was written is what was given, ready to be read."""
    reader, writer = os.pipe()
    transport = Emf(Output(writer))
    assert transport.send("N", [datum()]) == Outcome(Verdict.DELIVERED)
    transport.close()
    os.close(writer)
    with open(reader, "rb") as lines:
        assert published(lines) == sent([datum()])
