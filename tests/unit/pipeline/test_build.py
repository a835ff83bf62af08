"""Configuration to parts: which parts are built, and all errors beyond the schema at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import ConfigError, LoadedConfig, Override, load
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import Group, Timestamp
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.pipeline.cloudwatch import make_ecc_store
from neuron_exporter.pipeline.source import make_source
from neuron_exporter.source import FileSource, NeuronMonitorSource, StdinSource
from neuron_exporter.text import MAX_MESSAGE_LENGTH
from neuron_exporter.validation import MAX_PROBLEMS
from tests.support.reports import report
from tests.support.source_thread import RecordingListener, running_source
from tests.support.waiting import wait_for

ALONE: dict[str, Any] = {"prometheus.enabled": False, "cloudwatch.enabled": True}
CLOUDWATCH = [metric for row in CATALOGUE for metric in row.cloudwatch]


def loaded(keys: Mapping[str, Any] | None = None) -> LoadedConfig:
    """Load a configuration with these keys, each from a flag of its name."""
    return load(flags=[Override(f"--{key}", key, value) for key, value in (keys or {}).items()])


def built(keys: Mapping[str, Any] | None = None) -> Pipeline:
    """Build the parts for these keys in an empty environment."""
    return build(loaded(keys), environment={})


def problems(keys: Mapping[str, Any]) -> list[str]:
    """Return the errors of these keys."""
    with pytest.raises(ConfigError) as caught:
        built(keys)
    return list(caught.value.problems)


# The parts


def test_default_parts() -> None:
    parts = built()
    assert isinstance(parts.source, NeuronMonitorSource)
    assert parts.prometheus is not None
    assert parts.cloudwatch is None
    assert parts.groups == set(Group)
    assert parts.warnings == ()


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"source.kind": "stdin"}, StdinSource),
        ({"source.kind": "simulator"}, NeuronMonitorSource),
        ({"source.kind": "file", "source.path": __file__}, FileSource),
    ],
)
def test_kind_selects_source(keys: dict[str, Any], kind: type) -> None:
    assert type(built(keys).source) is kind
    assert type(make_source(loaded(keys), CATALOGUE)) is kind


def test_build_opens_no_transport() -> None:
    def connect(region: str) -> Any:
        raise AssertionError(f"connected to {region}")

    parts = build(loaded(ALONE), environment={}, connect=connect)
    assert parts.cloudwatch is not None
    assert parts.prometheus is None


def test_identity_from_configuration_and_environment() -> None:
    parts = build(
        loaded({"identity.instance_id": "i-1", "identity.cluster": "c"}),
        environment={"AWS_REGION": "eu-west-1"},
    )
    machine = parts.identity.machine()
    assert (machine.instance_id, machine.cluster, machine.region) == ("i-1", "c", "eu-west-1")


# The groups


def test_memory_group_is_always_needed() -> None:
    """An idle user of a core is found by its memory, even if no memory metric is published."""
    keys = {"prometheus.exclude": ["*memory*"], "prometheus.preset": "full"}
    assert Group.MEMORY_USED in built(keys).groups


def test_pod_owners_are_cached() -> None:
    parts = built()
    pod = {"pod_name": "p", "namespace": "n", "container_name": ["c"]}
    info = {"period": 5.0, "neuroncores_k8s_info": {"0": pod}, "error": ""}
    line = json.dumps(report(neuron_k8s_info=info)).encode()
    joined = []
    for second in (5, 10):
        parts.processor.on_line(memoryview(line), Timestamp(1_700_000_000 + second, second))
        joined.append(parts.processor._main.collector._owner_resolver._resolved)
    assert joined[0].by_core
    assert joined[0] is joined[1]


@pytest.mark.parametrize(
    ("keys", "groups"),
    [
        ({}, set(Group)),
        (
            {"prometheus.preset": "minimal"},
            set(Group) - {Group.VCPU_USAGE, Group.MEMORY_INFO, Group.RUNTIME_VCPU_USAGE},
        ),
        (
            {"prometheus.preset": "minimal", "prometheus.exclude": ["*ecc*", "execution*"]},
            {
                Group.NEURONCORE_COUNTERS,
                Group.EXECUTION_STATS,
                Group.MEMORY_USED,
                Group.HW_COUNTERS,
            },
        ),
        (
            {**ALONE, "cloudwatch.preset": "minimal"},
            {Group.NEURONCORE_COUNTERS, Group.EXECUTION_STATS, Group.HW_COUNTERS},
        ),
        (
            {**ALONE, "cloudwatch.exclude": [m.name for m in CLOUDWATCH if "Host" not in m.name]},
            {Group.VCPU_USAGE, Group.MEMORY_INFO},
        ),
        (
            {
                "prometheus.preset": "minimal",
                "cloudwatch.enabled": True,
                "cloudwatch.preset": "minimal",
                "cloudwatch.include": ["HostSwapUsed", "RuntimeCpuUser"],
            },
            {
                Group.NEURONCORE_COUNTERS,
                Group.EXECUTION_STATS,
                Group.MEMORY_USED,
                Group.HW_COUNTERS,
                Group.MEMORY_INFO,
                Group.RUNTIME_VCPU_USAGE,
            },
        ),
    ],
)  # fmt: skip
def test_groups_follow_selections(keys: dict[str, Any], groups: set[Group]) -> None:
    assert built(keys).groups == groups


def test_child_gets_only_needed_groups() -> None:
    simulated = {"source.kind": "simulator", "cloudwatch.allow_simulated": True}
    keys = {**ALONE, "cloudwatch.preset": "minimal", **simulated}
    parts, recorder = built(keys), RecordingListener()
    with running_source(parts.source, recorder):
        wait_for(lambda: recorder.lines)
    document = json.loads(recorder.lines[0])
    groups = {*document["system_data"], *document["neuron_runtime_data"][0]["report"]}
    assert groups == {group.value for group in parts.groups}


# Errors


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (
            {"prometheus.include": ["neuroncore_utilisation_ratio"]},
            "--prometheus.include: prometheus.include: matches no metric; did you mean "
            "neuroncore_utilization_ratio",
        ),
        (
            {"cloudwatch.enabled": True, "cloudwatch.exclude": ["neuroncore_utilization_ratio"]},
            "the CloudWatch name is NeuronCoreUtilization (got 'neuroncore_utilization_ratio')",
        ),
        ({"prometheus.exclude": ["*"]}, "prometheus.exclude: leaves no metric (got '*')"),
        (
            {"cloudwatch.namespace": "AWS/Neuron"},
            "--cloudwatch.namespace: cloudwatch.namespace: must be 1 to 255 of the characters",
        ),
        (
            {"cloudwatch.dimension_sets": [["InstanceID"]]},
            "cloudwatch.dimension_sets.0: unknown dimension; did you mean InstanceId",
        ),
        (
            {"cloudwatch.extra_dimensions": {"Team": "ü"}},
            "cloudwatch.extra_dimensions.Team: must be 1 to 1024 printable ASCII",
        ),
        (
            {"cloudwatch.endpoint_url": "localhost:5000"},
            "cloudwatch.endpoint_url: must be a URL that begins with http:// or https://, such as "
            "\"https://monitoring.us-east-1.amazonaws.com\" (got 'localhost:5000')",
        ),
        (
            {"identity.ecs": False, "identity.ecs_services": True},
            "identity.ecs_services: needs identity.ecs (got True)",
        ),
        ({"source.kind": "file"}, 'source.path: is required for source.kind "file"'),
        (
            {"source.kind": "file", "source.path": "nowhere.ndjson"},
            "--source.path: source.path: is not a file (got 'nowhere.ndjson')",
        ),
        (
            {"source.kind": "file", "source.path": str(Path(__file__).parent)},
            "source.path: is not a file",
        ),
        (
            {"source.path": "x"},
            'source.path: is allowed for source.kind "file" only, not for "neuron-monitor" '
            "(got 'x')",
        ),
        (
            {"source.command": ["neuron-monitor --verbose 4"]},
            "source.command: must be a list of words, as in [neuron-monitor, --verbose, 4]",
        ),
        (
            {"prometheus.web_config_file": "web.yaml"},
            "prometheus.web_config_file: web.yaml: cannot be read: No such file or directory",
        ),
    ],
)
def test_error_beyond_the_schema(keys: dict[str, Any], problem: str) -> None:
    (found,) = problems(keys)
    assert problem in found


def test_of_many_errors_the_first_are_listed() -> None:
    found = problems({"prometheus.include": ["x" * 10_000] * (MAX_PROBLEMS + 7)})
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "and 7 more"
    assert max(map(len, found)) <= MAX_MESSAGE_LENGTH


def test_all_errors_at_once() -> None:
    found = problems(
        {
            "prometheus.include": ["zzz"],
            "cloudwatch.enabled": True,
            "cloudwatch.exclude": ["{"],
            "cloudwatch.namespace": ":x",
            "cloudwatch.endpoint_url": "x",
            "cloudwatch.dimension_sets": [["Foo"], ["Bar"]],
            "source.kind": "file",
            "prometheus.web_config_file": "web.yaml",
        }
    )
    assert [line.split(": ")[1] for line in found] == [
        "prometheus.include",
        "cloudwatch.exclude",
        "cloudwatch.namespace",
        "cloudwatch.dimension_sets.0",
        "cloudwatch.dimension_sets.1",
        "cloudwatch.endpoint_url",
        "source.path",
        "prometheus.web_config_file",
    ]


def test_selection_of_disabled_sink_is_not_checked() -> None:
    assert built({"cloudwatch.include": ["NoSuchMetric"]}).cloudwatch is None


def test_make_source_checks_its_section() -> None:
    keys = {"source.kind": "file", "source.path": "nowhere.ndjson"}
    with pytest.raises(ConfigError) as caught:
        make_source(loaded(keys), CATALOGUE)
    assert list(caught.value.problems) == problems(keys)


def test_emf_rejects_dimension_named_like_a_metric() -> None:
    keys = {**ALONE, "cloudwatch.extra_dimensions": {"ExecutionErrors": "x"}}
    assert built(keys).warnings == ()
    (problem,) = problems({**keys, "cloudwatch.transport": "emf"})
    assert "must not be that of a metric" in problem


@pytest.mark.parametrize(
    ("keys", "is_kept"),
    [
        ({}, True),
        ({"source.kind": "simulator"}, False),
        ({"source.command": ["neuron-exporter", "simulate"]}, False),
    ],
)
def test_ecc_readings_that_are_kept(keys: Mapping[str, Any], is_kept: bool) -> None:
    """Not simulated ones: the next exporter would compare them with those of the machine."""
    assert (make_ecc_store(loaded({**ALONE, **keys}).config) is not None) == is_kept
