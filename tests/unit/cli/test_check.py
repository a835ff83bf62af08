"""The summary that `neuron-exporter check` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuron_exporter.cli.check import summary
from neuron_exporter.config import Override, load
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import Layout
from neuron_exporter.pipeline.build import build


def lines_for(keys: Mapping[str, Any]) -> list[str]:
    """Return the summary for these keys."""
    flags = [Override("test", key, value) for key, value in keys.items()]
    return list(summary(build(load(flags=flags), environment={})))


def test_summary_of_both_sinks() -> None:
    lines = lines_for(
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


def test_summary_omits_disabled_sinks() -> None:
    only_cloudwatch = {"prometheus.enabled": False, "cloudwatch.enabled": True}
    assert [line.split(":")[0] for line in lines_for(only_cloudwatch)] == ["source", "cloudwatch"]
    assert [line.split(":")[0] for line in lines_for({})] == ["source", "prometheus"]
