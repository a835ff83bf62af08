"""Datums are within CloudWatch's limits and equal the window's content."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest
from botocore.session import Session

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import Machine
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.system_section import hardware_counters
from neuron_exporter.sinks.cloudwatch.datums import (
    ACCEPTED_AGES,
    MAX_BYTES,
    MAX_DATUMS,
    MAX_VALUES,
    batch_datums,
    count_metrics,
)
from neuron_exporter.sinks.cloudwatch.dimensions import (
    MACHINE_DIMENSIONS,
    Dimensions,
    check,
    resolve,
    sanitize_dimension_value,
)
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from tests.support.datums import at, heartbeat_datums, make_window, metric_datums
from tests.support.reports import Harness

STANDARD, _ = select_for_cloudwatch("standard", [], [])
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
    """Shapes of CloudWatch's service model."""
    model = Session().get_service_model("cloudwatch")
    return {name: model.shape_for(name) for name in ("StandardUnit", "DatapointValues")}


def values(names: list[str], machine: Machine, extra: dict[str, str]) -> Dimensions | None:
    """Return the dimensions of a set for this machine, without owner dimensions."""
    found = resolve(names, machine, extra, {})
    return found and found.with_owner(())


def test_standard_preset_has_ten_metrics() -> None:
    machine = SimulatedMachine(parse(["--instance-type", "trn1.32xlarge"]))
    windows, harness = Windows(STANDARD, 60), Harness()
    for number in range(12):
        document = machine.report(number)
        document["system_data"]["neuron_hw_counters"] = {
            "period": 5.0,
            **hardware_counters(hardware("trn1.32xlarge")),
            "error": "",
        }
        windows.add(at(harness.collect(document).snapshot, 1_700_000_040 + 5 * number))
    (full,) = windows.take(1_700_000_100)
    made = heartbeat_datums(full, STANDARD, SET) + metric_datums(full, STANDARD, SET)
    assert {datum["MetricName"]: datum["Unit"] for datum in made} == TEN
    assert count_metrics(made) == 10
    assert len(list(batch_datums(made))) == 1


def test_units_are_known_to_cloudwatch(limits: dict[str, Any]) -> None:
    units = {metric.unit for row in CATALOGUE for metric in row.cloudwatch}
    assert units <= set(limits["StandardUnit"].enum)


def test_values_have_counts() -> None:
    made = metric_datums(
        make_window(NeuronCoresInUse=Counter({3.0: 1, 4.0: 1, 2.0: 5})), STANDARD, SET
    )
    (datum,) = made
    assert dict(zip(datum["Values"], datum["Counts"], strict=True)) == {2.0: 5, 3.0: 1, 4.0: 1}
    (once,) = metric_datums(make_window(NeuronCoresInUse=Counter({3.0: 1, 4.0: 1})), STANDARD, SET)
    assert once["Values"] == [3.0, 4.0]
    assert "Counts" not in once


def test_many_values_become_several_datums() -> None:
    values = Counter({float(n): 1 + n % 3 for n in range(384)})
    made = metric_datums(make_window(NeuronCoresInUse=values), STANDARD, SET)
    assert len(made) == 3
    assert all(len(datum["Values"]) <= MAX_VALUES for datum in made)
    together: Counter[float] = Counter()
    for datum in made:
        counts = datum.get("Counts", [1] * len(datum["Values"]))
        together.update(dict(zip(datum["Values"], counts, strict=True)))
    assert together == values
    assert count_metrics(made) == 1


def test_ratios_become_exact_percents() -> None:
    (datum,) = metric_datums(
        make_window(NeuronCoreUtilization=Counter({0.07: 1, 0.155: 1})), STANDARD, SET
    )
    assert datum["Values"] == [7.0, 15.5]


def test_stamp_is_window_start() -> None:
    (datum,) = metric_datums(make_window(NeuronCoresInUse=Counter({1.0: 1})), STANDARD, SET)
    assert datum["Timestamp"] == datetime(2023, 11, 14, 22, 14, tzinfo=UTC)


def test_each_dimension_set_is_a_metric() -> None:
    made = metric_datums(
        make_window(NeuronCoresInUse=Counter({1.0: 1})), STANDARD, SET, SET[:1], ()
    )
    assert [len(datum["Dimensions"]) for datum in made] == [2, 1, 0]
    assert count_metrics(made) == 3


