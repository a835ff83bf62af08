"""Datums keep CloudWatch's limits, and say what the window says."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest
from botocore.session import Session

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.model import Machine
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.system_section import hardware_counters
from neuron_exporter.sinks.cloudwatch.datums import (
    MOST_BYTES,
    MOST_DATUMS,
    MOST_VALUES,
    count_metrics,
    requests,
    untimely,
)
from neuron_exporter.sinks.cloudwatch.dimensions import FIELDS, Dimensions, check, clean, resolve
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from tests.support.datums import beats, readings, window
from tests.support.reports import Bench
from tests.unit.sinks.cloudwatch.test_window import at

STANDARD, _ = for_cloudwatch("standard", [], [])
SET = (("InstanceId", "i-1"), ("InstanceType", "trn1.32xlarge"))
TEN = {
    "ExporterHeartbeat": "Count",
    "NeuronCoreUtilization": "Percent",
    "NeuronCoresInUse": "Count",
    "NeuronDeviceMemoryUtilization": "Percent",
    "ExecutionsCompleted": "Count",
    "ExecutionErrors": "Count",
    "ExecutionLatency": "Seconds",
    "EccUncorrected": "Count",
    "HostCpuUtilization": "Percent",
    "HostMemoryUtilization": "Percent",
}


@pytest.fixture(scope="module")
def limits() -> dict[str, Any]:
    """The shapes of CloudWatch's own service model."""
    model = Session().get_service_model("cloudwatch")
    return {name: model.shape_for(name) for name in ("StandardUnit", "DatapointValues")}


def values(names: list[str], machine: Machine, extra: dict[str, str]) -> Dimensions | None:
    """The dimensions that a set of this machine has, where nobody holds anything."""
    found = resolve(names, machine, extra, {})
    return found and found.held_by(())


def test_the_standard_preset_is_ten_metrics() -> None:
    """A busy machine publishes the ten documented metrics, each with its unit, in one request."""
    machine = SimulatedMachine(parse(["--instance-type", "trn1.32xlarge"]))
    windows, bench = Windows(STANDARD, 60), Bench()
    for number in range(12):
        document = machine.report(number)
        document["system_data"]["neuron_hw_counters"] = {
            "period": 5.0,
            **hardware_counters(hardware("trn1.32xlarge")),
            "error": "",
        }
        windows.add(at(bench.collect(document).snapshot, 1_700_000_040 + 5 * number))
    (full,) = windows.take(1_700_000_100)
    made = beats(full, STANDARD, SET) + readings(full, STANDARD, SET)
    assert {datum["MetricName"]: datum["Unit"] for datum in made} == TEN
    assert count_metrics(made) == 10
    assert len(list(requests(made))) == 1


def test_units_are_cloudwatchs(limits: dict[str, Any]) -> None:
    """Every metric has a unit that CloudWatch knows."""
    units = {metric.unit for row in CATALOGUE for metric in row.cloudwatch}
    assert units <= set(limits["StandardUnit"].enum)


def test_values_keep_their_counts() -> None:
    """What came once needs no count; what came more often keeps it."""
    made = readings(window(NeuronCoresInUse=Counter({3.0: 1, 4.0: 1, 2.0: 5})), STANDARD, SET)
    (datum,) = made
    assert dict(zip(datum["Values"], datum["Counts"], strict=True)) == {2.0: 5, 3.0: 1, 4.0: 1}
    (once,) = readings(window(NeuronCoresInUse=Counter({3.0: 1, 4.0: 1})), STANDARD, SET)
    assert once["Values"] == [3.0, 4.0]
    assert "Counts" not in once


