"""From a configuration to the parts, or to everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import ConfigError, Given, Loaded, load
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import Group, Layout, Moment
from neuron_exporter.pipeline.build import Pipeline, build, make_source, summary
from neuron_exporter.source import FileSource, NeuronMonitorSource, StdinSource
from tests.support.listening import Recorder, running
from tests.support.reports import report
from tests.support.waiting import wait_for

ALONE: dict[str, Any] = {"prometheus.enabled": False, "cloudwatch.enabled": True}
CLOUDWATCH = [metric for row in CATALOGUE for metric in row.cloudwatch]


def loaded(keys: Mapping[str, Any] | None = None) -> Loaded:
    """A configuration that sets these keys, each from a flag of its name."""
    return load(flags=[Given(f"--{key}", key, value) for key, value in (keys or {}).items()])


def built(keys: Mapping[str, Any] | None = None) -> Pipeline:
    """The parts for these keys, in an empty environment."""
    return build(loaded(keys), environment={})


def problems(keys: Mapping[str, Any]) -> list[str]:
    """What is wrong with these keys."""
    with pytest.raises(ConfigError) as caught:
        built(keys)
    return list(caught.value.problems)


# The parts


def test_without_a_configuration_there_is_prometheus_and_nothing_else() -> None:
    """By default neuron-monitor is run, everything is exposed, and nothing is sent anywhere."""
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
def test_the_source_is_the_one_that_was_asked_for(keys: dict[str, Any], kind: type) -> None:
    """source.kind decides where reports come from, also for the commands that need only that."""
    assert type(built(keys).source) is kind
    assert type(make_source(loaded(keys), CATALOGUE)) is kind


def test_botocore_is_not_asked_before_there_is_something_to_send() -> None:
    """Building connects to nothing: `check` works without credentials and without a network."""

    def connect(region: str) -> Any:
        raise AssertionError(f"connected to {region}")

    parts = build(loaded(ALONE), environment={}, connect=connect)
    assert parts.cloudwatch is not None
    assert parts.prometheus is None


def test_the_configured_identity_and_the_environment_are_used() -> None:
    """Who the machine is can be configured; its region may come from AWS's variables."""
    parts = build(
        loaded({"identity.instance_id": "i-1", "identity.cluster": "c"}),
        environment={"AWS_REGION": "eu-west-1"},
    )
    machine = parts.identity.machine()
    assert (machine.instance_id, machine.cluster, machine.region) == ("i-1", "c", "eu-west-1")


# The groups


def test_who_holds_a_core_is_read_from_memory_as_well() -> None:
    """An idle holder is found by its memory, which is asked for even where nobody shows it."""
    keys = {"prometheus.exclude": ["*memory*"], "prometheus.preset": "full"}
    assert Group.MEMORY_USED in built(keys).groups


def test_the_series_of_pods_are_prepared_once() -> None:
    """What the stream says of pods is worked out when it changes, not with every report."""
    parts = built()
    pod = {"pod_name": "p", "namespace": "n", "container_name": ["c"]}
    info = {"period": 5.0, "neuroncores_k8s_info": {"0": pod}, "error": ""}
    line = json.dumps(report(neuron_k8s_info=info)).encode()
    joined = []
    for second in (5, 10):
        parts.intake.line(memoryview(line), Moment(1_700_000_000 + second, second))
        joined.append(parts.intake._main.collector._pods._joined)
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
            {Group.NEURONCORE_COUNTERS, Group.EXECUTION_STATS, Group.MEMORY_USED},
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
def test_only_what_a_sink_publishes_is_asked_of_neuron_monitor(
    keys: dict[str, Any], groups: set[Group]
) -> None:
    """neuron-monitor is spared what nobody wants; what one sink wants is enough."""
    assert built(keys).groups == groups


