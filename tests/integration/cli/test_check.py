"""The summary that `neuron-exporter check` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from neuron_exporter.cli.check import summary
from neuron_exporter.config import LoadedConfig, Override, load
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import Layout
from neuron_exporter.pipeline.build import build


def lines_for(keys: Mapping[str, Any]) -> list[str]:
    """Return the summary for these keys."""
    own = [Override("test", key, value) for key, value in keys.items()]

    def configure(flags: Iterable[Override]) -> LoadedConfig:
        return load(flags=[*own, *flags])

    return list(summary(build(configure(()), environment={}), configure))


def test_summary_of_both_sinks() -> None:
    lines = lines_for(
        {
            "prometheus.preset": "minimal",
            "prometheus.listen": "127.0.0.1:1",
            "cloudwatch.enabled": True,
            "cloudwatch.preset": "minimal",
            "cloudwatch.dimension_sets": [["InstanceId"], [], ["ClusterName", "UltraServerId"]],
        }
    )
    count = sum(1 for row in CATALOGUE if Layout.CORE in row.layouts and row.preset == 1)
    assert lines == [
        "source: neuron-monitor, every 5s: execution_stats, memory_used, neuron_hw_counters, "
        "neuroncore_counters",
        f"prometheus: {count} metrics at 127.0.0.1:1/metrics",
        "cloudwatch: every 1m, namespace NeuronExporter",
        "  8 metrics of a simulated trn1.32xlarge, 2.40 USD a month in us-east-1",
        "  [InstanceId]: 4 metrics: EccUncorrected, ExecutionErrors, ExporterHeartbeat, "
        "NeuronCoreUtilization",
        "  [] (shared by the fleet): 4 metrics: EccUncorrected, ExecutionErrors, "
        "ExporterHeartbeat, NeuronCoreUtilization",
        "  [ClusterName, UltraServerId]: not published (UltraServerId unknown)",
        "  assumed to be known: ClusterName",
    ]


ALLOW_LIST = {"cloudwatch.preset": "none"}
TASK = {"cloudwatch.scope": "task", "cloudwatch.dimension_sets": [["ClusterName", "ServiceName"]]}


@pytest.mark.parametrize(
    ("settings", "include", "is_remarked"),
    [
        (ALLOW_LIST, ["NeuronCoreUtilization"], True),
        (ALLOW_LIST, ["NeuronCoreUtilization", "ExporterHeartbeat"], False),
        (TASK, [], True),
        (TASK, ["ExporterHeartbeat"], False),
        ({"cloudwatch.exclude": ["Exporter*"]}, [], True),
        ({}, [], False),
    ],
)
def test_a_missing_heartbeat_is_remarked(
    settings: dict[str, Any], include: list[str], is_remarked: bool
) -> None:
    """An allow-list may leave it out, and no preset has it in the scope of a task."""
    keys = {"cloudwatch.enabled": True, "cloudwatch.include": include, **settings}
    remark = "  ExporterHeartbeat is not included: no alarm can detect that the exporter ended"
    assert (lines_for(keys)[-1] == remark) == is_remarked


def test_summary_names_what_the_budget_drops() -> None:
    lines = lines_for({"cloudwatch.enabled": True, "cloudwatch.budget.max_monthly_usd": 2.4})
    assert lines[-4:] == [
        "  8 metrics of a simulated trn1.32xlarge, 2.40 USD a month in us-east-1",
        "  [InstanceId, InstanceType]: 8 metrics: EccUncorrected, ExecutionErrors, "
        "ExecutionLatency, ExecutionsCompleted, ExporterHeartbeat, NeuronCoreUtilization, "
        "NeuronCoresInUse, NeuronDeviceMemoryUtilization",
        "  over the budget of 8 metrics, not published:",
        "    HostMemoryUtilization, HostCpuUtilization in [InstanceId, InstanceType]",
    ]


@pytest.mark.parametrize(
    ("configured", "counted"),
    [("inf2.xlarge", "inf2.xlarge"), ("trn9.huge", "trn1.32xlarge")],
)
def test_summary_counts_the_configured_machine(configured: str, counted: str) -> None:
    keys = {"cloudwatch.enabled": True, "identity.instance_type": configured}
    assert f"  10 metrics of a simulated {counted}, 3.00 USD a month in us-east-1" in lines_for(
        keys
    )


def test_summary_of_log_lines_includes_their_cost() -> None:
    lines = lines_for({"cloudwatch.enabled": True, "cloudwatch.transport": "emf"})
    assert "cloudwatch: every 1m to standard output, namespace NeuronExporter" in lines
    (cost,) = [line for line in lines if "USD a month" in line]
    assert 3.0 < float(cost.split()[-6]) < 3.5


def test_summary_omits_disabled_sinks() -> None:
    only_cloudwatch = {"prometheus.enabled": False, "cloudwatch.enabled": True}
    sections = [line.split(":")[0] for line in lines_for(only_cloudwatch) if line[0] != " "]
    assert sections == ["source", "cloudwatch"]
    assert [line.split(":")[0] for line in lines_for({})] == ["source", "prometheus"]


def test_summary_without_sinks() -> None:
    assert lines_for({"prometheus.enabled": False}) == [
        "source: neuron-monitor, every 5s: no groups"
    ]
