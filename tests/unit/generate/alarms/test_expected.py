"""The expected number of machines or tasks: a metric of AWS's, or a parameter."""

from __future__ import annotations

from pathlib import Path

from tests.support.alarm_evaluator import stats
from tests.support.alarm_templates import fleet_of, fleet_stack, make_template
from tests.support.cloudformation import Stack


def test_number_of_machines_is_required() -> None:
    assert fleet_stack(ExpectedMachines=0).assertions == [False]
    assert fleet_stack().assertions == [True]
    assert fleet_stack(ExpectedMachines=0, AutoScalingGroupName="machines").assertions == [True]


def test_scaling_group_dimension(tmp_path: Path) -> None:
    """The group of the dimensions counts the machines, unless a number is set."""
    template = make_template(
        fleet_of(tmp_path, dimension_sets=[["AutoScalingGroupName"]]), instance_type="inf2.xlarge"
    )
    for expected, metrics in (
        (0, {"ExporterHeartbeat", "GroupInServiceInstances"}),
        (3, {"ExporterHeartbeat"}),
    ):
        stack = Stack(template, {"AutoScalingGroupName": "machines", "ExpectedMachines": expected})
        read = {stat.identity.name for stat in stats(stack.alarms["Heartbeats"])}
        assert read == metrics
        assert stack.assertions == [True]


def test_tasks_of_a_service_are_counted_by_container_insights(tmp_path: Path) -> None:
    config = fleet_of(
        tmp_path,
        scope="task",
        include=["ExporterHeartbeat"],
        dimension_sets=[["ClusterName", "ServiceName"]],
        extra_dimensions={"ServiceName": "ranking"},
    )
    template = make_template(config, instance_type="inf2.xlarge")
    assert "Rules" not in template
    for expected, metrics in (
        (0, {"ExporterHeartbeat", "RunningTaskCount"}),
        (3, {"ExporterHeartbeat"}),
    ):
        stack = Stack(template, {"ClusterName": "here", "ExpectedTasks": expected})
        series = {stat.identity.name: stat.identity for stat in stats(stack.alarms["Heartbeats"])}
        assert series.keys() == metrics
        assert {each.dimensions for each in series.values()} == {
            frozenset({("ClusterName", "here"), ("ServiceName", "ranking")})
        }
