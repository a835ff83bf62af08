"""`alarms`: each one watches a series that is published, and tells the ill from the well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.alarm_templates import (
    CONFIGURATIONS,
    FLEET,
    fleet_stack,
    group_stack,
    machine_stack,
    made,
    template_of,
    write,
)
from tests.support.alarms import Identity, Published, state, stats
from tests.support.cloudformation import Stack
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.fleet import CREDENTIALS, PERIOD, START, publish

SMALL = ("--instance-type", "inf2.xlarge")
BUSY = (*SMALL, "--scenario", "training")
GROUP = Identity(
    "AWS/AutoScaling",
    "GroupInServiceInstances",
    frozenset({("AutoScalingGroupName", "machines")}),
    "None",
)
HOUR_AND_MORE = 70
"""Minutes: as many as the longest of the alarms looks at."""


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def after(
    minutes: float, *machines: Sequence[str], config: Path = FLEET, settings: Any = ()
) -> Published:
    """What these machines have published, that long after the start."""
    with cloudwatch_endpoint() as endpoint:
        publish(config, endpoint.url, minutes, machines, *settings)
        return Published(endpoint.requests)


def states(stack: Stack, published: Published, minutes: float) -> dict[str, str]:
    """The state of each alarm."""
    now = START + 60 * minutes
    return {key: state(alarm, published, now) for key, alarm in stack.alarms.items()}


@pytest.fixture(scope="module")
def healthy() -> Published:
    """Two machines that train, for more than an hour."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        return after(HOUR_AND_MORE, BUSY, BUSY)


# The series


def test_every_series_is_there(healthy: Published) -> None:
    """What an alarm selects by namespace, name, dimensions and unit was just published."""
    for stack in (fleet_stack(), machine_stack()):
        for key, alarm in stack.alarms.items():
            for stat in stats(alarm):
                assert healthy.select(stat.identity), f"{key}: {stat.identity}"


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_series_is_there_whatever_is_configured(tmp_path: Path, name: str) -> None:
    """Namespaces, dimensions and intervals of any configuration are those that are published."""
    config, template = template_of(tmp_path, name)
    known = {"ClusterName": "here", "AutoScalingGroupName": "machines"}
    own = template["Parameters"].keys()
    stack = Stack(template, {key: value for key, value in known.items() if key in own})
    settings, asked = CONFIGURATIONS[name]
    kind = asked.get("instance_type", "inf2.xlarge")
    minutes = 130 if settings.get("flush_interval") == "1h" else 4
    published = after(minutes, ("--instance-type", kind, "--scenario", "training"), config=config)
    own_series = [
        (key, stat.identity)
        for key, alarm in stack.alarms.items()
        for stat in stats(alarm)
        if stat.identity.namespace != GROUP.namespace
    ]
    assert len(own_series) >= len(stack.alarms)
    for key, identity in own_series:
        assert published.select(identity), f"{key}: {identity}"


# The verdicts


def test_a_healthy_fleet_raises_no_alarm(healthy: Published) -> None:
    """Two machines that train for an hour, checkpoints included, leave every alarm OK, at any
    time from the first on which there is enough to see."""
    stack = fleet_stack()
    for minutes in range(5, HOUR_AND_MORE + 1, 5):
        found = states(stack, healthy, minutes)
        assert found == dict.fromkeys(found, "OK"), f"after {minutes} minutes"


def test_a_healthy_machine_raises_no_alarm(healthy: Published) -> None:
    """The alarms on one machine are OK as well."""
    found = states(machine_stack(), healthy, HOUR_AND_MORE)
    assert found == dict.fromkeys(found, "OK")


FAULTS: dict[str, tuple[str, ...]] = {
    "UncorrectedEcc": (*BUSY, "--faults", "ecc-tally"),
    "ErrorRatio": (*BUSY, "--faults", "execution-errors"),
    "Latency": (*BUSY, "--faults", "latency-spikes"),
    "DeviceMemory": (*BUSY, "--faults", "memory-filling"),
    "Hang": (*BUSY, "--faults", "hang"),
    "Idle": (*SMALL, "--scenario", "idle"),
}
"""What goes on in the simulator while an alarm, and no other, is raised."""


