"""The CloudFormation stacks of `ecs/`: linted, and created on moto."""

from __future__ import annotations

import base64
import re
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
from tests.support.stacks import ACCOUNT, TEMPLATES, Account, account, body, template
from tests.support.task_definitions import (
    EXAMPLES,
    committed,
    environment_of,
    exporter_of,
    make_definition,
)

INFERENCE, DAEMON = "neuron-inference-inf2-xlarge:1", "neuron-exporter-inf2-48xlarge:1"
SETS = "NEURON_EXPORTER__CLOUDWATCH__DIMENSION_SETS"

IGNORED = {
    "AWS::ECS::CapacityProvider",
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::EC2::SecurityGroupIngress",  # is created but not listed
}
"""Resource types that moto's CloudFormation does not create."""


@pytest.fixture(scope="module")
def on_moto() -> Iterator[tuple[Account, dict[str, dict[str, str]]]]:
    """Create all stacks in an account, in the order of ecs/README.md; return it and the resources
    of each stack."""
    with account() as opened:
        subnet = opened.ec2.describe_subnets()["Subnets"][0]
        scraper = opened.ec2.create_security_group(GroupName="p", Description="Prometheus")
        stacks = {
            "base": opened.create("base", {"CreateRepositories": "yes"}),
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


def test_cfn_lint() -> None:
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
def test_stack_is_created(on_moto: tuple[Account, dict[str, dict[str, str]]], name: str) -> None:
    _, stacks = on_moto
    declared = {key: each["Type"] for key, each in template(name)["Resources"].items()}
    expected = {key: kind for key, kind in declared.items() if kind not in IGNORED}
    assert {key: kind for key, kind in stacks[name].items() if kind not in IGNORED} == expected


REPOSITORIES = {"neuron-exporter", "neuron-workloads"}


def repositories(opened: Account) -> set[str]:
    """Return the names of the account's ECR repositories."""
    return {each["repositoryName"] for each in opened.ecr.describe_repositories()["repositories"]}


def update_base(opened: Account, **parameters: str) -> None:
    """Update the stack `base`, with the committed template and its defaults otherwise."""
    opened.cloudformation.update_stack(
        StackName="neuron-base",
        TemplateBody=body("base"),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    (updated,) = opened.cloudformation.describe_stacks(StackName="neuron-base")["Stacks"]
    assert updated["StackStatus"] == "UPDATE_COMPLETE"


def test_repositories_created_by_hand(empty_account: Account) -> None:
    """A stack in an account that has the repositories is created and updated without them, and its
    deletion leaves them alone."""
    for name in REPOSITORIES:
        empty_account.ecr.create_repository(repositoryName=name)
    resources = empty_account.create("base", {})
    assert "AWS::ECR::Repository" not in resources.values()
    update_base(empty_account, LogRetentionDays="30")
    empty_account.cloudformation.delete_stack(StackName="neuron-base")
    assert repositories(empty_account) == REPOSITORIES


def test_created_repositories_outlive_their_stack(empty_account: Account) -> None:
    """Neither the stack's deletion nor an update without `CreateRepositories` deletes images."""
    empty_account.create("base", {"CreateRepositories": "yes"})
    assert repositories(empty_account) == REPOSITORIES
    empty_account.cloudformation.delete_stack(StackName="neuron-base")
    assert repositories(empty_account) == REPOSITORIES
    created = [
        each
        for each in template("base")["Resources"].values()
        if each["Type"] == "AWS::ECR::Repository"
    ]
    assert len(created) == 2
    for each in created:  # moto's updates ignore conditions and policies
        assert each["UpdateReplacePolicy"] == "Retain"


def test_what_a_failed_creation_leaves_is_no_obstacle() -> None:
    """What has a fixed name and outlives its stack is deleted if the creation is rolled back;
    otherwise the next one would find it. moto knows neither the policy nor a rollback."""
    retained = [
        each["DeletionPolicy"]
        for name in TEMPLATES
        for each in template(name)["Resources"].values()
        if each.get("DeletionPolicy", "Delete") != "Delete"
    ]
    assert retained == ["RetainExceptOnCreate"] * 3


def test_a_second_stack_uses_the_bucket_of_the_first(empty_account: Account) -> None:
    """A deleted stack leaves the bucket, and the next stack names it without creating it."""
    bucket = f"neuron-models-{ACCOUNT}-us-east-1"
    for parameters in ({}, {"CreateBucket": "no"}):
        assert ("Models" in empty_account.create("base", parameters)) == (not parameters)
        (stack,) = empty_account.cloudformation.describe_stacks(StackName="neuron-base")["Stacks"]
        assert [each["OutputValue"] for each in stack["Outputs"]] == [bucket]
        empty_account.cloudformation.delete_stack(StackName="neuron-base")
        for each in empty_account.iam.list_policies(Scope="Local")["Policies"]:
            empty_account.iam.delete_policy(PolicyArn=each["Arn"])  # moto leaves them
        (left,) = empty_account.s3.list_buckets()["Buckets"]
        assert left["Name"] == bucket


@pytest.mark.parametrize("name", ["service", "daemon"])
@pytest.mark.parametrize(
    ("definition", "is_allowed"),
    [
        ("neuron-inference-inf2-xlarge:12", True),
        ("arn:aws:ecs:us-east-1:123456789012:task-definition/own_Family:1", True),
        ("arn:aws-us-gov:ecs:us-gov-west-1:123456789012:task-definition/own:1", True),
        ("neuron-inference-inf2-xlarge", False),
        ("arn:aws:ecs:us-east-1:123456789012:task-definition/own", False),
        ("own:", False),
        ("own:latest", False),
    ],
)
def test_a_service_needs_a_revision(name: str, definition: str, is_allowed: bool) -> None:
    """With a bare family, a second deployment would find no change. moto checks no patterns."""
    parameter = template(name)["Parameters"]["TaskDefinition"]
    assert bool(re.search(parameter["AllowedPattern"], definition)) == is_allowed
    assert "revision" in parameter["ConstraintDescription"]


def test_task_definitions_use_stack_resources(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
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
            targets = [word for word in container.get("command", []) if word.startswith("s3:")]
            assert all(target.startswith(f"s3://{bucket['Name']}/") for target in targets)
    assert group["retentionInDays"] == 14


def test_launch_template(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
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
    user_data = base64.b64decode(data["UserData"]).decode().splitlines()
    assert {"ECS_CLUSTER=neuron", "ECS_RESERVED_MEMORY=512"} <= set(user_data)


def test_security_group_admits_prometheus_only(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
    opened, _ = on_moto
    groups = opened.ec2.describe_security_groups()["SecurityGroups"]
    (scraper,) = [each["GroupId"] for each in groups if each["Description"] == "Prometheus"]
    (machines,) = [each for each in groups if each["Description"].startswith("Neuron machines")]
    rules = machines["IpPermissions"]
    assert {(each["FromPort"], each["ToPort"]) for each in rules} == {(9415, 9415), (32768, 65535)}
    for each in rules:
        assert [pair["GroupId"] for pair in each["UserIdGroupPairs"]] == [scraper]
        assert each["IpRanges"] == each["Ipv6Ranges"] == []


def test_instance_types_parameter() -> None:
    allowed = template("capacity")["Parameters"]["InstanceType"]["AllowedValues"]
    assert allowed == [
        name for name, row in INSTANCE_TYPES.items() if row.devices and row.confirmed
    ]


def test_services(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
    """moto keeps neither the placement constraint nor the strategy of a stack's service."""
    opened, _ = on_moto
    services = opened.ecs.describe_services(
        cluster="neuron", services=["inference", "neuron-exporter"]
    )["services"]
    by_name = {each["serviceName"]: each for each in services}
    assert by_name["inference"]["taskDefinition"].endswith(INFERENCE)
    assert by_name["neuron-exporter"]["taskDefinition"].endswith(DAEMON)
    service, daemon = (
        template(name)["Resources"]["Service"]["Properties"] for name in ("service", "daemon")
    )
    assert service["PlacementConstraints"] == [{"Type": "distinctInstance"}]
    assert daemon["SchedulingStrategy"] == "DAEMON"


def test_scaling_metric_is_published(
    on_moto: tuple[Account, dict[str, dict[str, str]]],
) -> None:
    opened, _ = on_moto
    resources = template("service")["Resources"]
    parameters = {
        "ClusterName": "neuron",
        "ServiceName": "inference",
        "Namespace": "NeuronExporter",
        "TargetUtilization": 60,
    }

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if set(node) == {"Ref"}:
                return parameters[node["Ref"]]
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(each) for each in node] if isinstance(node, list) else node

    policy = resources["Utilization"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    configuration = resolve(policy)
    target = {
        "ServiceNamespace": "ecs",
        "ScalableDimension": resources["Tasks"]["Properties"]["ScalableDimension"],
        "ResourceId": "service/neuron/inference",
    }
    scaling = opened.application_autoscaling
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=2)
    scaling.put_scaling_policy(
        **target,
        PolicyName="inference-utilization",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )
    (saved,) = scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
    metric = saved["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    units = {each.name: each.unit for row in CATALOGUE for each in row.cloudwatch}
    assert units[metric["MetricName"]] == metric["Unit"]
    names = ", ".join(each["Name"] for each in metric["Dimensions"])
    for devices in ("0", "all"):
        exporter = exporter_of(make_definition("inf1.24xlarge", "inference", "sidecar", devices))
        assert f"[{names}]" in environment_of(exporter)[SETS]


def test_alarm_metrics_are_published() -> None:
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
