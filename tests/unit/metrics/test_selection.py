"""Selection of a sink's metrics by presets and patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import (
    select_for_cloudwatch,
    select_for_prometheus,
)
from neuron_exporter.model import Layout, MetricSpec, Preset, Selection
from neuron_exporter.sinks.prometheus import PrometheusSink
from neuron_exporter.validation import SettingProblem
from tests.support.reports import Harness, cores, memory, report, runtime

Choose = Callable[[str, Sequence[str], Sequence[str]], tuple[Selection, list[SettingProblem]]]

PRESETS = ("minimal", "standard", "full")
STANDARD_IN_CLOUDWATCH = {
    "EccUncorrected",
    "ExecutionErrors",
    "ExecutionLatency",
    "ExecutionsCompleted",
    "ExporterHeartbeat",
    "HostCpuUtilization",
    "HostMemoryUtilization",
    "NeuronCoreUtilization",
    "NeuronCoresInUse",
    "NeuronDeviceMemoryUtilization",
}


def names(selection: Selection) -> set[str]:
    """Return the Prometheus names of a selection's rows."""
    return {row.name for row in selection.rows}


def exposed(include: list[str], exclude: list[str], preset: str = "minimal") -> set[str]:
    """Return the series of four used cores in the exposition, as `name core`."""
    selection, problems = select_for_prometheus(preset, include, exclude)
    assert problems == []
    used = memory({str(core): {"tensors": 1} for core in range(4)})
    snapshot = (
        Harness()
        .collect(report(runtime(neuroncore_counters=cores(_0=50, _1=50), memory_used=used)))
        .snapshot
    )
    sink = PrometheusSink(selection)
    sink.offer(snapshot)
    families = text_string_to_metric_families(sink.expose(snapshot.taken_at.monotonic).decode())
    return {
        f"{sample.name} {sample.labels.get('neuroncore', '-')}"
        for family in families
        for sample in family.samples
    }


def problem(sink: str, key: str, entry: str) -> str:
    """Return the error message of a pattern."""
    choose: Choose = select_for_prometheus if sink == "prometheus" else select_for_cloudwatch
    lists: dict[str, list[str]] = {"include": [], "exclude": [], key: [entry]}
    _, problems = choose("minimal", lists["include"], lists["exclude"])
    (found,) = problems
    assert (found.key, found.value) == (key, entry)
    return found.message


@pytest.mark.parametrize("choose", [select_for_prometheus, select_for_cloudwatch])
def test_presets_contain_smaller_ones(choose: Choose) -> None:
    minimal, standard, full = (choose(preset, [], [])[0] for preset in PRESETS)
    assert names(minimal) < names(standard) < names(full)
    assert minimal.names <= standard.names <= full.names


@pytest.mark.parametrize("choose", [select_for_prometheus, select_for_cloudwatch])
def test_include_is_an_allow_list_without_a_preset(choose: Choose) -> None:
    name = {
        select_for_prometheus: "neuroncore_utilization_ratio",
        select_for_cloudwatch: "NeuronCoreUtilization",
    }[choose]
    selection, problems = choose("none", [name], [])
    assert (names(selection), problems) == ({"neuroncore_utilization_ratio"}, [])
    assert choose("none", [], [])[1] == [
        SettingProblem(
            "include", "[]", "must name the metrics to publish, since the preset is none"
        )
    ]


def test_heartbeat_of_a_task_must_be_included() -> None:
    """No preset has it, since each of several sidecars on a machine would publish it."""
    without, _ = select_for_cloudwatch("full", [], [], task_scope=True)
    assert "ExporterHeartbeat" not in without.names
    included, problems = select_for_cloudwatch("none", ["ExporterHeartbeat"], [], task_scope=True)
    assert (included.names, problems) == ({"ExporterHeartbeat"}, [])


def test_full_preset() -> None:
    """It has every metric of the layout, except those that only `include` selects."""
    for layout in Layout:
        offered = {row for row in CATALOGUE if layout in row.layouts}
        asked_for = {row for row in offered if row.preset is Preset.NONE}
        assert set(select_for_prometheus("full", [], [], layout)[0].rows) == offered - asked_for
        assert set(select_for_prometheus("full", ["*"], [], layout)[0].rows) == offered
    sent, _ = select_for_cloudwatch("full", [], [])
    assert sent.names == {metric.name for row in CATALOGUE for metric in row.cloudwatch}


def test_standard_preset_of_cloudwatch() -> None:
    """Each metric costs money on every machine, so that none may slip in."""
    assert select_for_cloudwatch("standard", [], [])[0].names == STANDARD_IN_CLOUDWATCH


