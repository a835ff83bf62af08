"""Alarms evaluated on the metrics of simulated fleets: healthy ones, and ones with faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.alarm_evaluator import PublishedValues, SeriesKey, state, stats
from tests.support.alarm_templates import (
    CONFIGURATIONS,
    FLEET,
    fleet_stack,
    group_stack,
    machine_stack,
    make_template,
    template_of,
    write,
)
from tests.support.cloudformation import Stack
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.fleet import CREDENTIALS, PERIOD, START, TASK, publish

SMALL = ("--instance-type", "inf2.xlarge")
BUSY = (*SMALL, "--scenario", "training")
GROUP = SeriesKey(
    "AWS/AutoScaling",
    "GroupInServiceInstances",
    frozenset({("AutoScalingGroupName", "machines")}),
    "None",
)
OVER_AN_HOUR = 70
"""Minutes: longer than the evaluation of any alarm."""


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def after(
    minutes: float, *machines: Sequence[str], config: Path = FLEET, settings: Any = ()
) -> PublishedValues:
    """Return what these machines have published after some minutes."""
    with cloudwatch_endpoint() as endpoint:
        publish(config, endpoint.url, minutes, machines, *settings)
        return PublishedValues(endpoint.requests)


def states(stack: Stack, published: PublishedValues, minutes: float) -> dict[str, str]:
    """Return the state of each alarm."""
    now = START + 60 * minutes
    return {key: state(alarm, published, now) for key, alarm in stack.alarms.items()}


@pytest.fixture(scope="module")
def healthy() -> PublishedValues:
    """Run two machines that train for more than an hour."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        return after(OVER_AN_HOUR, BUSY, BUSY)


# The series


def test_series_are_published(healthy: PublishedValues) -> None:
    for stack in (fleet_stack(), machine_stack()):
        for key, alarm in stack.alarms.items():
            for stat in stats(alarm):
                assert healthy.select(stat.identity), f"{key}: {stat.identity}"


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_series_are_published_for_any_configuration(tmp_path: Path, name: str) -> None:
    config, template = template_of(tmp_path, name)
    known = {
        "ClusterName": "here",
        "AutoScalingGroupName": "machines",
        "ServiceName": TASK.service,
        "TaskDefinitionFamily": TASK.task_family,
        "ExpectedTasks": 1,
    }
    own = template["Parameters"].keys()
    stack = Stack(template, {key: value for key, value in known.items() if key in own})
    settings, options = CONFIGURATIONS[name]
    instance_type = options.get("instance_type", "inf2.xlarge")
    minutes = 130 if settings.get("flush_interval") == "1h" else 4
    published = after(
        minutes, ("--instance-type", instance_type, "--scenario", "training"), config=config
    )
    own_series = [
        (key, stat.identity)
        for key, alarm in stack.alarms.items()
        for stat in stats(alarm)
        if stat.identity.namespace == "My/Own"
    ]
    assert len(own_series) >= len(stack.alarms)
    for key, identity in own_series:
        assert published.select(identity), f"{key}: {identity}"


# States


def test_healthy_fleet(healthy: PublishedValues) -> None:
    """Two training machines keep every alarm OK at any time, checkpoints included."""
    stack = fleet_stack()
    for minutes in range(5, OVER_AN_HOUR + 1, 5):
        found = states(stack, healthy, minutes)
        assert found == dict.fromkeys(found, "OK"), f"after {minutes} minutes"


def test_healthy_machine(healthy: PublishedValues) -> None:
    found = states(machine_stack(), healthy, OVER_AN_HOUR)
    assert found == dict.fromkeys(found, "OK")


FAULTS: dict[str, tuple[str, ...]] = {
    "UncorrectedEcc": (*BUSY, "--faults", "ecc-tally"),
    "ErrorRatio": (*BUSY, "--faults", "execution-errors"),
    "Latency": (*BUSY, "--faults", "latency-spikes"),
    "DeviceMemory": (*BUSY, "--faults", "memory-filling"),
    "Hang": (*BUSY, "--faults", "hang"),
    "Idle": (*SMALL, "--scenario", "idle"),
}
"""Simulator options that raise one alarm and no other."""


