"""Warnings about settings that are accepted and surely wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.session import Session

from neuron_exporter.config import Override, load
from neuron_exporter.daemon.reload import reconfigure
from neuron_exporter.pipeline.build import build

ON = {"cloudwatch.enabled": True}


def warnings(keys: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the warnings of these keys without their origin, `test: `."""
    environment = environment or {}
    loaded = load(None, environment, [Override("test", key, keys[key]) for key in keys])
    return [line.removeprefix("test: ") for line in build(loaded, environment=environment).warnings]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"prometheus.enabled": False},
            "prometheus.enabled: nothing is published: prometheus.enabled, cloudwatch.enabled "
            "and otlp.enabled are all false",
        ),
        (
            {"cloudwatch.namespace": "N"},
            "cloudwatch: has no effect: cloudwatch.enabled is not set",
        ),
        (
            {**ON, "cloudwatch.region": "eu-west1"},
            'cloudwatch.region: is not a region of AWS; regions have the form of "us-east-1" (got '
            "'eu-west1')",
        ),
        (
            {**ON, "identity.region": "Frankfurt"},
            'identity.region: is not a region of AWS; regions have the form of "us-east-1" (got '
            "'Frankfurt')",
        ),
        (
            {**ON, "cloudwatch.extra_dimensions": {"InstanceId": "foo", "Stage": "prod"}},
            "cloudwatch.extra_dimensions.InstanceId: all machines with this configuration publish "
            "to the same metrics; without this line, each has its own (got 'foo')",
        ),
        (
            {**ON, "cloudwatch.extra_dimensions": {"Stage": "${STAGE}"}},
            "cloudwatch.extra_dimensions.Stage: ${STAGE} is not replaced, but used as it is",
        ),
        (
            {"identity.cluster": "$(CLUSTER)"},
            "identity.cluster: $(CLUSTER) is not replaced, but used as it is",
        ),
        (
            {**ON, "cloudwatch.flush_interval": "5s", "source.period": "10s"},
            "cloudwatch.flush_interval: is shorter than source.period (10s): most windows have no "
            "readings (got '5s')",
        ),
        (
            {**ON, "cloudwatch.transport": "emf", "cloudwatch.endpoint_url": "http://a"},
            "cloudwatch.endpoint_url: has no effect with transport emf (got 'http://a')",
        ),
        (
            {"source.replay.speed": 0},
            'source.replay: has no effect with source.kind "neuron-monitor"',
        ),
        (
            {"source.command": ["nice", "/opt/neuron-monitor", "--config-file=a"]},
            "source.command: -c has no effect: the exporter configures neuron-monitor itself",
        ),
        (
            {**ON, "cloudwatch.budget.max_metrics": 8},
            "cloudwatch.budget: allows 8 of 10 metrics (3.00 USD a month); not published: "
            "HostMemoryUtilization, HostCpuUtilization in [InstanceId, InstanceType]",
        ),
        (
            {**ON, "cloudwatch.budget.max_monthly_usd": 5.1}
            | {"cloudwatch.dimension_sets": [["InstanceId"], ["PodName"], []]},
            "cloudwatch.budget: allows 17 of 27 metrics (8.10 USD a month); not published: "
            "NeuronDeviceMemoryUtilization, ExecutionsCompleted, ExecutionLatency, "
            "NeuronCoresInUse, EccUncorrected, ExecutionErrors, NeuronCoreUtilization in "
            "[PodName]; HostMemoryUtilization, HostCpuUtilization, "
            "NeuronDeviceMemoryUtilization in [InstanceId]",
        ),
    ],
)
def test_doubtful_settings(keys: dict[str, Any], expected: str) -> None:
    assert warnings(keys) == [expected]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"prometheus.enabled": False, **ON},
        {"cloudwatch.enabled": False, "cloudwatch.namespace": "N"},
        {**ON, "cloudwatch.region": "on-premises", "cloudwatch.endpoint_url": "http://a"},
        {**ON, "cloudwatch.region": "on-premises", "cloudwatch.transport": "emf"},
        {**ON, "cloudwatch.region": "eu-west-1", "identity.region": "Frankfurt"},
        {"identity.region": "Frankfurt"},
        {"source.command": ["sh", "-c", "exec neuron-monitor"]},
        {**ON, "cloudwatch.extra_dimensions": {"InstanceType": "x", "Stage": "$5"}},
        {**ON, "cloudwatch.budget.max_metrics": 10},
        {**ON, "cloudwatch.flush_interval": "1s", "source.kind": "stdin"},
        {"source.kind": "file", "source.path": __file__, "source.replay.speed": 0},
    ],
)
def test_intended_settings(keys: dict[str, Any]) -> None:
    assert warnings(keys) == []


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        (
            "NEURON_EXPORTER_CLOUDWATCH_ENABLED",
            "did you mean NEURON_EXPORTER__CLOUDWATCH__ENABLED?",
        ),
        (
            "NEURON_EXPORTER_CLOUDWATCH__FLUSH_INTERVAL",
            "did you mean NEURON_EXPORTER__CLOUDWATCH__FLUSH_INTERVAL?",
        ),
        ("NEURON_EXPORTER_ECS__AGENT", "did you mean NEURON_EXPORTER_ECS_AGENT?"),
        ("NEURON_EXPORTER_LISTEN_PORT", "variables of keys begin with NEURON_EXPORTER__"),
    ],
)
def test_unknown_variable(variable: str, hint: str) -> None:
    assert warnings({}, {variable: "1"}) == [f"{variable}: unknown variable, ignored; {hint}"]


