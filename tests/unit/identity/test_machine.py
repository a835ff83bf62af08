"""Who the machine is: configuration first, then the stream, then the environment."""

from __future__ import annotations

import pytest

from neuron_exporter.identity.machine import Identity
from neuron_exporter.model import Machine
from neuron_exporter.report.schema import InstanceInfo
from tests.support.reports import INSTANCE, decoded, report


def told(**fields: str | None) -> InstanceInfo:
    """What a report says of its instance."""
    info = decoded(report(instance_info=fields)).instance_info
    assert info is not None
    return info


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("instance_id", "instance_id"),
        ("instance_type", "instance_type"),
        ("instance_name", "instance_name"),
        ("instance_availability_zone", "availability_zone"),
        ("instance_region", "region"),
        ("subnet_id", "subnet_id"),
        ("ultraserver_id", "ultraserver_id"),
    ],
)
def test_every_field_of_the_stream_is_learned(key: str, field: str) -> None:
    """What neuron-monitor tells of the instance becomes labels and dimensions."""
    assert getattr(Identity(Machine(), {}).observe(told(**{key: "it"})), field) == "it"


def test_configuration_goes_before_the_stream() -> None:
    """What an operator configures is never overruled by what a report says."""
    configured = Machine(instance_id="mine", region="mine", cluster="c", auto_scaling_group="g")
    machine = Identity(configured, {"AWS_REGION": "theirs"}).observe(told(**INSTANCE))
    assert (machine.instance_id, machine.region) == ("mine", "mine")
    assert (machine.cluster, machine.auto_scaling_group) == ("c", "g")
    assert machine.instance_type == INSTANCE["instance_type"], "the rest is learned"


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        ({}, ""),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
    ],
)
def test_the_region_may_come_from_the_environment(environment: dict[str, str], region: str) -> None:
    """Where nothing else knows the region, AWS's own variables do."""
    identity = Identity(Machine(), environment)
    assert identity.machine().region == region
    assert identity.observe(told(instance_id="i-1")).region == region


def test_the_stream_goes_before_the_environment() -> None:
    """A variable that was set for another purpose does not overrule where the machine is."""
    identity = Identity(Machine(), {"AWS_REGION": "eu-west-1"})
    assert identity.observe(told(instance_region="us-east-1")).region == "us-east-1"


@pytest.mark.parametrize("nothing", ["", "  ", None])
def test_an_empty_field_is_not_known(nothing: str | None) -> None:
    """Empty text is neither a label nor a dimension, and leaves room for who knows more."""
    identity = Identity(Machine(), {"AWS_REGION": "eu-west-1"})
    machine = identity.observe(told(instance_id=nothing, instance_region=nothing))
    assert (machine.instance_id, machine.region) == ("", "eu-west-1")
    assert identity.observe(told(instance_id="i-1")).instance_id == "i-1"


def test_space_around_a_field_is_not_part_of_it() -> None:
    """A name with a stray blank does not make another series."""
    assert Identity(Machine(), {}).observe(told(instance_id=" i-1 ")).instance_id == "i-1"


@pytest.mark.parametrize("info", [None, InstanceInfo(), told(error="no metadata")])
def test_a_report_that_tells_nothing_changes_nothing(info: InstanceInfo | None) -> None:
    """A report without the instance's data is borne, and what was known stays known."""
    identity = Identity(Machine(), {})
    before = identity.observe(told(**INSTANCE))
    assert identity.observe(info) == before
    assert before.instance_id == INSTANCE["instance_id"]


def test_what_was_learned_once_stays() -> None:
    """Labels of running series never change, whatever later reports say."""
    identity = Identity(Machine(), {})
    identity.observe(told(instance_id="i-1"))
    machine = identity.observe(told(instance_id="i-2", instance_type="trn1.2xlarge"))
    assert (machine.instance_id, machine.instance_type) == ("i-1", "trn1.2xlarge")
    assert identity.machine() == machine


def test_reports_without_news_give_the_same_machine() -> None:
    """The machine is the same object while nothing is learned, so that nothing is prepared anew."""
    identity = Identity(Machine(), {})
    machine = identity.observe(told(**INSTANCE))
    assert identity.observe(told(**INSTANCE)) is machine
    assert identity.observe(told(instance_id="i-other")) is machine