@pytest.mark.parametrize("key", FAULTS)
def test_fault_raises_only_its_alarm(key: str) -> None:
    published = after(OVER_AN_HOUR, FAULTS[key], FAULTS[key])
    for stack in (fleet_stack(), machine_stack()):
        found = states(stack, published, OVER_AN_HOUR)
        assert [name for name, value in found.items() if value == "ALARM"] == [key]


@pytest.mark.parametrize("key", ["UncorrectedEcc", "ErrorRatio", "DeviceMemory"])
def test_fault_of_one_machine(key: str) -> None:
    published = after(20, FAULTS[key], BUSY)
    assert states(fleet_stack(), published, 20)[key] == "ALARM"


def test_lost_device(tmp_path: Path) -> None:
    """One of two machines with several devices loses one of them."""
    config = write(
        tmp_path,
        {
            "cloudwatch": {
                "enabled": True,
                "dimension_sets": [["InstanceId", "InstanceType"], ["ClusterName"]],
                "include": ["NeuronDevicesExpected", "NeuronDevicesPresent"],
            },
            "identity": {"cluster": "here"},
        },
    )
    large = ("--instance-type", "inf2.24xlarge", "--scenario", "training")
    template = make_template(config, instance_type="inf2.24xlarge")
    stack = Stack(template, {"ClusterName": "here", "ExpectedMachines": 2})
    for faults, expected in (((), "OK"), (("--faults", "lost-device@5"), "ALARM")):
        published = after(30, (*large, *faults), large, config=config)
        assert states(stack, published, 30)["DeviceMissing"] == expected


def test_hang_among_idle_machines() -> None:
    """The alarm reads the busiest core, not the average."""
    idle = (*SMALL, "--scenario", "idle")
    published = after(20, idle, idle, FAULTS["Hang"], idle)
    assert states(fleet_stack(ExpectedMachines=4), published, 20)["Hang"] == "ALARM"


def test_unread_cores_are_not_idle() -> None:
    published = after(OVER_AN_HOUR, BUSY)
    for identity in list(published.series):
        if identity.name == "NeuronCoreUtilization":
            del published.series[identity]
    assert states(fleet_stack(), published, OVER_AN_HOUR)["Idle"] == "OK"


@pytest.mark.parametrize(
    ("key", "script", "when"),
    [
        ("Idle", "- {at: 30m, scenario: idle}", {85: "OK", 95: "ALARM"}),
        ("Hang", "- {at: 20m, fault: hang, for: 25m}", {30: "OK", 40: "ALARM", 55: "OK"}),
        ("UncorrectedEcc", "- {at: 0s, fault: ecc-tally, for: 20m}", {70: "ALARM", 95: "OK"}),
        ("DeviceMemory", "- {at: 20m, fault: memory-filling, for: 7m}", {28: "OK"}),
    ],
)
def test_start_and_end_of_alarms(
    tmp_path: Path, key: str, script: str, when: Mapping[int, str]
) -> None:
    """Short events raise no alarm, alarms end in time, and ECC errors stay visible for an hour."""
    path = tmp_path / "script.yaml"
    path.write_text(script)
    published = after(max(when), (*BUSY, "--script", str(path)))
    stack = fleet_stack(ExpectedMachines=1)
    assert {minutes: states(stack, published, minutes)[key] for minutes in when} == when


# Heartbeats

STOPS = 15
"""Minutes after which something stops."""


def with_group(published: PublishedValues, counts: Mapping[int, float]) -> PublishedValues:
    """Add the scaling group's own metric, minute by minute."""
    for minute, count in counts.items():
        published.add(GROUP, START + 60 * minute, count)
    return published


def until(minutes: float) -> str:
    """Return the number of the first report after some minutes."""
    return str(int(minutes * 60 / PERIOD) + 1)


@pytest.mark.parametrize("ending", ["stall", "crash"])
def test_dead_source(ending: str) -> None:
    """A machine with a silent neuron-monitor sends heartbeat 0 and raises the alarm."""
    published = after(30, BUSY, (*BUSY, "--faults", f"{ending}@{until(STOPS)}"))
    assert states(fleet_stack(), published, STOPS)["Heartbeats"] == "OK"
    for minutes in (STOPS + 6, 30):
        found = states(fleet_stack(), published, minutes)
        assert [key for key, value in found.items() if value == "ALARM"] == ["Heartbeats"]


