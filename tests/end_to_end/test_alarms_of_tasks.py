"""Alarms on the sidecars of a service whose tasks share machines (`scope: task`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.alarm_evaluator import PublishedValues, SeriesKey, state, stats
from tests.support.alarm_templates import SERVICE, make_template, sidecar
from tests.support.cloudformation import Stack
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.fleet import CREDENTIALS, PERIOD, START, TASK, publish

BUSY = ("--instance-type", "inf2.xlarge", "--scenario", "training", "--runtimes", "1")
RUNNING = SeriesKey("ECS/ContainerInsights", "RunningTaskCount", frozenset(SERVICE.items()), "None")
MINUTES = 20
STOPS = 10
"""Minutes after which something stops."""


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the configuration of a sidecar whose exporter can be missed."""
    return sidecar(tmp_path)


def stack(config: Path, **parameters: Any) -> Stack:
    """Return the stack of the service's alarms."""
    template = make_template(config, instance_type="inf2.xlarge")
    return Stack(template, {**SERVICE, **parameters})


def published_by(config: Path, *tasks: tuple[float, tuple[str, ...]]) -> PublishedValues:
    """Return what the exporters of these tasks sent: each ran for some minutes, with these flags
    of the simulator."""
    merged = PublishedValues([])
    for minutes, flags in tasks:
        with cloudwatch_endpoint() as endpoint:
            publish(config, endpoint.url, minutes, [(*BUSY, *flags)])
            for identity, values in PublishedValues(endpoint.requests).series.items():
                merged.series[identity] += values
    return merged


def with_running(published: PublishedValues, counts: Mapping[int, float]) -> PublishedValues:
    """Add what Container Insights sends, minute by minute."""
    for minute, count in counts.items():
        published.add(RUNNING, START + 60 * minute, count)
    return published


def raised(stack: Stack, published: PublishedValues, minutes: float = MINUTES) -> list[str]:
    """Return the alarms in ALARM."""
    now = START + 60 * minutes
    return [key for key, alarm in stack.alarms.items() if state(alarm, published, now) == "ALARM"]


TWO = dict.fromkeys(range(MINUTES), 2.0)


def test_working_exporters_raise_nothing(config: Path) -> None:
    published = with_running(published_by(config, (MINUTES, ()), (MINUTES, ())), TWO)
    for minutes in range(6, MINUTES + 1):
        assert raised(stack(config), published, minutes) == []


def test_an_exporter_that_ends_in_a_running_task(config: Path) -> None:
    """Its container is not essential, so that ECS goes on to count the task."""
    published = with_running(published_by(config, (MINUTES, ()), (STOPS, ())), TWO)
    assert raised(stack(config), published, STOPS) == []
    for minutes in (STOPS + 5, MINUTES):
        assert raised(stack(config), published, minutes) == ["Heartbeats"]
        assert raised(stack(config, ExpectedTasks=2), published, minutes) == ["Heartbeats"]


def test_a_silent_neuron_monitor(config: Path) -> None:
    stall = ("--faults", f"stall@{STOPS * 60 // PERIOD}")
    published = with_running(published_by(config, (MINUTES, ()), (MINUTES, stall)), TWO)
    assert raised(stack(config), published) == ["Heartbeats"]


def test_a_task_that_ends_with_its_exporter(config: Path) -> None:
    counts = {minute: 2.0 if minute < STOPS else 1.0 for minute in range(MINUTES)}
    published = with_running(published_by(config, (MINUTES, ()), (STOPS, ())), counts)
    assert raised(stack(config), published) == []


def test_all_exporters_are_down(config: Path) -> None:
    assert raised(stack(config), with_running(PublishedValues([]), TWO)) == ["Heartbeats"]


def test_without_container_insights(config: Path) -> None:
    """The alarm says so, rather than stay OK without a metric; a number replaces the metric."""
    published = published_by(config, (MINUTES, ()), (MINUTES, ()))
    assert raised(stack(config), published) == ["Heartbeats"]
    assert raised(stack(config, ExpectedTasks=2), published) == []


def test_tasks_of_a_family_need_a_number(tmp_path: Path) -> None:
    """Container Insights counts the tasks of services only."""
    config = sidecar(tmp_path, dimension_sets=[["ClusterName", "TaskDefinitionFamily"]])
    template = make_template(config, instance_type="inf2.xlarge")
    assert template["Parameters"]["ExpectedTasks"] == {
        "Type": "Number",
        "MinValue": 1,
        "Description": "Expected number of tasks",
    }
    values = {"ClusterName": "here", "TaskDefinitionFamily": TASK.task_family, "ExpectedTasks": 2}
    of_family = Stack(template, values)
    assert {stat.identity.name for stat in stats(of_family.alarms["Heartbeats"])} == {
        "ExporterHeartbeat"
    }
    assert raised(of_family, published_by(config, (MINUTES, ()), (MINUTES, ()))) == []
    assert raised(of_family, published_by(config, (MINUTES, ()), (STOPS, ()))) == ["Heartbeats"]


@pytest.mark.parametrize("interval", ["10s", "45s", "5m"])
def test_any_interval(tmp_path: Path, interval: str) -> None:
    """A task counts as one at any interval."""
    config = sidecar(tmp_path, flush_interval=interval)
    minutes = 60
    well = published_by(config, (minutes, ()), (minutes, ()))
    ill = published_by(config, (minutes, ()), (STOPS, ()))
    for published, expected in ((well, []), (ill, ["Heartbeats"])):
        with_running(published, dict.fromkeys(range(minutes), 2.0))
        assert raised(stack(config), published, minutes) == expected


# Real servers


@pytest.fixture
def moto_client(moto: str) -> Iterator[Any]:
    """Open CloudWatch of moto."""
    client = boto3.client("cloudwatch", region_name="us-east-1", endpoint_url=moto)
    yield client
    client.close()


def test_moto_accepts_the_alarm_and_has_its_series(
    config: Path, moto: str, moto_client: Any
) -> None:
    alarm = stack(config, ClusterName="moto").alarms["Heartbeats"]
    moto_client.put_metric_alarm(**alarm)
    publish(config, moto, MINUTES, [BUSY], ("identity.cluster", "moto"))
    moto_client.put_metric_data(
        Namespace=RUNNING.namespace,
        MetricData=[
            {
                "MetricName": RUNNING.name,
                "Dimensions": [
                    {"Name": "ClusterName", "Value": "moto"},
                    {"Name": "ServiceName", "Value": TASK.service},
                ],
                "Timestamp": START,
                "Value": 1.0,
            }
        ],
    )
    (kept,) = moto_client.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"]
    queries = [each for each in kept["Metrics"] if "MetricStat" in each]
    assert {each["Id"] for each in queries} == {"tasks", "beats"}
    for query in queries:
        query["ReturnData"] = True
    found = moto_client.get_metric_data(
        MetricDataQueries=queries, StartTime=START, EndTime=START + 60
    )["MetricDataResults"]
    assert {each["Id"]: each["Values"] for each in found} == {"tasks": [1.0], "beats": [1.0]}
