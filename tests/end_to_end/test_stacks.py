"""The CloudFormation stacks of `ecs/`, linted, and made on moto."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.metrics.catalogue import CATALOGUE
from tests.support.alarm_templates import committed as committed_alarms
from tests.support.cloudformation import Stack
from tests.support.fleet import CREDENTIALS
from tests.support.stacks import TEMPLATES, Account, account, template
from tests.support.task_definitions import (
    EXAMPLES,
    committed,
    environment_of,
    exporter_of,
    made,
)

INFERENCE, DAEMON = "neuron-inference-inf2-xlarge", "neuron-exporter-inf2-48xlarge"
SETS = "NEURON_EXPORTER__CLOUDWATCH__DIMENSION_SETS"

IGNORED = {
    "AWS::ECS::CapacityProvider",
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::EC2::SecurityGroupIngress",  # is made, and not listed
}
"""Types that moto's CloudFormation does not make."""


@pytest.fixture(scope="module")
def on_moto() -> Iterator[tuple[Account, dict[str, dict[str, str]]]]:
    """An account with all stacks in it, in the order in which README makes them, and what moto made
    of each."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with account() as opened:
            subnet = opened.ec2.describe_subnets()["Subnets"][0]
            scraper = opened.ec2.create_security_group(GroupName="p", Description="Prometheus")
            stacks = {
                "base": opened.create("base", {}),
                "capacity": opened.create(
                    "capacity",
                    {
                        "InstanceType": "inf2.xlarge",
                        "VpcId": subnet["VpcId"],
                        "SubnetIds": subnet["SubnetId"],
                        "PrometheusSecurityGroupId": scraper["GroupId"],
                    },
                ),
            }
            for example in ("inf2-sidecar", "inf2-daemon"):
                opened.ecs.register_task_definition(**committed(example))
            provider = {"TaskDefinition": INFERENCE, "CapacityProvider": "neuron-machines"}
            stacks["service"] = opened.create("service", provider)
            stacks["daemon"] = opened.create("daemon", {"TaskDefinition": DAEMON})
            yield opened, stacks


def test_cfn_lint_finds_nothing() -> None:
    """AWS's own linter takes every stack without a remark."""
    lint = subprocess.run(
        [
            Path(sys.executable).with_name("cfn-lint"),
            *("--include-checks", "I", "--", *TEMPLATES.values()),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (lint.stdout, lint.stderr, lint.returncode) == ("", "", 0)


@pytest.mark.parametrize("name", TEMPLATES)
def test_moto_makes_the_stack(
    on_moto: tuple[Account, dict[str, dict[str, str]]], name: str
) -> None:
    """Every resource is made, but for the types that moto's CloudFormation does not know."""
    _, stacks = on_moto
    declared = {key: each["Type"] for key, each in template(name)["Resources"].items()}
    expected = {key: kind for key, kind in declared.items() if kind not in IGNORED}
    assert {key: kind for key, kind in stacks[name].items() if kind not in IGNORED} == expected


def test_definitions_name_what_the_stack_made(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
    """Roles, log group and bucket of the committed definitions are there, by these names."""
    opened, _ = on_moto
    roles = {role["Arn"] for role in opened.iam.list_roles()["Roles"]}
    (group,) = opened.logs.describe_log_groups()["logGroups"]
    (bucket,) = opened.s3.list_buckets()["Buckets"]
    for name in EXAMPLES:
        definition = committed(name)
        assert {definition["taskRoleArn"], definition["executionRoleArn"]} <= roles
        for container in definition["containerDefinitions"]:
            options = container["logConfiguration"]["options"]
            assert options["awslogs-group"] == group["logGroupName"]
            places = [word for word in container.get("command", []) if word.startswith("s3:")]
            assert all(place.startswith(f"s3://{bucket['Name']}/") for place in places)
    assert group["retentionInDays"] == 14


def test_machines_join_the_cluster_and_keep_their_credentials(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
    """The launch template has the Neuron AMI, asks for tokens, and tells the agent its cluster."""
    opened, _ = on_moto
    (launch,) = opened.ec2.describe_launch_templates()["LaunchTemplates"]
    (version,) = opened.ec2.describe_launch_template_versions(
        LaunchTemplateId=launch["LaunchTemplateId"]
    )["LaunchTemplateVersions"]
    data = version["LaunchTemplateData"]
    path = template("capacity")["Parameters"]["Image"]["Default"]
    image = opened.ssm.get_parameter(Name=path)["Parameter"]["Value"]
    assert (data["ImageId"], data["InstanceType"]) == (image, "inf2.xlarge")
    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 2,
    }
    told = base64.b64decode(data["UserData"]).decode().splitlines()
    assert {"ECS_CLUSTER=neuron", "ECS_RESERVED_MEMORY=512"} <= set(told)


def test_nobody_but_prometheus_reaches_the_machines(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
    """Open are the daemon's port and those that ECS gives to sidecars, to one group alone."""
    opened, _ = on_moto
    groups = opened.ec2.describe_security_groups()["SecurityGroups"]
    (scraper,) = [each["GroupId"] for each in groups if each["Description"] == "Prometheus"]
    (machines,) = [each for each in groups if each["Description"].startswith("Neuron machines")]
    rules = machines["IpPermissions"]
    assert {(each["FromPort"], each["ToPort"]) for each in rules} == {(9415, 9415), (32768, 65535)}
    for each in rules:
        assert [pair["GroupId"] for pair in each["UserIdGroupPairs"]] == [scraper]
        assert each["IpRanges"] == each["Ipv6Ranges"] == []


def test_every_type_with_known_devices_can_be_had() -> None:
    """The stack offers the types that a definition can be made for."""
    allowed = template("capacity")["Parameters"]["InstanceType"]["AllowedValues"]
    assert allowed == [name for name, row in INSTANCE_TYPES.items() if row.devices]


def test_services_run_what_was_registered(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
    """The services have the definitions; no two tasks with one device meet, and the daemon is on
    each machine once. (moto keeps neither of these two of a stack's service.)"""
    opened, _ = on_moto
    services = opened.ecs.describe_services(
        cluster="neuron", services=["inference", "neuron-exporter"]
    )["services"]
    by_name = {each["serviceName"]: each for each in services}
    assert by_name["inference"]["taskDefinition"].endswith(f"{INFERENCE}:1")
    assert by_name["neuron-exporter"]["taskDefinition"].endswith(f"{DAEMON}:1")
    service, daemon = (
        template(name)["Resources"]["Service"]["Properties"] for name in ("service", "daemon")
    )
    assert service["PlacementConstraints"] == [{"Type": "distinctInstance"}]
    assert daemon["SchedulingStrategy"] == "DAEMON"


def test_scaling_follows_a_series_that_is_published(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
    """Application Auto Scaling takes the policy, and the metric that it names, with its unit and
    dimensions, is one that the sidecars of a service send, whatever part of a machine they have."""
    opened, _ = on_moto
    resources = template("service")["Resources"]
    known = {
        "ClusterName": "neuron",
        "ServiceName": "inference",
        "Namespace": "NeuronExporter",
        "TargetUtilization": 60,
    }

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if set(node) == {"Ref"}:
                return known[node["Ref"]]
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(each) for each in node] if isinstance(node, list) else node

    asked = resources["Utilization"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    configuration = resolve(asked)
    place = {
        "ServiceNamespace": "ecs",
        "ScalableDimension": resources["Tasks"]["Properties"]["ScalableDimension"],
        "ResourceId": "service/neuron/inference",
    }
    scaling = opened.application_autoscaling
    scaling.register_scalable_target(**place, MinCapacity=1, MaxCapacity=2)
    scaling.put_scaling_policy(
        **place,
        PolicyName="inference-utilization",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )
    (kept,) = scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
    metric = kept["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    units = {each.name: each.unit for row in CATALOGUE for each in row.cloudwatch}
    assert units[metric["MetricName"]] == metric["Unit"]
    names = ", ".join(each["Name"] for each in metric["Dimensions"])
    for devices in ("0", "all"):
        ours = exporter_of(made("inf1.24xlarge", "inference", "sidecar", devices))
        assert f"[{names}]" in environment_of(ours)[SETS]


def test_alarms_watch_what_a_daemon_publishes() -> None:
    """The committed alarms are on a set of dimensions that the daemon's definition has, and the
    scaling group sends the metric that they read it by."""
    alarms = Stack(committed_alarms(), {"ClusterName": "neuron", "AutoScalingGroupName": "group"})
    sets = environment_of(exporter_of(committed("inf2-daemon")))[SETS]
    groups = set()
    for alarm in alarms.alarms.values():
        stats = [
            each["MetricStat"]["Metric"]
            for each in alarm.get("Metrics", [])
            if "MetricStat" in each
        ]
        for metric in stats or [alarm]:
            if metric["Namespace"] == "AWS/AutoScaling":
                groups.add(metric["MetricName"])
                continue
            names = ", ".join(each["Name"] for each in metric["Dimensions"])
            assert f"[{names}]" in sets
    (collected,) = template("capacity")["Resources"]["Group"]["Properties"]["MetricsCollection"]
    assert groups == set(collected["Metrics"])
    assert collected["Granularity"] == "1Minute"