def test_many_values_are_several_datums() -> None:
    """A datum has at most 150 values; nothing is lost at the seams."""
    values = Counter({float(n): 1 + n % 3 for n in range(384)})
    made = readings(window(NeuronCoresInUse=values), STANDARD, SET)
    assert len(made) == 3
    assert all(len(datum["Values"]) <= MOST_VALUES for datum in made)
    together: Counter[float] = Counter()
    for datum in made:
        counts = datum.get("Counts", [1] * len(datum["Values"]))
        together.update(dict(zip(datum["Values"], counts, strict=True)))
    assert together == values
    assert count_metrics(made) == 1


def test_ratios_are_percent() -> None:
    """7 % of the report is 7, not 7.000000000000001."""
    (datum,) = readings(window(NeuronCoreUtilization=Counter({0.07: 1, 0.155: 1})), STANDARD, SET)
    assert datum["Values"] == [7.0, 15.5]


def test_a_stamp_is_the_windows_start() -> None:
    """All that a window holds is stamped with its start, in UTC."""
    (datum,) = readings(window(NeuronCoresInUse=Counter({1.0: 1})), STANDARD, SET)
    assert datum["Timestamp"] == datetime(2023, 11, 14, 22, 14, tzinfo=UTC)


def test_each_dimension_set_is_a_metric_of_its_own() -> None:
    """Finer and coarser sets hold the same values, and are counted as they are billed."""
    made = readings(window(NeuronCoresInUse=Counter({1.0: 1})), STANDARD, SET, SET[:1], ())
    assert [len(datum["Dimensions"]) for datum in made] == [2, 1, 0]
    assert count_metrics(made) == 3


@pytest.mark.parametrize("alive", [True, False])
def test_the_heartbeat_is_one_or_zero(alive: bool) -> None:
    """A window at whose end the source was dead says so with a zero."""
    empty = Window(1_700_000_040.0)
    if alive:
        from tests.support.reports import report

        empty.seen = at(Bench().collect(report()).snapshot, 1_700_000_095)
    (beat,) = beats(empty, STANDARD, SET)
    assert (beat["MetricName"], beat["Value"]) == ("ExporterHeartbeat", float(alive))


def test_no_heartbeat_unless_it_is_selected() -> None:
    """What is excluded is not sent."""
    without, problems = for_cloudwatch("standard", [], ["ExporterHeartbeat"])
    assert not problems
    assert beats(Window(0.0), without, SET) == []


def test_requests_keep_the_number_of_datums() -> None:
    """At most 1,000 datums go into a request, in their order."""
    made = readings(window(NeuronCoresInUse=Counter({1.0: 1})), STANDARD, SET) * 2500
    batches = list(requests(made))
    assert [len(batch) for batch in batches] == [MOST_DATUMS, MOST_DATUMS, 500]
    assert list(chain.from_iterable(batches)) == made


def test_requests_keep_the_number_of_bytes() -> None:
    """No request is larger than CloudWatch takes, counted without compression."""
    values = Counter({n + 1 / 3: 7 for n in range(150)})
    made = readings(window(NeuronCoresInUse=values), STANDARD, SET) * 900
    batches = list(requests(made))
    assert len(batches) > 1
    assert list(chain.from_iterable(batches)) == made
    for batch in batches:
        assert len(json.dumps(batch, default=str)) <= MOST_BYTES + 1000


DAY = 86400.0


@pytest.mark.parametrize(
    ("age", "why"),
    [
        (0.0, ""),
        (14 * DAY, ""),
        (14 * DAY + 1, "too_old"),
        (-2 * 3600, ""),
        (-2 * 3600 - 1, "too_far_ahead"),
    ],
)
def test_stamps_that_cloudwatch_refuses_are_known(age: float, why: str) -> None:
    """Two weeks back and two hours ahead are the limits, and are legal themselves."""
    made = readings(window(NeuronCoresInUse=Counter({1.0: 1})), STANDARD, SET)
    assert untimely(made, made[0]["Timestamp"].timestamp() + age) == why


