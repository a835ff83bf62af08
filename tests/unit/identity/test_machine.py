"""The identity of the machine, merged field by field from its sources."""

from __future__ import annotations

import pytest

from neuron_exporter.identity.machine import Identity, IdentitySource
from neuron_exporter.model import Machine
from neuron_exporter.report.schema import InstanceInfo
from tests.support.reports import INSTANCE, decode_document, report


def instance_info(**fields: str | None) -> InstanceInfo:
    """Return a report's `instance_info` with these fields."""
    info = decode_document(report(instance_info=fields)).instance_info
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
def test_stream_fields(key: str, field: str) -> None:
    assert getattr(Identity(Machine(), {}).observe(instance_info(**{key: "it"})), field) == "it"


def test_configuration_overrides_stream() -> None:
    configured = Machine(instance_id="mine", region="mine", cluster="c", auto_scaling_group="g")
    machine = Identity(configured, {"AWS_REGION": "theirs"}).observe(instance_info(**INSTANCE))
    assert (machine.instance_id, machine.region) == ("mine", "mine")
    assert (machine.cluster, machine.auto_scaling_group) == ("c", "g")
    assert machine.instance_type == INSTANCE["instance_type"], "other fields come from the stream"


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
def test_region_from_environment(environment: dict[str, str], region: str) -> None:
    identity = Identity(Machine(), environment)
    assert identity.machine().region == region
    assert identity.observe(instance_info(instance_id="i-1")).region == region


def test_stream_overrides_environment() -> None:
    identity = Identity(Machine(), {"AWS_REGION": "eu-west-1"})
    assert identity.observe(instance_info(instance_region="us-east-1")).region == "us-east-1"


@pytest.mark.parametrize("nothing", ["", "  ", None])
def test_empty_field_is_unknown(nothing: str | None) -> None:
    identity = Identity(Machine(), {"AWS_REGION": "eu-west-1"})
    machine = identity.observe(instance_info(instance_id=nothing, instance_region=nothing))
    assert (machine.instance_id, machine.region) == ("", "eu-west-1")
    assert identity.observe(instance_info(instance_id="i-1")).instance_id == "i-1"


def test_whitespace_is_stripped() -> None:
    assert Identity(Machine(), {}).observe(instance_info(instance_id=" i-1 ")).instance_id == "i-1"


@pytest.mark.parametrize("info", [None, InstanceInfo(), instance_info(error="no metadata")])
def test_report_without_identity(info: InstanceInfo | None) -> None:
    """A report without `instance_info`, or with an error in it, changes nothing."""
    identity = Identity(Machine(), {})
    before = identity.observe(instance_info(**INSTANCE))
    assert identity.observe(info) == before
    assert before.instance_id == INSTANCE["instance_id"]


def test_known_field_never_changes() -> None:
    identity = Identity(Machine(), {})
    identity.observe(instance_info(instance_id="i-1"))
    machine = identity.observe(instance_info(instance_id="i-2", instance_type="trn1.2xlarge"))
    assert (machine.instance_id, machine.instance_type) == ("i-1", "trn1.2xlarge")
    assert identity.machine() == machine


def test_unchanged_machine_is_same_object() -> None:
    """Consumers rely on identity to reuse what they prepared for a machine."""
    identity = Identity(Machine(), {})
    machine = identity.observe(instance_info(**INSTANCE))
    assert identity.observe(instance_info(**INSTANCE)) is machine
    assert identity.observe(instance_info(instance_id="i-other")) is machine


def test_precedence_of_sources() -> None:
    """The source with the highest precedence wins per field, whenever it reports."""
    identity = Identity(Machine(), {})
    expected = ""
    for source in reversed(IdentitySource):
        identity.update(source, Machine(cluster=source.name))
        identity.update(source, Machine(cluster="changed", service=f"{source.name} only"))
        expected = source.name
        assert identity.machine().cluster == expected
    assert expected == "CONFIGURATION"
    identity = Identity(Machine(), {})
    identity.update(IdentitySource.STREAM, Machine(region="a"))
    assert identity.update(IdentitySource.ECS, Machine(region="b", cluster="c")) == Machine(
        region="a", cluster="c"
    )