@pytest.mark.parametrize("key", FAULTS)
def test_a_fault_raises_its_alarm_and_no_other(key: str) -> None:
    """What the simulator does pushes the published values across the threshold of one alarm, on
    the fleet and on the machine."""
    published = after(HOUR_AND_MORE, FAULTS[key], FAULTS[key])
    for stack in (fleet_stack(), machine_stack()):
        found = states(stack, published, HOUR_AND_MORE)
        assert [name for name, seen in found.items() if seen == "ALARM"] == [key]


@pytest.mark.parametrize("key", ["UncorrectedEcc", "ErrorRatio", "DeviceMemory"])
def test_one_machine_of_the_fleet_is_enough(key: str) -> None:
    """A fault of one machine is not hidden by another that is well."""
    published = after(20, FAULTS[key], BUSY)
    assert states(fleet_stack(), published, 20)[key] == "ALARM"


def test_a_hang_is_seen_among_the_idle() -> None:
    """One machine that hangs is enough where the others have nothing to do: what is busiest counts,
    and not the average."""
    idle = (*SMALL, "--scenario", "idle")
    published = after(20, idle, idle, FAULTS["Hang"], idle)
    assert states(fleet_stack(ExpectedMachines=4), published, 20)["Hang"] == "ALARM"


def test_idle_is_not_what_nobody_reads() -> None:
    """Where the cores are not read, they are not idle."""
    published = after(HOUR_AND_MORE, BUSY)
    for identity in list(published.series):
        if identity.name == "NeuronCoreUtilization":
            del published.series[identity]
    assert states(fleet_stack(), published, HOUR_AND_MORE)["Idle"] == "OK"


@pytest.mark.parametrize(
    ("key", "script", "when"),
    [
        ("Idle", "- {at: 30m, scenario: idle}", {85: "OK", 95: "ALARM"}),
        ("Hang", "- {at: 20m, fault: hang, for: 25m}", {30: "OK", 40: "ALARM", 55: "OK"}),
        ("UncorrectedEcc", "- {at: 0s, fault: ecc-tally, for: 20m}", {70: "ALARM", 95: "OK"}),
        ("DeviceMemory", "- {at: 20m, fault: memory-filling, for: 7m}", {28: "OK"}),
    ],
)
def test_an_alarm_begins_and_ends_in_its_time(
    tmp_path: Path, key: str, script: str, when: Mapping[int, str]
) -> None:
    """What passes soon is no alarm, where it need not be one; what is over ends its alarm; errors
    of memory stay visible for an hour."""
    path = tmp_path / "script.yaml"
    path.write_text(script)
    published = after(max(when), (*BUSY, "--script", str(path)))
    stack = fleet_stack(ExpectedMachines=1)
    assert {minutes: states(stack, published, minutes)[key] for minutes in when} == when


# Heartbeats

STOPS = 15
"""Minutes after which something ends."""


def with_group(published: Published, counts: Mapping[int, float]) -> Published:
    """The scaling group's own metric besides, minute by minute."""
    for minute, count in counts.items():
        published.add(GROUP, START + 60 * minute, count)
    return published


def until(minutes: float) -> str:
    """The number of the report with which something ends."""
    return str(int(minutes * 60 / PERIOD) + 1)


@pytest.mark.parametrize("ending", ["stall", "crash"])
def test_a_dead_source_is_missed(ending: str) -> None:
    """A machine whose neuron-monitor falls silent beats 0, and is missed; the others are not."""
    published = after(30, BUSY, (*BUSY, "--faults", f"{ending}@{until(STOPS)}"))
    assert states(fleet_stack(), published, STOPS)["Heartbeats"] == "OK"
    for minutes in (STOPS + 6, 30):
        found = states(fleet_stack(), published, minutes)
        assert [key for key, seen in found.items() if seen == "ALARM"] == ["Heartbeats"]