def test_variables_of_others_are_no_mistakes() -> None:
    service = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "9415",
        "SERVICE_PORT_METRICS": "9415",
        "PORT": "tcp://10.0.0.1:9415",
        "PORT_9415_TCP": "tcp://10.0.0.1:9415",
        "PORT_9415_TCP_PROTO": "tcp",
        "PORT_9415_TCP_PORT": "9415",
        "PORT_9415_TCP_ADDR": "10.0.0.1",
        "LOGS_SERVICE_HOST": "10.0.0.2",
    }
    image = {"RUN_DIRECTORY": "/run", "STARTSECS": "2", "STARTRETRIES": "9", "RETRY_SECONDS": "5"}
    own = {"ECS_AGENT": "127.0.0.1:51678", "KUBELET_SOCKET": "/kubelet.sock"}
    environment = {f"NEURON_EXPORTER_{n}": v for n, v in {**service, **image, **own}.items()}
    assert not [line for line in warnings({}, environment) if "unknown variable" in line]


def test_value_of_the_environment_may_differ_between_machines() -> None:
    name = "NEURON_EXPORTER__CLOUDWATCH__EXTRA_DIMENSIONS"
    assert warnings(ON, {name: "{InstanceId: i-1}"}) == []


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_region_of_the_environment(variable: str) -> None:
    (line,) = warnings(ON, {variable: "us-east1"})
    assert line.startswith(f"{variable}: is not a region of AWS; ")
    assert warnings({**ON, "cloudwatch.region": "us-east-1"}, {variable: "us-east1"}) == []


def test_every_region_of_botocore_is_accepted() -> None:
    session = Session()
    regions = [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("cloudwatch", partition)
    ]
    assert len(regions) > 30
    for region in regions:
        assert warnings({**ON, "cloudwatch.region": region}) == [], region


def test_reload_replaces_warnings() -> None:
    pipeline = build(load(None, {}, [Override("test", "cloudwatch.enabled", True)]), environment={})
    assert not pipeline.warnings
    small = [Override("test", key, value) for key, value in ON.items()]
    small.append(Override("test", "cloudwatch.budget.max_metrics", 5))
    reconfigure(pipeline, load(None, {}, small), environment={})
    (line,) = pipeline.warnings
    assert line.startswith("test: cloudwatch.budget: allows 5 of 10 metrics")
