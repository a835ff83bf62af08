"""The template of `alarms`: what is in it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import ConfigError
from neuron_exporter.generate.alarms import rules as alarm_rules
from neuron_exporter.generate.alarms.alarms import as_yaml
from neuron_exporter.generate.alarms.template import LONGEST_DESCRIPTION, alarm_metrics
from tests.support.alarm_templates import (
    COMMITTED,
    CONFIGURATIONS,
    FLEET,
    committed,
    fleet_stack,
    group_stack,
    machine_stack,
    made,
    template_of,
    write,
)
from tests.support.alarms import stats
from tests.support.cloudformation import Stack, arn
from tests.support.simulated import SMALL, reports


def test_the_committed_template_is_what_the_command_writes() -> None:
    """ecs/alarms.yaml is never out of date: `make golden` writes it anew."""
    assert COMMITTED.read_text() == as_yaml(made(FLEET))


def test_descriptions_say_what_missing_data_means() -> None:
    """Whoever is called at night reads what happened, why silence counts as it does, and what to
    look at; it fits into what CloudWatch keeps."""
    for stack in (fleet_stack(), machine_stack()):
        for alarm in stack.alarms.values():
            text = alarm["AlarmDescription"]
            assert f"Missing data is {alarm['TreatMissingData']}: " in text
            assert ". First: " in text
            assert len(text) <= LONGEST_DESCRIPTION
            assert text.isascii()


def test_two_stacks_get_along() -> None:
    """Every name begins with that of its stack."""
    names = []
    for name in ("blue", "green"):
        stack = Stack(committed(), {"ClusterName": "here"}, name)
        own = [each["AlarmName"] for each in (stack.alarms | stack.composites).values()]
        assert all(each.startswith(f"{name}-") for each in own)
        names += own
    assert len(set(names)) == len(names) == 2 * 8


def test_the_composite_is_about_health() -> None:
    """It holds every alarm of the stack but the one on idle machines."""
    stack = fleet_stack()
    (composite,) = stack.composites.values()
    ill = [arn(alarm["AlarmName"]) for key, alarm in stack.alarms.items() if key != "Idle"]
    assert composite["AlarmRule"] == " OR ".join(f'ALARM("{each}")' for each in ill)


@pytest.mark.parametrize(
    ("parameters", "each", "composite"),
    [
        ({}, None, None),
        ({"SnsTopicArn": "arn:x"}, ["arn:x"], None),
        ({"SnsTopicArn": "arn:x", "Notify": "composite"}, None, ["arn:x"]),
    ],
)
def test_nobody_is_told_twice(
    parameters: dict[str, str], each: list[str] | None, composite: list[str] | None
) -> None:
    """Either each alarm notifies or the composite does; the one on idle machines always."""
    stack = fleet_stack(**parameters)

    def told(alarm: Mapping[str, Any]) -> Any:
        assert alarm.get("AlarmActions") == alarm.get("OKActions")
        return alarm.get("AlarmActions") if alarm["ActionsEnabled"] else None

    (together,) = stack.composites.values()
    assert told(together) == composite
    topic = [parameters["SnsTopicArn"]] if parameters else None
    for key, alarm in stack.alarms.items():
        assert told(alarm) == (topic if key == "Idle" else each)


def test_somebody_has_to_say_how_many_machines_there_are() -> None:
    """CloudFormation refuses a stack in which nobody would ever be missed."""
    assert fleet_stack(ExpectedMachines=0).assertions == [False]
    assert fleet_stack().assertions == [True]
    assert fleet_stack(ExpectedMachines=0, AutoScalingGroupName="machines").assertions == [True]


def test_what_is_billed_is_counted() -> None:
    """Each metric that an alarm reads costs, and so does a composite alarm."""
    read = {key: len(stats(alarm)) for key, alarm in group_stack().alarms.items()}
    assert alarm_metrics(committed()) == (sum(read.values()), 1)
    assert read["Heartbeats"] == 2
    template = made(FLEET, without=[rule.name for rule in alarm_rules.FLEET if rule.unhealthy])
    assert alarm_metrics(template) == (1, 0)


def test_no_two_things_have_one_name(tmp_path: Path) -> None:
    """Parameters, conditions and resources of any template have names of their own."""
    for name in CONFIGURATIONS:
        _, template = template_of(tmp_path, name)
        sections = ("Parameters", "Conditions", "Resources", "Rules")
        names = [key for section in sections for key in template.get(section, ())]
        assert len(set(names)) == len(names)


def test_each_alarm_has_its_own_parameters() -> None:
    """Threshold and period of every alarm can be chosen, and say what they are."""
    parameters = committed()["Parameters"]
    for rule in alarm_rules.FLEET:
        assert rule.threshold.help in parameters[rule.threshold.parameter]["Description"]
        assert parameters[f"{rule.key}Period"]["Default"] >= rule.period
    stack = fleet_stack(HangBusyPercent=7, HangPeriod=600)
    hang = stack.alarms["Hang"]
    assert hang["Threshold"] == 7
    assert {stat.period for stat in stats(hang)} == {600}


@pytest.mark.parametrize("interval", [1, 7, 10, 45, 60, 90, 300, 1800, 3600])
def test_periods_are_whole_minutes_and_intervals(tmp_path: Path, interval: int) -> None:
    """Whatever the interval, each period holds whole numbers of it and of minutes, since metrics
    have a resolution of a minute, and all periods together are what CloudWatch allows."""
    config = fleet_of(tmp_path, flush_interval=f"{interval}s")
    template = made(config, instance_type="inf2.xlarge")
    for rule in alarm_rules.FLEET:
        allowed = template["Parameters"][f"{rule.key}Period"]["AllowedValues"]
        assert template["Parameters"][f"{rule.key}Period"]["Default"] in allowed
        for period in allowed:
            assert period % 60 == period % interval == 0
            assert period * rule.datapoints[1] <= (604_800 if period >= 3600 else 86_400)


def fleet_of(folder: Path, **cloudwatch: Any) -> Path:
    """The configuration of a fleet."""
    settings = {"enabled": True, "dimension_sets": [["ClusterName"]], **cloudwatch}
    return write(folder, {"cloudwatch": settings})


def refused(config: Path, **asked: Any) -> tuple[str, ...]:
    """What is said of a configuration that no alarms can be made on."""
    with pytest.raises(ConfigError) as caught:
        made(config, **{"instance_type": "inf2.xlarge", **asked})
    return caught.value.problems


def test_a_fleet_needs_a_set_of_its_own(tmp_path: Path) -> None:
    """Without a set that machines share, the line to add is told; sets that name one machine in
    another way are none."""
    for names in (["InstanceId", "InstanceType"], ["NodeName"], ["TaskId"], ["PodName"]):
        config = fleet_of(tmp_path, dimension_sets=[["InstanceId"], names])
        (said,) = refused(config)
        assert said.startswith("cloudwatch.dimension_sets: alarms on a fleet need a set without ")
        assert "add [ClusterName] to it; or name one machine with --instance-id" in said
        assert "published: [InstanceId]" in said


def test_one_machine_needs_a_set_with_its_id(tmp_path: Path) -> None:
    """Alarms on one machine are not made on what all of them share."""
    (said,) = refused(fleet_of(tmp_path), instance_id="i-0abc")
    assert said == (
        "cloudwatch.dimension_sets: alarms on one machine need a set with InstanceId: add "
        "[InstanceId, InstanceType] to it (published: [ClusterName])"
    )


def test_the_type_of_the_one_machine_has_to_be_known(tmp_path: Path) -> None:
    """No series is guessed: where a set names the type, somebody has to tell it."""
    (said,) = refused(FLEET, instance_id="i-0abc", instance_type=None)
    assert said.startswith("--instance-type: must be given (or --stream, or identity.")


def test_what_is_not_published_has_no_alarm(tmp_path: Path) -> None:
    """One line for each alarm and metric that it would watch in vain, with what helps."""
    config = fleet_of(tmp_path, preset="minimal", exclude=["EccUncorrected"])
    without = ["latency", "hang", "device-memory"]
    assert refused(config, without=without) == (
        "uncorrected-ecc: EccUncorrected is not published in [ClusterName]: cloudwatch.exclude "
        "takes it away (it holds EccUncorrected), or leave the alarm out: --without "
        "uncorrected-ecc",
        "error-ratio: ExecutionsCompleted is not published in [ClusterName]: "
        "cloudwatch.include: [ExecutionsCompleted], or leave the alarm out: --without error-ratio",
    )
    helped = fleet_of(tmp_path, preset="minimal", include=["ExecutionsCompleted"])
    keys = made(helped, instance_type="inf2.xlarge", without=without)["Resources"].keys()
    assert keys == {"Heartbeats", "UncorrectedEcc", "ErrorRatio", "Idle", "NeuronFleetUnhealthy"}


def test_what_the_budget_drops_has_no_alarm(tmp_path: Path) -> None:
    """An alarm on a metric that is not sent for its price would never fire: the budget is named."""
    sets = [["ClusterName"], ["InstanceId"]]
    small = fleet_of(tmp_path, dimension_sets=sets, budget={"max_metrics": 11})
    assert made(small, instance_type="inf2.xlarge")
    smaller = fleet_of(tmp_path, dimension_sets=sets, budget={"max_metrics": 10})
    (said,) = refused(smaller, without=["hang", "idle"], instance_id="i-0abc", instance_type=None)[
        :1
    ]
    assert said == (
        "uncorrected-ecc: EccUncorrected is not published in [InstanceId]: the budget of 10 drops "
        "it, where 20 are wanted: name it in cloudwatch.budget.keep, or raise cloudwatch.budget, "
        "or leave the alarm out: --without uncorrected-ecc"
    )


def test_the_one_machine_is_the_one_of_its_series(tmp_path: Path) -> None:
    """An id that the configuration gives every machine is not replaced by another in the name of
    the alarms alone."""
    config = fleet_of(
        tmp_path, dimension_sets=[["InstanceType"]], extra_dimensions={"InstanceId": "foo"}
    )
    (said,) = refused(config, instance_id="i-1")
    assert said == (
        "--instance-id: is not what cloudwatch.extra_dimensions.InstanceId says of each machine, "
        "'foo' (got 'i-1')"
    )


def test_the_configured_cluster_is_the_default(tmp_path: Path) -> None:
    """Whoever has named the cluster once need not type it again, and cannot mistype it."""
    path = write(
        tmp_path,
        {
            "cloudwatch": {"enabled": True, "dimension_sets": [["ClusterName"]]},
            "identity": {"cluster": "blue"},
        },
    )
    assert made(path, instance_type="inf2.xlarge")["Parameters"]["ClusterName"]["Default"] == "blue"


def test_what_a_task_does_not_send_has_no_alarm(tmp_path: Path) -> None:
    """A sidecar that shares its machine sends no heartbeat, and no include would change that."""
    task = fleet_of(tmp_path, scope="task", dimension_sets=[["ServiceName"]])
    said = refused(task)
    assert said[0] == (
        "heartbeats: ExporterHeartbeat is not published in [ServiceName]: it is of the whole "
        "machine, which scope task does not send, or leave the alarm out: --without heartbeats"
    )
    assert [line.partition(":")[0] for line in said] == ["heartbeats", "uncorrected-ecc"]


def test_nothing_is_published_where_cloudwatch_is_off(tmp_path: Path) -> None:
    """A configuration that publishes nothing gets no alarms."""
    (said,) = refused(fleet_of(tmp_path, enabled=False))
    assert said.startswith("cloudwatch.enabled: must be true for alarms")


def test_an_interval_that_fits_no_period_is_refused(tmp_path: Path) -> None:
    """Heartbeats every 1801 seconds make whole numbers in no period that an alarm may have."""
    (said,) = refused(fleet_of(tmp_path, flush_interval="1801s"))
    assert said.startswith("cloudwatch.flush_interval: ")
    assert said.endswith("such as 60s (got 1801s)")


def test_the_coarsest_set_with_everything_is_taken(tmp_path: Path) -> None:
    """Of the sets that a fleet shares, the one with the fewest dimensions."""
    sets = [["ClusterName", "InstanceType"], ["InstanceId"], ["Region"], ["ClusterName", "Region"]]
    template = made(fleet_of(tmp_path, dimension_sets=sets), instance_type="inf2.xlarge")
    dimensions = template["Resources"]["Latency"]["Properties"]["Dimensions"]
    assert dimensions == [{"Name": "Region", "Value": {"Ref": "AWS::Region"}}]


def test_the_type_is_that_of_the_reports(tmp_path: Path) -> None:
    """A file of reports tells the type of the one machine."""
    path = tmp_path / "reports.ndjson"
    path.write_text("".join(json.dumps(each) + "\n" for each in reports(20, *SMALL)))
    template = made(FLEET, instance_id="i-0abc", stream=str(path))
    pairs = template["Resources"]["Latency"]["Properties"]["Dimensions"]
    assert {pair["Name"]: pair["Value"] for pair in pairs} == {
        "InstanceId": "i-0abc",
        "InstanceType": "inf2.xlarge",
    }


def test_a_group_that_names_the_series_counts_its_machines(tmp_path: Path) -> None:
    """The scaling group of the dimensions is the one that is asked, until a number is given."""
    template = made(
        fleet_of(tmp_path, dimension_sets=[["AutoScalingGroupName"]]), instance_type="inf2.xlarge"
    )
    for expected, wanted in (
        (0, {"ExporterHeartbeat", "GroupInServiceInstances"}),
        (3, {"ExporterHeartbeat"}),
    ):
        stack = Stack(template, {"AutoScalingGroupName": "machines", "ExpectedMachines": expected})
        read = {stat.identity.name for stat in stats(stack.alarms["Heartbeats"])}
        assert read == wanted
        assert stack.assertions == [True]


def test_the_region_of_the_machines_may_be_another(tmp_path: Path) -> None:
    """Where metrics are sent to another region than the machine's, the stack is there, and the
    dimension still has the machine's."""
    cloudwatch = {"enabled": True, "region": "us-east-1", "dimension_sets": [["Region"]]}
    config = write(tmp_path, {"cloudwatch": cloudwatch, "identity": {"region": "eu-west-1"}})
    latency = made(config, instance_type="inf2.xlarge")["Resources"]["Latency"]
    assert latency["Properties"]["Dimensions"] == [{"Name": "Region", "Value": "eu-west-1"}]


def test_a_machine_may_be_named_for_all(tmp_path: Path) -> None:
    """An extra dimension has one value everywhere, whatever its name: a fleet shares it."""
    config = fleet_of(tmp_path, extra_dimensions={"InstanceId": "all"})
    pairs = made(config, instance_type="inf2.xlarge")["Resources"]["Latency"]["Properties"][
        "Dimensions"
    ]
    assert {"Name": "InstanceId", "Value": "all"} in pairs


@pytest.mark.parametrize("given", ["", " ", "i-0abc ", "i-ä", "i-0\n", "i" * 1025])
def test_no_machine_has_such_an_id(given: str) -> None:
    """An id that CloudWatch would not take as a dimension is refused."""
    (said,) = refused(FLEET, instance_id=given)
    assert said.startswith("--instance-id: must be 1 to 1024 printable ASCII characters")


def test_leaving_everything_out_is_refused() -> None:
    """A template without resources is none."""
    assert refused(FLEET, without=alarm_rules.NAMES) == ("--without: leaves no alarm",)