def test_a_machine_that_has_gone_is_missed() -> None:
    """A machine that says nothing more is missed by the group's count and by a number, and a group
    that has noticed does not miss it."""
    published = after(30, BUSY)
    with cloudwatch_endpoint() as endpoint:
        publish(FLEET, endpoint.url, STOPS, [BUSY], ("identity.instance_id", "i-gone"))
        gone = Published(endpoint.requests)
    for identity, values in gone.series.items():
        published.series[identity] += values
    with_group(published, dict.fromkeys(range(30), 2.0))
    for stack in (fleet_stack(), group_stack()):
        assert states(stack, published, STOPS)["Heartbeats"] == "OK"
        assert states(stack, published, STOPS + 2)["Heartbeats"] == "OK"
        assert states(stack, published, STOPS + 5)["Heartbeats"] == "ALARM"
    scaled_in = Published([])
    scaled_in.series.update(published.series)
    scaled_in.series[GROUP] = []
    with_group(scaled_in, {minute: 2.0 if minute < STOPS else 1.0 for minute in range(30)})
    assert states(group_stack(), scaled_in, 30)["Heartbeats"] == "OK"


def test_when_nobody_reports_everybody_is_missed() -> None:
    """No data of ours at all raises the alarm, and only this one."""
    silent = with_group(Published([]), dict.fromkeys(range(30), 2.0))
    for stack in (fleet_stack(), group_stack()):
        found = states(stack, silent, 30)
        assert [key for key, seen in found.items() if seen == "ALARM"] == ["Heartbeats"]


def test_a_group_that_is_scaled_to_nothing_is_well() -> None:
    """Where no machine should be, none is missed."""
    empty = with_group(Published([]), dict.fromkeys(range(30), 0.0))
    assert states(group_stack(), empty, 30)["Heartbeats"] == "OK"


def test_a_group_whose_metrics_are_not_collected_is_told(healthy: Published) -> None:
    """Not to know how many machines there should be is no health."""
    assert states(group_stack(), healthy, 30)["Heartbeats"] == "ALARM"


@pytest.mark.parametrize("interval", ["10s", "45s", "60s", "5m"])
def test_heartbeats_are_scaled_to_their_interval(tmp_path: Path, interval: str) -> None:
    """Two machines are two at any interval and in any period that the template allows."""
    settings = {"dimension_sets": [["ClusterName"]], "flush_interval": interval}
    config = write(tmp_path, {"cloudwatch": {"enabled": True, **settings}})
    template = made(config, instance_type="inf2.xlarge")
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


def test_one_machine_is_missed_when_it_is_silent_or_dead() -> None:
    """The alarm on a machine is raised by a heartbeat of 0, and by none."""
    dead = after(30, (*BUSY, "--faults", f"stall@{until(STOPS)}"))
    assert states(machine_stack(), dead, STOPS)["Heartbeats"] == "OK"
    assert states(machine_stack(), dead, 30)["Heartbeats"] == "ALARM"
    assert states(machine_stack(), Published([]), 30)["Heartbeats"] == "ALARM"


def test_too_few_executions_change_nothing() -> None:
    """p99 of less than a thousand executions is left unjudged."""
    slow = ("--runtimes", "1", "--faults", "latency-spikes")
    with cloudwatch_endpoint() as endpoint:
        publish(FLEET, endpoint.url, 20, [(*BUSY, *slow)])
        published = Published(endpoint.requests)
    (stat,) = stats(fleet_stack().alarms["Latency"])
    values = published.series[stat.identity]
    published.series[stat.identity] = [(at, value, 1.0) for at, value, _ in values]
    assert states(fleet_stack(), published, 20)["Latency"] == "as before"
