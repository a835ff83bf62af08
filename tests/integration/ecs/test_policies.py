"""What the roles of `ecs/` may do, and what they may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.documents import block
from tests.support.policies import allows, policy
from tests.support.stacks import template

HERE = "us-east-1:123456789012"
CLUSTER = f"arn:aws:ecs:{HERE}:cluster/neuron"
TASK = f"arn:aws:ecs:{HERE}:task/neuron/0123"
OURS = f"arn:aws:ecr:{HERE}:repository/neuron-exporter"
STREAM = (
    f"arn:aws:logs:{HERE}:log-group:/ecs/neuron:log-stream:neuron-exporter/neuron-exporter/0123"
)
BUCKET = "arn:aws:s3:::neuron-models-123456789012-us-east-1"
MODEL = f"{BUCKET}/model.pt"

OTLP, SERVICE_NAMES = (
    {"Fn::If": [condition, {"Ref": policy}, {"Ref": "AWS::NoValue"}]}
    for condition, policy in (("SendsOtlp", "PublishOtlp"), ("ReadsServiceNames", "ServiceNames"))
)

Request = tuple[str, str, dict[str, str]]

ALLOWED: dict[str, list[Request]] = {
    "publish": [("cloudwatch:PutMetricData", "*", {"cloudwatch__namespace": "NeuronExporter"})],
    "publish-otlp": [("cloudwatch:PutMetricData", "*", {})],
    "service-names": [("ecs:DescribeTasks", TASK, {"ecs__cluster": CLUSTER})],
    "start-tasks": [
        ("ecr:GetAuthorizationToken", "*", {}),
        ("ecr:BatchGetImage", OURS, {}),
        ("ecr:GetDownloadUrlForLayer", f"arn:aws:ecr:{HERE}:repository/neuron-workloads", {}),
        ("logs:CreateLogStream", STREAM, {}),
        ("logs:PutLogEvents", STREAM, {}),
    ],
    "read-models": [("s3:GetObject", MODEL, {}), ("s3:ListBucket", BUCKET, {})],
    "write-models": [
        ("s3:PutObject", MODEL, {}),
        ("s3:AbortMultipartUpload", MODEL, {}),
        ("s3:DeleteObject", MODEL, {}),
    ],
}

REFUSED: dict[str, list[Request]] = {
    "publish": [
        ("cloudwatch:PutMetricData", "*", {"cloudwatch__namespace": "AWS/EC2"}),
        ("cloudwatch:PutMetricData", "*", {"cloudwatch__namespace": "NeuronExporter2"}),
        ("cloudwatch:PutMetricData", "*", {}),
        ("cloudwatch:GetMetricData", "*", {"cloudwatch__namespace": "NeuronExporter"}),
        ("cloudwatch:DeleteAlarms", "*", {"cloudwatch__namespace": "NeuronExporter"}),
        ("ecs:DescribeTasks", TASK, {"ecs__cluster": CLUSTER}),
    ],
    "publish-otlp": [
        ("cloudwatch:GetMetricData", "*", {}),
        ("cloudwatch:PutMetricAlarm", "*", {}),
        ("cloudwatch:DeleteAlarms", "*", {}),
    ],
    "service-names": [
        ("ecs:DescribeTasks", TASK, {"ecs__cluster": f"{CLUSTER}-2"}),
        ("ecs:DescribeTasks", TASK, {}),
        (
            "ecs:DescribeTasks",
            f"arn:aws:ecs:{HERE}:task/neuron-2/0123",
            {"ecs__cluster": CLUSTER},
        ),
        ("ecs:StopTask", TASK, {"ecs__cluster": CLUSTER}),
        ("ecs:DescribeServices", TASK, {"ecs__cluster": CLUSTER}),
    ],
    "start-tasks": [
        ("ecr:BatchGetImage", f"arn:aws:ecr:{HERE}:repository/somebody-elses", {}),
        ("ecr:PutImage", OURS, {}),
        ("logs:PutLogEvents", STREAM.replace("/ecs/neuron", "/ecs/other"), {}),
        ("logs:CreateLogGroup", STREAM, {}),
        ("logs:GetLogEvents", STREAM, {}),
    ],
    "read-models": [
        ("s3:GetObject", MODEL.replace("models", "secrets"), {}),
        ("s3:PutObject", MODEL, {}),
        ("s3:DeleteObject", MODEL, {}),
        ("s3:ListBucket", f"{BUCKET}-2", {}),
    ],
    "write-models": [
        ("s3:GetObject", MODEL, {}),
        ("s3:DeleteObject", MODEL.replace("models", "secrets"), {}),
        ("s3:DeleteBucket", BUCKET, {}),
        ("s3:PutBucketPolicy", BUCKET, {}),
    ],
}


def _cases(table: dict[str, list[Request]]) -> list[Any]:
    return [
        pytest.param(name, *request, id=f"{name}-{number}")
        for name, requests in table.items()
        for number, request in enumerate(requests)
    ]


@pytest.mark.parametrize(("name", "action", "resource", "context"), _cases(ALLOWED))
def test_what_is_needed_is_allowed(
    name: str, action: str, resource: str, context: dict[str, str]
) -> None:
    """Whoever has the policy can do its work."""
    assert allows(policy(name), action, resource, **context)


@pytest.mark.parametrize(("name", "action", "resource", "context"), _cases(REFUSED))
def test_what_is_not_needed_is_refused(
    name: str, action: str, resource: str, context: dict[str, str]
) -> None:
    """And nothing besides: no other namespace, cluster, repository, group, bucket or action."""
    assert not allows(policy(name), action, resource, **context)


def test_the_documented_policy_is_that_of_the_stack() -> None:
    assert json.loads(block("docs/cloudwatch.md", "json", "PutMetricData")) == policy("publish")
    assert json.loads(block("docs/otlp.md", "json", "PutMetricData")) == policy("publish-otlp")


@pytest.mark.parametrize(
    ("role", "policies"),
    [
        ("ExecutionRole", [{"Ref": "StartTasks"}]),
        ("InferenceRole", [{"Ref": "Publish"}, OTLP, {"Ref": "ReadModels"}]),
        ("CompileRole", [{"Ref": "Publish"}, OTLP, {"Ref": "WriteModels"}]),
        ("ExporterRole", [{"Ref": "Publish"}, OTLP, SERVICE_NAMES]),
    ],
)
def test_a_role_has_these_policies_and_no_other(role: str, policies: list[Any]) -> None:
    """A task has what its containers need: to publish, and its part of the bucket."""
    properties = template("base")["Resources"][role]["Properties"]
    assert properties["ManagedPolicyArns"] == policies
    assert "Policies" not in properties


def test_further_rights_are_given_on_request() -> None:
    """The rights to ask ECS, and to send metrics without a namespace."""
    parameters = template("base")["Parameters"]
    assert parameters["ReadServiceNames"]["Default"] == "no"
    assert parameters["SendOtlp"]["Default"] == "no"
