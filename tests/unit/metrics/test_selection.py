"""Which metrics a sink publishes: presets, what is added, what is taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import Problem, for_cloudwatch, for_prometheus
from neuron_exporter.model import Layout, MetricSpec, Preset, Selection
from neuron_exporter.sinks.prometheus import PrometheusSink
from tests.support.reports import Bench, cores, memory, report, runtime

Choose = Callable[[str, Sequence[str], Sequence[str]], tuple[Selection, list[Problem]]]

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
    """The Prometheus names of a selection's rows."""
    return {row.name for row in selection.rows}


def exposed(include: list[str], exclude: list[str], preset: str = "minimal") -> set[str]:
    """The series that Prometheus is shown of four cores that one runtime holds, as `name core`."""
    selection, problems = for_prometheus(preset, include, exclude)
    assert problems == []
    held = memory({str(core): {"tensors": 1} for core in range(4)})
    snapshot = (
        Bench()
        .collect(report(runtime(neuroncore_counters=cores(_0=50, _1=50), memory_used=held)))
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
    """What is said about one entry."""
    choose: Choose = for_prometheus if sink == "prometheus" else for_cloudwatch
    lists: dict[str, list[str]] = {"include": [], "exclude": [], key: [entry]}
    _, problems = choose("minimal", lists["include"], lists["exclude"])
    (found,) = problems
    assert (found.key, found.given) == (key, entry)
    return found.message


@pytest.mark.parametrize("choose", [for_prometheus, for_cloudwatch])
def test_each_preset_holds_the_ones_before_it(choose: Choose) -> None:
    """Changing to a larger preset never loses a metric, and brings some."""
    minimal, standard, full = (choose(preset, [], [])[0] for preset in PRESETS)
    assert names(minimal) < names(standard) < names(full)
    assert minimal.names <= standard.names <= full.names


def test_the_full_preset_is_everything() -> None:
    """Prometheus is shown every row that has its layout, except for what has to be asked for by
    name; CloudWatch's full preset has no hole."""
    for layout in Layout:
        offered = {row for row in CATALOGUE if layout in row.layouts}
        asked_for = {row for row in offered if row.preset is Preset.NONE}
        assert set(for_prometheus("full", [], [], layout)[0].rows) == offered - asked_for
        assert set(for_prometheus("full", ["*"], [], layout)[0].rows) == offered
    sent, _ = for_cloudwatch("full", [], [])
    assert sent.names == {metric.name for row in CATALOGUE for metric in row.cloudwatch}


def test_the_standard_preset_of_cloudwatch_is_ten_metrics() -> None:
    """Each of these costs money every month on every machine: no other slips in."""
    assert for_cloudwatch("standard", [], [])[0].names == STANDARD_IN_CLOUDWATCH


def test_a_name_is_added_and_a_glob_takes_away() -> None:
    """include adds to the preset, exclude takes away, and exclude wins."""
    added, _ = for_prometheus("minimal", ["system_memory_*"], [])
    assert names(added) - names(for_prometheus("minimal", [], [])[0]) == {
        "system_memory_total_bytes",
        "system_memory_used_bytes",
    }
    both, _ = for_prometheus("minimal", ["system_memory_*"], ["*_used_bytes"])
    assert "system_memory_total_bytes" in names(both)
    assert "system_memory_used_bytes" not in names(both)


def test_cloudwatch_is_chosen_by_its_own_names() -> None:
    """In CloudWatch's lists stand the names that stand in CloudWatch and on its bill."""
    selection, _ = for_cloudwatch("minimal", ["Host*"], ["HostCpu*", "ExporterHeartbeat"])
    added = selection.names - for_cloudwatch("minimal", [], [])[0].names
    assert added == {"HostMemoryUsed", "HostMemoryUtilization", "HostSwapUsed"}
    assert "ExporterHeartbeat" not in selection.names


def test_labels_choose_among_series() -> None:
    """An entry with labels adds or takes only the series that match all of its globs."""
    added = exposed(['neuroncore_memory_usage_tensors{neuroncore="[12]"}'], [])
    assert {each for each in added if each.startswith("neuroncore_memory_usage")} == {
        "neuroncore_memory_usage_tensors 1",
        "neuroncore_memory_usage_tensors 2",
    }
    left = exposed([], ['neuroncore_*{neuroncore="0"}'])
    assert "neuroncore_utilization_ratio 1" in left
    assert "neuroncore_utilization_ratio 0" not in left


def test_labels_on_what_the_preset_holds_take_nothing_away() -> None:
    """include never makes a selection smaller."""
    assert exposed(['neuroncore_utilization_ratio{neuroncore="0"}'], []) == exposed([], [])


def test_exclude_with_labels_wins_over_include() -> None:
    """What is excluded stays out, also where the same series is included."""
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
            "no label core there; its labels are container, namespace, neuroncore, pod",
        ),
        ("prometheus", 'system_vcpu_count{neuroncore="1"}', "no label neuroncore there"),
        ("cloudwatch", 'NeuronCore*{neuroncore="1"}', "a CloudWatch metric pools all of them"),
    ],
)
def test_an_entry_that_does_nothing_is_an_error(
    sink: str, key: str, entry: str, message: str
) -> None:
    """A misspelt name never passes in silence; what comes near to it is said."""
    assert message in problem(sink, key, entry)


def test_all_wrong_entries_are_named() -> None:
    """One start tells all mistakes of both lists."""
    _, problems = for_prometheus("full", ["a{", "zzz"], ["{", "*"])
    assert [each[:2] for each in problems] == [
        ("include", "a{"),
        ("include", "zzz"),
        ("exclude", "{"),
    ]


@pytest.mark.parametrize("choose", [for_prometheus, for_cloudwatch])
def test_a_selection_without_a_metric_is_an_error(choose: Choose) -> None:
    """A sink that would publish nothing is a mistake, and not a quiet success."""
    _, problems = choose("full", [], ["*"])
    assert problems == [Problem("exclude", "*", "leaves no metric")]


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_every_metric_can_be_had_alone(row: MetricSpec) -> None:
    """Whatever the list of metrics shows can be published without anything else."""
    for layout in row.layouts:
        offered = [each.name for each in CATALOGUE if layout in each.layouts]
        rest = [name for name in offered if name != row.name]
        assert for_prometheus("full", [row.name], rest, layout)[0].rows == (row,)
    for metric in row.cloudwatch:
        rest = [m.name for each in CATALOGUE for m in each.cloudwatch if m.name != metric.name]
        assert for_cloudwatch("full", [], rest)[0].names == {metric.name}