def test_include_adds_and_exclude_wins() -> None:
    added, _ = select_for_prometheus("minimal", ["system_memory_*"], [])
    assert names(added) - names(select_for_prometheus("minimal", [], [])[0]) == {
        "system_memory_total_bytes",
        "system_memory_used_bytes",
    }
    both, _ = select_for_prometheus("minimal", ["system_memory_*"], ["*_used_bytes"])
    assert "system_memory_total_bytes" in names(both)
    assert "system_memory_used_bytes" not in names(both)


def test_cloudwatch_metrics_are_selected_by_cloudwatch_names() -> None:
    selection, _ = select_for_cloudwatch("minimal", ["Host*"], ["HostCpu*", "ExporterHeartbeat"])
    added = selection.names - select_for_cloudwatch("minimal", [], [])[0].names
    assert added == {"HostMemoryUsed", "HostMemoryUtilization", "HostSwapUsed"}
    assert "ExporterHeartbeat" not in selection.names


def test_labels_select_series() -> None:
    added = exposed(['neuroncore_memory_usage_tensors{neuroncore="[12]"}'], [])
    assert {each for each in added if each.startswith("neuroncore_memory_usage")} == {
        "neuroncore_memory_usage_tensors 1",
        "neuroncore_memory_usage_tensors 2",
    }
    left = exposed([], ['neuroncore_*{neuroncore="0"}'])
    assert "neuroncore_utilization_ratio 1" in left
    assert "neuroncore_utilization_ratio 0" not in left


def test_include_with_labels_removes_nothing() -> None:
    assert exposed(['neuroncore_utilization_ratio{neuroncore="0"}'], []) == exposed([], [])


def test_exclude_with_labels_wins_over_include() -> None:
    entry = 'neuroncore_memory_usage_tensors{neuroncore="1"}'
    assert "neuroncore_memory_usage_tensors 1" not in exposed([entry], [entry])


@pytest.mark.parametrize("key", ["include", "exclude"])
@pytest.mark.parametrize(
    ("sink", "entry", "message"),
    [
        ("prometheus", "neuroncore_utilisation_ratio", "did you mean neuroncore_utilization_ratio"),
        ("prometheus", "NEURONCORE_UTILIZATION_RATIO", "did you mean neuroncore_utilization_ratio"),
        (
            "prometheus",
            "NeuronCoreUtilization",
            "matches no metric; the Prometheus name is neuroncore_utilization_ratio",
        ),
        (
            "cloudwatch",
            "neuroncore_utilization_ratio",
            "matches no metric; the CloudWatch name is NeuronCoreUtilization",
        ),
        ("cloudwatch", "neuroncoreutilization", "did you mean NeuronCoreUtilization"),
        ("prometheus", "zzz*", "matches no metric; `neuron-exporter metrics` lists them"),
        ("prometheus", "", 'must be a metric name or glob, as in neuroncore_*{neuroncore="1?"}'),
        ("prometheus", "*{neuroncore=1}", "must be a metric name or glob"),
        ("prometheus", "*{neuroncore='1'}", "must be a metric name or glob"),
        ("prometheus", 'neuroncore_*{neuroncore="1"', "must be a metric name or glob"),
        ("cloudwatch", "}{", "must be a metric name or glob, as in NeuronCore*"),
        (
            "prometheus",
            'neuroncore_utilization_ratio{core="1"}',
            "has no label core; its labels are container, namespace, neuroncore, pod",
        ),
        ("prometheus", 'system_vcpu_count{neuroncore="1"}', "has no label neuroncore"),
        ("cloudwatch", 'NeuronCore*{neuroncore="1"}', "a CloudWatch metric pools all series"),
    ],
)
def test_unusable_pattern_is_an_error(sink: str, key: str, entry: str, message: str) -> None:
    assert message in problem(sink, key, entry)


def test_all_unusable_patterns_are_reported() -> None:
    _, problems = select_for_prometheus("full", ["a{", "zzz"], ["{", "*"])
    assert [each[:2] for each in problems] == [
        ("include", "a{"),
        ("include", "zzz"),
        ("exclude", "{"),
    ]


@pytest.mark.parametrize("choose", [select_for_prometheus, select_for_cloudwatch])
def test_empty_selection_is_an_error(choose: Choose) -> None:
    _, problems = choose("full", [], ["*"])
    assert problems == [SettingProblem("exclude", "*", "leaves no metric")]


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_every_metric_can_be_selected_alone(row: MetricSpec) -> None:
    for layout in row.layouts:
        offered = [each.name for each in CATALOGUE if layout in each.layouts]
        rest = [name for name in offered if name != row.name]
        assert select_for_prometheus("full", [row.name], rest, layout)[0].rows == (row,)
    for metric in row.cloudwatch:
        rest = [m.name for each in CATALOGUE for m in each.cloudwatch if m.name != metric.name]
        assert select_for_cloudwatch("full", [], rest)[0].names == {metric.name}
