"""Alarms that somebody else evaluates: LocalStack creates the stack, and judges what is published.

It judges alarms on one metric with a plain statistic, and composite alarms of such; those with
metric math or a percentile it keeps and leaves alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import boto3
import pytest

from neuron_exporter.generate.alarms.alarms import as_yaml
from tests.support.alarm_templates import COMMITTED, FLEET, committed, made
from tests.support.fleet import CREDENTIALS, publish
from tests.support.waiting import wait_for

BUSY = ("--instance-type", "inf2.xlarge", "--scenario", "training")
MINUTES = 20
NOT_JUDGED = {"Heartbeats", "ErrorRatio", "Latency", "Hang"}


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
                aws_secret_access_key="test",  # noqa: S106 (nobody's)
            )
            for service in ("cloudformation", "cloudwatch")
        )

    def close(self) -> None:
        """Let go of its connections."""
        self.cloudformation.close()
        self.cloudwatch.close()

    def create(self, name: str, template: str, **parameters: str) -> None:
        """Create a stack, and wait until it is."""
        self.cloudformation.create_stack(
            StackName=name, TemplateBody=template, Parameters=_listed(parameters)
        )
        self._wait(name)

    def judge_again(self, stack: str) -> None:
        """Have each alarm judged once more. The composite alarm follows changes only, and may have
        been created after the first."""
        put = self.cloudwatch.meta.service_model.operation_model("PutMetricAlarm")
        for alarm in self.cloudwatch.describe_alarms(AlarmNamePrefix=f"{stack}-")["MetricAlarms"]:
            if "Statistic" in alarm:
                known = put.input_shape.members.keys() & alarm.keys()
                self.cloudwatch.put_metric_alarm(**{key: alarm[key] for key in known})

    def _wait(self, name: str) -> None:
        def done() -> bool:
            (stack,) = self.cloudformation.describe_stacks(StackName=name)["Stacks"]
            return not stack["StackStatus"].endswith("IN_PROGRESS")

        wait_for(done, 30)
        events = self.cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
        assert not failed, [event.get("ResourceStatusReason") for event in failed]

    def states(self, stack: str) -> dict[str, str]:
        """The state of each alarm of a stack, by its key."""
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
    """One LocalStack, and credentials for it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    opened = Account(localstack)
    yield opened
    opened.close()


def run(account: Account, cluster: str, *flags: str, minutes: int = MINUTES) -> None:
    """Let a machine of a cluster publish what it would have in the last minutes."""
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


def judged(account: Account, stack: str, wanted: str, *keys: str) -> None:
    """Wait until these alarms, and then the composite that they are part of, have a state."""

    def have(keys: Iterable[str]) -> bool:
        found = account.states(stack)
        return all(found[key] == wanted for key in keys)

    wait_for(lambda: have(keys), 30)
    account.judge_again(stack)
    wait_for(lambda: have(keys), 30)
    (composite,) = [key for key in account.states(stack) if key.endswith("Unhealthy")]
    wait_for(lambda: have([*keys, composite]), 30)


def test_a_fleet_that_is_well_is_ok(account: Account) -> None:
    """What a healthy exporter publishes raises none of the alarms that are judged."""
    run(account, "well")
    account.create("well", COMMITTED.read_text(), ClusterName="well", ExpectedMachines="1")
    judged(account, "well", "OK", "DeviceMemory", "UncorrectedEcc")


def test_a_fleet_that_is_ill_is_in_alarm(account: Account) -> None:
    """Errors and full memory raise their alarms and the composite, unless the thresholds that the
    stack was given allow them."""
    run(account, "ill", "--faults", "ecc-tally,memory-filling")
    known = {"ClusterName": "ill", "ExpectedMachines": "1"}
    account.create("strict", COMMITTED.read_text(), **known)
    judged(account, "strict", "ALARM", "DeviceMemory", "UncorrectedEcc")
    lenient = committed()
    # LocalStack hands a number that is given on as text; a default stays a number.
    lenient["Parameters"]["DeviceMemoryPercent"]["Default"] = 99
    lenient["Parameters"]["UncorrectedEccCount"]["Default"] = 1000
    account.create("lenient", as_yaml(lenient), **known)
    judged(account, "lenient", "OK", "DeviceMemory", "UncorrectedEcc")


@pytest.mark.parametrize(
    ("name", "flags", "wanted"),
    [("alive", (), "OK"), ("dead", ("--faults", "stall@20"), "ALARM")],
)
def test_a_machine_is_missed(
    account: Account, name: str, flags: tuple[str, ...], wanted: str
) -> None:
    """The heartbeat of one machine is judged: a source that fell silent raises the alarm and the
    machine's composite."""
    run(account, name, *flags)
    template = made(FLEET, instance_id=f"i-{name}", instance_type="inf2.xlarge")
    account.create(name, as_yaml(template))
    judged(account, name, wanted, "Heartbeats")


def test_a_fleet_that_is_idle_costs_money_and_is_well(account: Account) -> None:
    """An hour without work raises the alarm on it, and not the composite."""
    run(account, "lazy", "--scenario", "idle", minutes=90)
    account.create("lazy", COMMITTED.read_text(), ClusterName="lazy", ExpectedMachines="1")
    wait_for(lambda: account.states("lazy")["Idle"] == "ALARM", 30)
    judged(account, "lazy", "OK", "DeviceMemory", "UncorrectedEcc")


def test_what_is_not_judged_is_kept(account: Account) -> None:
    """LocalStack says of no alarm with metric math, and of no percentile, what its state is: those
    are judged by the tests' own evaluator alone."""
    account.create("silent", COMMITTED.read_text(), ClusterName="silent", ExpectedMachines="1")
    judged(account, "silent", "OK", "DeviceMemory", "UncorrectedEcc")
    found = account.states("silent")
    assert {key for key, seen in found.items() if seen == "INSUFFICIENT_DATA"} == NOT_JUDGED