@pytest.mark.parametrize("alive", [True, False])
def test_heartbeat_values(alive: bool) -> None:
    empty = Window(1_700_000_040.0)
    if alive:
        from tests.support.reports import report

        empty.last_snapshot = at(Harness().collect(report()).snapshot, 1_700_000_095)
    (beat,) = heartbeat_datums(empty, STANDARD, SET)
    assert (beat["MetricName"], beat["Value"]) == ("ExporterHeartbeat", float(alive))


def test_deselected_heartbeat_is_absent() -> None:
    without, problems = select_for_cloudwatch("standard", [], ["ExporterHeartbeat"])
    assert not problems
    assert heartbeat_datums(Window(0.0), without, SET) == []


def test_batches_limit_datum_count() -> None:
    made = metric_datums(make_window(NeuronCoresInUse=Counter({1.0: 1})), STANDARD, SET) * 2500
    batches = list(batch_datums(made))
    assert [len(batch) for batch in batches] == [MAX_DATUMS, MAX_DATUMS, 500]
    assert list(chain.from_iterable(batches)) == made


def test_batches_limit_bytes() -> None:
    values = Counter({n + 1 / 3: 7 for n in range(150)})
    made = metric_datums(make_window(NeuronCoresInUse=values), STANDARD, SET) * 900
    batches = list(batch_datums(made))
    assert len(batches) > 1
    assert list(chain.from_iterable(batches)) == made
    for batch in batches:
        assert len(json.dumps(batch, default=str)) <= MAX_BYTES + 1000


DAY = 86400.0


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (0.0, ""),
        (14 * DAY, ""),
        (14 * DAY + 1, "too_old"),
        (-2 * 3600, ""),
        (-2 * 3600 - 1, "too_far_ahead"),
    ],
)
def test_accepted_ages(age: float, reason: str) -> None:
    assert ACCEPTED_AGES.rejection(1e9, 1e9 + age) == reason


@pytest.mark.parametrize("namespace", ["", " ", ":x", "AWS/EC2", "a" * 256, "naïve", "a|b", "a\nb"])
def test_illegal_namespace_is_rejected(namespace: str) -> None:
    (problem,) = check(namespace, [["InstanceId"]], {})
    assert problem.key == "cloudwatch.namespace"
    assert problem.value == namespace


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
def test_illegal_dimensions_are_rejected(names: list[str], extra: dict[str, str], key: str) -> None:
    assert [problem.key for problem in check("NeuronExporter", [names], extra)] == [key]


@pytest.mark.parametrize(
    ("sets", "extra"),
    [
        ([["InstanceId"], ["InstanceId", "Stage"]], {"Stage": "prod"}),
        ([["InstanceId", "Region"], ["Region", "InstanceId"]], {}),
        ([[], []], {}),
    ],
)
def test_equal_dimension_sets_are_rejected(sets: list[list[str]], extra: dict[str, str]) -> None:
    (problem,) = check("NeuronExporter", [["InstanceType"], *sets], extra)
    assert problem.key == "cloudwatch.dimension_sets.2"
    assert problem.value == sets[1]
    assert f"dimension_sets.1, {sets[0]}" in problem.message


def test_thirty_dimensions_are_allowed() -> None:
    extra = {f"D{n}": "x" for n in range(29)}
    assert list(check("NeuronExporter", [["InstanceId"]], extra)) == []


def test_set_needs_every_field() -> None:
    here = Machine(instance_id="i-1")
    assert values(["InstanceId"], here, {}) == (("InstanceId", "i-1"),)
    assert resolve(["InstanceId", "ClusterName"], here, {}) is None
    assert resolve(["InstanceId"], Machine(instance_id=" \t"), {}) is None
    assert values([], here, {}) == ()


def test_extra_dimensions_are_on_every_set() -> None:
    here = Machine(instance_id="i-1")
    wanted = (("InstanceId", "i-1"), ("Stage", "prod"))
    assert values(["InstanceId"], here, {"Stage": "prod"}) == wanted
    assert values(["InstanceId", "Stage"], here, {"Stage": "prod"}) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("Räck 7", "R?ck 7"), ("a\nb\x00", "ab"), ("x" * 2000, "x" * 1024), ("  a ", "a")],
)
def test_dimension_values_are_sanitized(value: str, wanted: str) -> None:
    assert sanitize_dimension_value(value) == wanted


def test_every_dimension_is_an_identity_field() -> None:
    for name in MACHINE_DIMENSIONS:
        full = Machine(**{field: "x" for field in Machine.__dataclass_fields__})
        assert values([name], full, {}) == ((name, "x"),)
