"""The sidecar of docs/ecs-sidecar.md: its command, and what it publishes."""

from __future__ import annotations

from tests.support.paths import ROOT
from tests.support.validating_endpoint import ValidatingEndpoint

CONFIG = str(ROOT / "ecs" / "sidecar.yaml")

COMMAND = (
    *("task-definition", "--config", CONFIG, "--instance-type", "inf1.xlarge"),
    *("--with", "none", "--launch", "sidecar", "--region", "ap-northeast-1"),
)

METRICS = {"NeuronCoreUtilization", "ExecutionErrors", "ExporterHeartbeat"}


def assert_three_metrics(front: ValidatingEndpoint) -> None:
    """Check that CloudWatch has received exactly these metrics, in one dimension set, and has
    accepted all requests."""
    assert (front.rejected, front.inconsistent) == ([], [])
    assert {each["MetricName"] for each in front.datums()} == METRICS
    sets = {
        tuple(sorted(dimension["Name"] for dimension in each["Dimensions"]))
        for each in front.datums()
    }
    assert sets == {("InstanceId", "InstanceType")}