def test_neuron_monitor_is_really_asked_for_these_groups_only() -> None:
    """The configuration that the child gets is the one that the selections make."""
    keys = {**ALONE, "cloudwatch.preset": "minimal", "source.kind": "simulator"}
    parts, recorder = built(keys), Recorder()
    with running(parts.source, recorder):
        wait_for(lambda: recorder.lines)
    document = json.loads(recorder.lines[0])
    asked = {*document["system_data"], *document["neuron_runtime_data"][0]["report"]}
    assert asked == {group.value for group in parts.groups}


# The problems


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
            "cloudwatch.extra_dimensions.Team: a dimension's value has 1 to 1024 printable ASCII",
        ),
        (
            {"cloudwatch.endpoint_url": "localhost:5000"},
            "cloudwatch.endpoint_url: must begin with http:// or https:// (got 'localhost:5000')",
        ),
        (
            {"identity.ecs": False, "identity.ecs_services": True},
            "identity.ecs_services: needs identity.ecs (got True)",
        ),
        ({"source.kind": "file"}, "source.path: a file source needs the file's path"),
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
            'source.path: is only for source.kind "file", not "neuron-monitor" (got \'x\')',
        ),
        (
            {"source.command": ["neuron-monitor --verbose 4"]},
            "source.command: is a list of words, as in [neuron-monitor, --verbose, 4]",
        ),
        (
            {"prometheus.web_config_file": "web.yaml"},
            "prometheus.web_config_file: web.yaml: cannot be read: No such file or directory",
        ),
    ],
)
def test_what_cannot_work_is_an_error_before_anything_starts(
    keys: dict[str, Any], problem: str
) -> None:
    """Each mistake that only a part can see is named with its place, its key and its value."""
    (found,) = problems(keys)
    assert problem in found


def test_all_parts_complain_at_once() -> None:
    """Selections, CloudWatch and the source tell their mistakes together."""
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


def test_the_selection_of_a_sink_that_is_off_is_not_judged() -> None:
    """What is written for later, in a sink that is switched off, does not stop the start."""
    assert built({"cloudwatch.include": ["NoSuchMetric"]}).cloudwatch is None


def test_the_source_alone_is_judged_in_the_same_way() -> None:
    """`record` tells the same of a source as `check`."""
    keys = {"source.kind": "file", "source.path": "nowhere.ndjson"}
    with pytest.raises(ConfigError) as caught:
        make_source(loaded(keys), CATALOGUE)
    assert list(caught.value.problems) == problems(keys)


def test_emf_is_judged_by_its_own_limits_too() -> None:
    """A dimension that would replace a metric in a document is refused, with emf alone."""
    keys = {**ALONE, "cloudwatch.extra_dimensions": {"ExecutionErrors": "x"}}
    assert built(keys).warnings == ()
    (problem,) = problems({**keys, "cloudwatch.transport": "emf"})
    assert "cannot have the name of a metric" in problem


# What is said


def said(keys: Mapping[str, Any]) -> list[str]:
    """The summary of these keys."""
    return list(summary(built(keys)))


def test_the_summary_tells_what_will_happen() -> None:
    """`check` shows the source with its groups, and each sink with what it publishes where."""
    lines = said(
        {
            "prometheus.preset": "minimal",
            "prometheus.listen": "127.0.0.1:1",
            "cloudwatch.enabled": True,
            "cloudwatch.preset": "minimal",
            "cloudwatch.dimension_sets": [["InstanceId"], []],
        }
    )
    count = sum(1 for row in CATALOGUE if Layout.CORE in row.layouts and row.preset == 1)
    assert lines == [
        "source: neuron-monitor, every 5s: execution_stats, memory_used, neuron_hw_counters, "
        "neuroncore_counters",
        f"prometheus: {count} metrics at 127.0.0.1:1/metrics",
        "cloudwatch: every 1m, in 2 dimension set(s): EccUncorrected, ExecutionErrors, "
        "ExporterHeartbeat, NeuronCoreUtilization",
    ]


def test_a_sink_that_is_off_is_not_in_the_summary() -> None:
    """The summary shows what is on, and nothing else."""
    assert [line.split(":")[0] for line in said(ALONE)] == ["source", "cloudwatch"]
    assert [line.split(":")[0] for line in said({})] == ["source", "prometheus"]
