"""The template of `alarms`: its content, and the options that are rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.generate.alarms.alarms import as_yaml
from neuron_exporter.generate.alarms.nodes import MAX_DESCRIPTION
from neuron_exporter.generate.alarms.rules import FLEET_RULES, RULE_NAMES, Rule
from neuron_exporter.generate.alarms.template import alarm_metrics
from tests.support.alarm_evaluator import stats
from tests.support.alarm_templates import (
    COMMITTED,
    CONFIGURATIONS,
    FLEET,
    committed,
    fleet_of,
    fleet_stack,
    group_stack,
    machine_stack,
    make_template,
    problems,
    template_of,
    write,
)
from tests.support.cloudformation import Stack, arn
from tests.support.simulated import SMALL, reports


def always_published() -> list[Rule]:
    """Return the rules whose metrics the preset `standard` has."""
    return [rule for rule in FLEET_RULES if not rule.is_optional]


def test_committed_template_is_current() -> None:
    assert COMMITTED.read_text() == as_yaml(make_template(FLEET))


def test_descriptions() -> None:
    """An alarm says what happened, what to do, and how it treats missing data, in 1,024
    characters."""
    for stack in (fleet_stack(), machine_stack()):
        for alarm in stack.alarms.values():
            text = alarm["AlarmDescription"]
            assert f"Missing data is treated as {alarm['TreatMissingData']}: " in text
            assert ". What to do: " in text
            assert len(text) <= MAX_DESCRIPTION
            assert text.isascii()


def test_alarm_names_begin_with_the_stack() -> None:
    names = []
    for name in ("blue", "green"):
        stack = Stack(committed(), {"ClusterName": "here"}, name)
        own = [each["AlarmName"] for each in (stack.alarms | stack.composites).values()]
        assert all(each.startswith(f"{name}-") for each in own)
        names += own
    assert len(set(names)) == len(names) == 2 * 8


def test_composite_has_health_alarms_only() -> None:
    stack = fleet_stack()
    (composite,) = stack.composites.values()
    arns = [arn(alarm["AlarmName"]) for key, alarm in stack.alarms.items() if key != "Idle"]
    assert composite["AlarmRule"] == " OR ".join(f'ALARM("{each}")' for each in arns)


@pytest.mark.parametrize(
    ("parameters", "each", "composite"),
    [
        ({}, None, None),
        ({"SnsTopicArn": "arn:x"}, ["arn:x"], None),
        ({"SnsTopicArn": "arn:x", "Notify": "composite"}, None, ["arn:x"]),
    ],
)
def test_no_double_notification(
    parameters: dict[str, str], each: list[str] | None, composite: list[str] | None
) -> None:
    """Either each alarm notifies or the composite does; the one on idle machines always does."""
    stack = fleet_stack(**parameters)

    def actions(alarm: Mapping[str, Any]) -> Any:
        assert alarm.get("AlarmActions") == alarm.get("OKActions")
        return alarm.get("AlarmActions") if alarm["ActionsEnabled"] else None

    (composite_alarm,) = stack.composites.values()
    assert actions(composite_alarm) == composite
    topic = [parameters["SnsTopicArn"]] if parameters else None
    for key, alarm in stack.alarms.items():
        assert actions(alarm) == (topic if key == "Idle" else each)


def test_billed_metrics() -> None:
    queries = {key: len(stats(alarm)) for key, alarm in group_stack().alarms.items()}
    assert alarm_metrics(committed()) == (sum(queries.values()), 1)
    assert queries["Heartbeats"] == 2
    template = make_template(FLEET, without=[rule.name for rule in FLEET_RULES if rule.is_health])
    assert alarm_metrics(template) == (1, 0)


def test_logical_ids_are_unique(tmp_path: Path) -> None:
    for name in CONFIGURATIONS:
        _, template = template_of(tmp_path, name)
        sections = ("Parameters", "Conditions", "Resources", "Rules")
        names = [key for section in sections for key in template.get(section, ())]
        assert len(set(names)) == len(names)


def test_threshold_and_period_are_parameters() -> None:
    parameters = committed()["Parameters"]
    for rule in always_published():
        assert rule.threshold.help in parameters[rule.threshold.parameter]["Description"]
        assert parameters[f"{rule.key}Period"]["Default"] >= rule.period
    stack = fleet_stack(HangBusyPercent=7, HangPeriod=600)
    hang = stack.alarms["Hang"]
    assert hang["Threshold"] == 7
    assert {stat.period for stat in stats(hang)} == {600}


@pytest.mark.parametrize("interval", [1, 7, 10, 45, 60, 90, 300, 1800, 3600])
def test_periods_are_whole_minutes_and_intervals(tmp_path: Path, interval: int) -> None:
    config = fleet_of(tmp_path, flush_interval=f"{interval}s")
    template = make_template(config, instance_type="inf2.xlarge")
    for rule in always_published():
        allowed = template["Parameters"][f"{rule.key}Period"]["AllowedValues"]
        assert template["Parameters"][f"{rule.key}Period"]["Default"] in allowed
        for period in allowed:
            assert period % 60 == period % interval == 0
            assert period * rule.datapoints[1] <= (604_800 if period >= 3600 else 86_400)


def test_fleet_needs_a_shared_set(tmp_path: Path) -> None:
    for names in (["InstanceId", "InstanceType"], ["NodeName"], ["TaskId"], ["PodName"]):
        config = fleet_of(tmp_path, dimension_sets=[["InstanceId"], names])
        (problem,) = problems(config)
        assert problem.startswith(
            "cloudwatch.dimension_sets: alarms on a fleet need a set without "
        )
        assert "add [ClusterName], or select one machine with --instance-id" in problem
        assert "published: [InstanceId]" in problem


def test_machine_needs_a_set_with_its_id(tmp_path: Path) -> None:
    (problem,) = problems(fleet_of(tmp_path), instance_id="i-0abc")
    assert problem == (
        "cloudwatch.dimension_sets: alarms on one machine need a set with InstanceId: add "
        "[InstanceId, InstanceType] (published: [ClusterName])"
    )


def test_machine_needs_a_known_type(tmp_path: Path) -> None:
    (problem,) = problems(FLEET, instance_id="i-0abc", instance_type=None)
    assert problem.startswith("--instance-type: must be set (or --stream, or identity.")


def test_unpublished_metrics(tmp_path: Path) -> None:
    """One line per alarm and metric says how to publish it or to omit the alarm."""
    config = fleet_of(tmp_path, preset="minimal", exclude=["EccUncorrected"])
    without = ["latency", "hang", "device-memory"]
    assert problems(config, without=without) == (
        "uncorrected-ecc: EccUncorrected is not published in [ClusterName]: cloudwatch.exclude "
        "removes it (EccUncorrected), or omit the alarm: --without uncorrected-ecc",
        "error-ratio: ExecutionsCompleted is not published in [ClusterName]: set "
        "cloudwatch.include: [ExecutionsCompleted], or omit the alarm: --without error-ratio",
    )
    included = fleet_of(tmp_path, preset="minimal", include=["ExecutionsCompleted"])
    keys = make_template(included, instance_type="inf2.xlarge", without=without)["Resources"].keys()
    assert keys == {"Heartbeats", "UncorrectedEcc", "ErrorRatio", "Idle", "NeuronFleetUnhealthy"}


def test_missing_devices_are_watched_if_they_are_published(tmp_path: Path) -> None:
    """The preset `standard` does not have the two metrics; alone, the alarm names them."""
    metrics = ["NeuronDevicesExpected", "NeuronDevicesPresent"]
    config = fleet_of(tmp_path, include=metrics)
    template = make_template(config, instance_type="inf2.xlarge")
    assert "DeviceMissing" in template["Resources"]
    assert 'ALARM("${DeviceMissing.Arn}")' in str(template["Resources"]["NeuronFleetUnhealthy"])
    plain = fleet_of(tmp_path)
    assert "DeviceMissing" not in make_template(plain, instance_type="inf2.xlarge")["Resources"]
    alone = [name for name in RULE_NAMES if name != "device-missing"]
    assert [each.partition(" is not")[0] for each in problems(plain, without=alone)] == [
        f"device-missing: {metric}" for metric in metrics
    ]


def test_hardware_errors_are_watched_if_they_are_published(tmp_path: Path) -> None:
    """The preset `standard` does not have the metric."""
    published = fleet_of(tmp_path, include=["HardwareErrors"])
    resources = make_template(published, instance_type="trn2.48xlarge")["Resources"]
    alarm = resources["HardwareErrors"]["Properties"]
    assert (alarm["MetricName"], alarm["Statistic"]) == ("HardwareErrors", "Sum")
    assert 'ALARM("${HardwareErrors.Arn}")' in str(resources["NeuronFleetUnhealthy"])
    plain = fleet_of(tmp_path)
    assert "HardwareErrors" not in make_template(plain, instance_type="trn2.48xlarge")["Resources"]


@pytest.mark.parametrize(
    ("machine", "sysfs"), [("trn2.48xlarge", "false"), ("inf1.xlarge", "auto")]
)
def test_hardware_errors_need_the_drivers_files(tmp_path: Path, machine: str, sysfs: str) -> None:
    config = fleet_of(tmp_path, include=["HardwareErrors"])
    config.write_text(f"{config.read_text()}\nhardware: {{sysfs: {sysfs}}}\n")
    assert "HardwareErrors" not in make_template(config, instance_type=machine)["Resources"]


def test_descriptions_link_to_the_runbook_if_it_has_an_address() -> None:
    address = "https://example.org/RUNBOOK.md"
    hang = fleet_stack(RunbookUrl=address).alarms["Hang"]["AlarmDescription"]
    assert hang.endswith(f". {address}#neuronhang")
    assert "#neuronhang" not in fleet_stack().alarms["Hang"]["AlarmDescription"]


def test_metrics_dropped_by_the_budget(tmp_path: Path) -> None:
    sets = [["ClusterName"], ["InstanceId"]]
    small = fleet_of(tmp_path, dimension_sets=sets, budget={"max_metrics": 11})
    assert make_template(small, instance_type="inf2.xlarge")
    smaller = fleet_of(tmp_path, dimension_sets=sets, budget={"max_metrics": 10})
    (problem,) = problems(
        smaller, without=["hang", "idle"], instance_id="i-0abc", instance_type=None
    )[:1]
    assert problem == (
        "uncorrected-ecc: EccUncorrected is not published in [InstanceId]: the budget of 10 drops "
        "it (20 metrics are selected): add it to cloudwatch.budget.keep, or raise "
        "cloudwatch.budget, or omit the alarm: --without uncorrected-ecc"
    )


def test_instance_id_conflicts_with_extra_dimension(tmp_path: Path) -> None:
    config = fleet_of(
        tmp_path, dimension_sets=[["InstanceType"]], extra_dimensions={"InstanceId": "foo"}
    )
    (problem,) = problems(config, instance_id="i-1")
    assert problem == (
        "--instance-id: must be the value of cloudwatch.extra_dimensions.InstanceId, 'foo' (got "
        "'i-1')"
    )


def test_configured_cluster_is_the_default(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "cloudwatch": {"enabled": True, "dimension_sets": [["ClusterName"]]},
            "identity": {"cluster": "blue"},
        },
    )
    assert (
        make_template(path, instance_type="inf2.xlarge")["Parameters"]["ClusterName"]["Default"]
        == "blue"
    )


def test_heartbeats_of_tasks_have_to_be_included(tmp_path: Path) -> None:
    """With `scope: task` no preset has them, and ECC errors are never sent."""
    task = fleet_of(tmp_path, scope="task", dimension_sets=[["ServiceName"]])
    (problem,) = problems(task)
    assert problem == (
        "heartbeats: ExporterHeartbeat is not published in [ServiceName]: set cloudwatch.include: "
        "[ExporterHeartbeat], or omit the alarm: --without heartbeats"
    )
    without = make_template(
        task, instance_type="inf2.xlarge", without=["heartbeats", "uncorrected-ecc"]
    )
    assert not without["Resources"].keys() & {"Heartbeats", "UncorrectedEcc"}


def test_an_allow_list_has_alarms_on_its_metrics(tmp_path: Path) -> None:
    """Each alarm that is left out is explained; only heartbeats must not be forgotten."""
    allowed = ["NeuronCoreUtilization", "ExecutionErrors"]
    config = fleet_of(tmp_path, preset="none", include=[*allowed, "ExporterHeartbeat"])
    lines: list[str] = []
    template = make_template(config, instance_type="inf2.xlarge", explain=lines.append)
    assert template["Resources"].keys() == {"Heartbeats", "Idle", "NeuronFleetUnhealthy"}
    assert [line.partition(" is left out")[0] for line in lines] == [
        *("uncorrected-ecc", "error-ratio", "latency", "device-memory", "hang"),
    ]
    assert lines[0] == "uncorrected-ecc is left out: EccUncorrected is not in the allow-list"
    (problem,) = problems(fleet_of(tmp_path, preset="none", include=allowed))
    assert problem.startswith("heartbeats: ExporterHeartbeat is not published in [ClusterName]")


def test_an_allow_list_with_metrics_that_the_budget_drops(tmp_path: Path) -> None:
    """An alarm on a metric that the list names is not left out: the budget is the mistake."""
    allowed = ["ExporterHeartbeat", "NeuronCoreUtilization", "EccUncorrected"]
    budget = {"max_metrics": 2}
    (problem,) = problems(fleet_of(tmp_path, preset="none", include=allowed, budget=budget))
    assert problem.startswith(
        "uncorrected-ecc: EccUncorrected is not published in [ClusterName]: the budget of 2 drops "
    )


def test_cloudwatch_must_be_enabled(tmp_path: Path) -> None:
    (problem,) = problems(fleet_of(tmp_path, enabled=False))
    assert problem.startswith("cloudwatch.enabled: must be true for alarms")


def test_interval_without_period(tmp_path: Path) -> None:
    (problem,) = problems(fleet_of(tmp_path, flush_interval="1801s"))
    assert problem.startswith("cloudwatch.flush_interval: ")
    assert problem.endswith("such as 60s (got 1801s)")


def test_set_with_fewest_dimensions_is_used(tmp_path: Path) -> None:
    sets = [["ClusterName", "InstanceType"], ["InstanceId"], ["Region"], ["ClusterName", "Region"]]
    template = make_template(fleet_of(tmp_path, dimension_sets=sets), instance_type="inf2.xlarge")
    dimensions = template["Resources"]["Latency"]["Properties"]["Dimensions"]
    assert dimensions == [{"Name": "Region", "Value": {"Ref": "AWS::Region"}}]


def test_type_from_recorded_reports(tmp_path: Path) -> None:
    path = tmp_path / "reports.ndjson"
    path.write_text("".join(json.dumps(each) + "\n" for each in reports(20, *SMALL)))
    template = make_template(FLEET, instance_id="i-0abc", stream=str(path))
    pairs = template["Resources"]["Latency"]["Properties"]["Dimensions"]
    assert {pair["Name"]: pair["Value"] for pair in pairs} == {
        "InstanceId": "i-0abc",
        "InstanceType": "inf2.xlarge",
    }


def test_machines_in_another_region(tmp_path: Path) -> None:
    """The stack is in the region of the metrics; the dimension has the region of the machines."""
    cloudwatch = {"enabled": True, "region": "us-east-1", "dimension_sets": [["Region"]]}
    config = write(tmp_path, {"cloudwatch": cloudwatch, "identity": {"region": "eu-west-1"}})
    latency = make_template(config, instance_type="inf2.xlarge")["Resources"]["Latency"]
    assert latency["Properties"]["Dimensions"] == [{"Name": "Region", "Value": "eu-west-1"}]


def test_extra_dimension_is_shared(tmp_path: Path) -> None:
    config = fleet_of(tmp_path, extra_dimensions={"InstanceId": "all"})
    pairs = make_template(config, instance_type="inf2.xlarge")["Resources"]["Latency"][
        "Properties"
    ]["Dimensions"]
    assert {"Name": "InstanceId", "Value": "all"} in pairs


@pytest.mark.parametrize("instance_id", ["", " ", "i-0abc ", "i-ä", "i-0\n", "i" * 1025])
def test_invalid_instance_id(instance_id: str) -> None:
    (problem,) = problems(FLEET, instance_id=instance_id)
    assert problem.startswith("--instance-id: must be 1 to 1024 printable ASCII characters")


def test_without_all_alarms() -> None:
    assert problems(FLEET, without=RULE_NAMES) == ("--without: must leave at least one alarm",)
