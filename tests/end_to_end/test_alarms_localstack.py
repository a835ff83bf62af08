"""Alarms evaluated by LocalStack, which creates the stack.

LocalStack evaluates alarms on one metric with a plain statistic, and their composite alarms. It
stores alarms with metric math or a percentile without evaluating them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import boto3
import pytest

from neuron_exporter.generate.alarms.alarms import as_yaml
from tests.support.alarm_templates import (
    COMMITTED,
    FLEET,
    SERVICE,
    committed,
    make_template,
    sidecar,
)
from tests.support.fleet import CREDENTIALS, publish
from tests.support.waiting import wait_for

BUSY = ("--instance-type", "inf2.xlarge", "--scenario", "training")
MINUTES = 20
NOT_EVALUATED = {"Heartbeats", "ErrorRatio", "Latency", "Hang"}


class Account:
    """CloudFormation and CloudWatch of one LocalStack."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cloudformation, self.cloudwatch = (
            boto3.client(
                service,
                region_name="us-east-1",
                endpoint_url=url,
                aws_access_key_id="test",
                aws_secret_access_key="test",  # noqa: S106 (not a real secret)
            )
            for service in ("cloudformation", "cloudwatch")
        )

    def close(self) -> None:
        """Close the clients."""
        self.cloudformation.close()
        self.cloudwatch.close()

    def create(self, name: str, template: str, **parameters: str) -> None:
        """Create a stack, and wait until it is complete."""
        self.cloudformation.create_stack(
            StackName=name, TemplateBody=template, Parameters=_listed(parameters)
        )
        self._wait(name)

    def reevaluate(self, stack: str) -> None:
        """Have each alarm evaluated again: a composite alarm created later misses the first
        change."""
        put = self.cloudwatch.meta.service_model.operation_model("PutMetricAlarm")
        for alarm in self.cloudwatch.describe_alarms(AlarmNamePrefix=f"{stack}-")["MetricAlarms"]:
            if "Statistic" in alarm:
                known = put.input_shape.members.keys() & alarm.keys()
                self.cloudwatch.put_metric_alarm(**{key: alarm[key] for key in known})

    def _wait(self, name: str) -> None:
        def done() -> bool:
            (stack,) = self.cloudformation.describe_stacks(StackName=name)["Stacks"]
            return not stack["StackStatus"].endswith("IN_PROGRESS")

        wait_for(done)
        events = self.cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
        assert not failed, [event.get("ResourceStatusReason") for event in failed]

    def states(self, stack: str) -> dict[str, str]:
        """Return the state of each alarm of a stack, by its key."""
        listed = self.cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        keys = {each["PhysicalResourceId"]: each["LogicalResourceId"] for each in listed}
        found = self.cloudwatch.describe_alarms(
            AlarmNamePrefix=f"{stack}-", AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        return {
            keys[each["AlarmName"]]: each["StateValue"]
            for each in (*found["MetricAlarms"], *found["CompositeAlarms"])
        }


def _listed(parameters: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]


@pytest.fixture
def account(localstack: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """Start one LocalStack with credentials."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    opened = Account(localstack)
    yield opened
    opened.close()


def run(account: Account, cluster: str, *flags: str, minutes: int = MINUTES) -> None:
    """Publish what a machine of a cluster would have sent in the last minutes."""
    start = time.time() // 60 * 60 - minutes * 60
    publish(
        FLEET,
        account.url,
        minutes,
        [(*BUSY, *flags)],
        ("identity.cluster", cluster),
        ("identity.instance_id", f"i-{cluster}"),
        start=start,
    )


def wait_for_state(account: Account, stack: str, wanted: str, *keys: str) -> None:
    """Wait until these alarms, and then their composite alarm, have a state."""

    def have(keys: Iterable[str]) -> bool:
        found = account.states(stack)
        return all(found[key] == wanted for key in keys)

    wait_for(lambda: have(keys))
    account.reevaluate(stack)
    wait_for(lambda: have(keys))
    (composite,) = [key for key in account.states(stack) if key.endswith("Unhealthy")]
    wait_for(lambda: have([*keys, composite]))


def test_healthy_fleet(account: Account) -> None:
    run(account, "well")
    account.create("well", COMMITTED.read_text(), ClusterName="well", ExpectedMachines="1")
    wait_for_state(account, "well", "OK", "DeviceMemory", "UncorrectedEcc")


def test_unhealthy_fleet(account: Account) -> None:
    """Errors and full memory raise their alarms and the composite, unless thresholds allow them."""
    run(account, "ill", "--faults", "ecc-tally,memory-filling")
    known = {"ClusterName": "ill", "ExpectedMachines": "1"}
    account.create("strict", COMMITTED.read_text(), **known)
    wait_for_state(account, "strict", "ALARM", "DeviceMemory", "UncorrectedEcc")
    lenient = committed()
    # LocalStack passes the value of a parameter as text; a default stays a number.
    lenient["Parameters"]["DeviceMemoryPercent"]["Default"] = 99
    lenient["Parameters"]["UncorrectedEccCount"]["Default"] = 1000
    account.create("lenient", as_yaml(lenient), **known)
    wait_for_state(account, "lenient", "OK", "DeviceMemory", "UncorrectedEcc")


@pytest.mark.parametrize(
    ("name", "flags", "wanted"),
    [("alive", (), "OK"), ("dead", ("--faults", "stall@20"), "ALARM")],
)
def test_heartbeat_of_one_machine(
    account: Account, name: str, flags: tuple[str, ...], wanted: str
) -> None:
    run(account, name, *flags)
    template = make_template(FLEET, instance_id=f"i-{name}", instance_type="inf2.xlarge")
    account.create(name, as_yaml(template))
    wait_for_state(account, name, wanted, "Heartbeats")


def test_idle_fleet(account: Account) -> None:
    """An hour without work raises the idle alarm, not the composite."""
    run(account, "lazy", "--scenario", "idle", minutes=90)
    account.create("lazy", COMMITTED.read_text(), ClusterName="lazy", ExpectedMachines="1")
    wait_for(lambda: account.states("lazy")["Idle"] == "ALARM")
    wait_for_state(account, "lazy", "OK", "DeviceMemory", "UncorrectedEcc")


def test_alarms_that_localstack_does_not_evaluate(account: Account) -> None:
    """The tests' own evaluator covers them."""
    account.create("silent", COMMITTED.read_text(), ClusterName="silent", ExpectedMachines="1")
    wait_for_state(account, "silent", "OK", "DeviceMemory", "UncorrectedEcc")
    found = account.states("silent")
    assert {key for key, value in found.items() if value == "INSUFFICIENT_DATA"} == NOT_EVALUATED


def test_alarms_of_tasks(account: Account, tmp_path: Path) -> None:
    """The alarm on heartbeats of tasks is stored; its expression is not evaluated."""
    template = make_template(sidecar(tmp_path), instance_type="inf2.xlarge")
    account.create("tasks", as_yaml(template), **SERVICE)
    found = account.states("tasks").keys()
    assert {"Heartbeats", "NeuronFleetUnhealthy"} <= found
    assert "UncorrectedEcc" not in found