def test_lost_machine() -> None:
    """It raises the alarm by group and by number, unless the group has scaled in."""
    published = after(30, BUSY)
    with cloudwatch_endpoint() as endpoint:
        publish(FLEET, endpoint.url, STOPS, [BUSY], ("identity.instance_id", "i-gone"))
        gone = PublishedValues(endpoint.requests)
    for identity, values in gone.series.items():
        published.series[identity] += values
    with_group(published, dict.fromkeys(range(30), 2.0))
    for stack in (fleet_stack(), group_stack()):
        assert states(stack, published, STOPS)["Heartbeats"] == "OK"
        assert states(stack, published, STOPS + 2)["Heartbeats"] == "OK"
        assert states(stack, published, STOPS + 5)["Heartbeats"] == "ALARM"
    scaled_in = PublishedValues([])
    scaled_in.series.update(published.series)
    scaled_in.series[GROUP] = []
    with_group(scaled_in, {minute: 2.0 if minute < STOPS else 1.0 for minute in range(30)})
    assert states(group_stack(), scaled_in, 30)["Heartbeats"] == "OK"


def test_no_data_raises_only_the_heartbeat_alarm() -> None:
    silent = with_group(PublishedValues([]), dict.fromkeys(range(30), 2.0))
    for stack in (fleet_stack(), group_stack()):
        found = states(stack, silent, 30)
        assert [key for key, value in found.items() if value == "ALARM"] == ["Heartbeats"]


def test_group_scaled_to_zero() -> None:
    empty = with_group(PublishedValues([]), dict.fromkeys(range(30), 0.0))
    assert states(group_stack(), empty, 30)["Heartbeats"] == "OK"


def test_group_without_metrics(healthy: PublishedValues) -> None:
    assert states(group_stack(), healthy, 30)["Heartbeats"] == "ALARM"


@pytest.mark.parametrize("interval", ["10s", "45s", "60s", "5m"])
def test_heartbeats_for_any_interval(tmp_path: Path, interval: str) -> None:
    """Two machines count as two at any interval and in any allowed period."""
    settings = {"dimension_sets": [["ClusterName"]], "flush_interval": interval}
    config = write(tmp_path, {"cloudwatch": {"enabled": True, **settings}})
    template = make_template(config, instance_type="inf2.xlarge")
    minutes = 60
    published = after(minutes, BUSY, BUSY, config=config)
    one_silent = after(minutes, BUSY, (*BUSY, "--faults", "stall@2"), config=config)
    allowed = template["Parameters"]["HeartbeatsPeriod"]["AllowedValues"]
    for period in (each for each in allowed if 5 * each <= minutes * 60):
        stack = Stack(
            template, {"ClusterName": "here", "ExpectedMachines": 2, "HeartbeatsPeriod": period}
        )
        alarm = stack.alarms["Heartbeats"]
        now = START + minutes * 60
        assert state(alarm, published, now) == "OK", period
        assert state(alarm, one_silent, now) == "ALARM", period


def test_heartbeat_of_one_machine() -> None:
    dead = after(30, (*BUSY, "--faults", f"stall@{until(STOPS)}"))
    assert states(machine_stack(), dead, STOPS)["Heartbeats"] == "OK"
    assert states(machine_stack(), dead, 30)["Heartbeats"] == "ALARM"
    assert states(machine_stack(), PublishedValues([]), 30)["Heartbeats"] == "ALARM"


def test_too_few_executions_keep_the_state() -> None:
    slow = ("--runtimes", "1", "--faults", "latency-spikes")
    with cloudwatch_endpoint() as endpoint:
        publish(FLEET, endpoint.url, 20, [(*BUSY, *slow)])
        published = PublishedValues(endpoint.requests)
    (stat,) = stats(fleet_stack().alarms["Latency"])
    values = published.series[stat.identity]
    published.series[stat.identity] = [(at, value, 1.0) for at, value, _ in values]
    assert states(fleet_stack(), published, 20)["Latency"] == "as before"