@pytest.mark.parametrize("namespace", ["", " ", ":x", "AWS/EC2", "a" * 256, "naïve", "a|b", "a\nb"])
def test_a_namespace_that_cloudwatch_refuses_is_refused_before(namespace: str) -> None:
    """The key, the value and what is allowed are named."""
    (problem,) = check(namespace, [["InstanceId"]], {})
    assert problem.key == "cloudwatch.namespace"
    assert problem.given == namespace


@pytest.mark.parametrize(
    ("names", "extra", "key"),
    [
        (["InstanceId", "InstanceId"], {}, "cloudwatch.dimension_sets.0"),
        (["InstanceId"], {f"D{n}": "x" for n in range(30)}, "cloudwatch.dimension_sets.0"),
        (["InstanceId"], {":x": "v"}, "cloudwatch.extra_dimensions.:x"),
        (["InstanceId"], {"Stage": " "}, "cloudwatch.extra_dimensions.Stage"),
        (["InstanceId"], {"Stage": "ü"}, "cloudwatch.extra_dimensions.Stage"),
        (["InstanceId"], {"Stage": "x" * 1025}, "cloudwatch.extra_dimensions.Stage"),
        (["InstanceId"], {"x" * 256: "v"}, f"cloudwatch.extra_dimensions.{'x' * 256}"),
    ],
)
def test_dimensions_that_cloudwatch_refuses_are_refused_before(
    names: list[str], extra: dict[str, str], key: str
) -> None:
    """Thirty-one dimensions, empty values and letters outside ASCII never leave the machine."""
    assert [problem.key for problem in check("NeuronExporter", [names], extra)] == [key]


@pytest.mark.parametrize(
    ("sets", "extra"),
    [
        ([["InstanceId"], ["InstanceId", "Stage"]], {"Stage": "prod"}),
        ([["InstanceId", "Region"], ["Region", "InstanceId"]], {}),
        ([[], []], {}),
    ],
)
def test_sets_that_are_one_set_are_refused(sets: list[list[str]], extra: dict[str, str]) -> None:
    """Nothing is counted twice under one metric; both sets are named, the other ones are fine."""
    (problem,) = check("NeuronExporter", [["InstanceType"], *sets], extra)
    assert problem.key == "cloudwatch.dimension_sets.2"
    assert problem.given == sets[1]
    assert f"dimension_sets.1, {sets[0]}" in problem.message


def test_thirty_dimensions_are_allowed() -> None:
    """The limit itself is legal."""
    extra = {f"D{n}": "x" for n in range(29)}
    assert list(check("NeuronExporter", [["InstanceId"]], extra)) == []


def test_a_set_needs_every_field() -> None:
    """An empty string is no dimension: a set with a missing field does not exist."""
    here = Machine(instance_id="i-1")
    assert values(["InstanceId"], here, {}) == (("InstanceId", "i-1"),)
    assert resolve(["InstanceId", "ClusterName"], here, {}) is None
    assert resolve(["InstanceId"], Machine(instance_id=" \t"), {}) is None
    assert values([], here, {}) == ()


def test_extra_dimensions_are_on_every_set() -> None:
    """What the user adds is on all metrics, and may stand in a set by its name."""
    here = Machine(instance_id="i-1")
    wanted = (("InstanceId", "i-1"), ("Stage", "prod"))
    assert values(["InstanceId"], here, {"Stage": "prod"}) == wanted
    assert values(["InstanceId", "Stage"], here, {"Stage": "prod"}) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("Räck 7", "R?ck 7"), ("a\nb\x00", "ab"), ("x" * 2000, "x" * 1024), ("  a ", "a")],
)
def test_dimension_values_are_made_legal(value: str, wanted: str) -> None:
    """A name that the machine was given is sent as CloudWatch can take it."""
    assert clean(value) == wanted


def test_every_dimension_is_a_field_of_the_identity() -> None:
    """No documented dimension can fail when it is used."""
    for name in FIELDS:
        full = Machine(**{field: "x" for field in Machine.__dataclass_fields__})
        assert values([name], full, {}) == ((name, "x"),)
