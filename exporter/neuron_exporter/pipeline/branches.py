"""Build the branches of the processor: a collector, and the sinks that publish its snapshots."""

from __future__ import annotations

from collections.abc import Mapping

from neuron_exporter.config import Config
from neuron_exporter.identity.local import container_device_count, present_devices
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.task_scope import TaskScope
from neuron_exporter.model import MetricSpec, Selection
from neuron_exporter.pipeline.cloudwatch import make_ecc_store
from neuron_exporter.pipeline.identity import is_local_source
from neuron_exporter.pipeline.processor import Branch, Sink
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink

Selections = Mapping[str, Selection]
"""The metrics of each sink that is on, by its name."""


def published_rows(selections: Selections) -> tuple[MetricSpec, ...]:
    """Return the rows that any sink publishes, in the order of the catalogue."""
    selected = {id(row) for selection in selections.values() for row in selection.rows}
    return tuple(row for row in CATALOGUE if id(row) in selected)


def rows_by_branch(config: Config, selections: Selections) -> list[tuple[MetricSpec, ...]]:
    """Return the rows that each branch collects: that of the machine, if it has a sink, and that of
    CloudWatch's task."""
    if not _has_task_branch(config, selections):
        return [published_rows(selections)]
    of_machine = {name: each for name, each in selections.items() if name != "cloudwatch"}
    of_task = selections["cloudwatch"].rows
    return [published_rows(of_machine), of_task] if of_machine else [of_task]


def make_branches(
    config: Config,
    period: ReportPeriod,
    selections: Selections,
    of_machine: list[Sink],
    cloudwatch: CloudWatchSink | None,
    *,
    is_dry_run: bool,
) -> list[Branch]:
    """Build one branch for all sinks. With `scope: task`, CloudWatch has a branch of its own, which
    collects the task's part of the machine."""
    has_task_branch = _has_task_branch(config, selections)
    of_cloudwatch: list[Sink] = [] if cloudwatch is None else [cloudwatch]
    sinks_by_branch = [of_machine + of_cloudwatch]
    if has_task_branch:
        sinks_by_branch = [each for each in (of_machine, of_cloudwatch) if each]
    labels = tuple(config.prometheus.runtime_labels)
    is_local = is_local_source(config)
    container_devices = container_device_count if is_local else lambda: None
    own_devices = present_devices if is_local else frozenset
    branches = []
    for rows, own in zip(rows_by_branch(config, selections), sinks_by_branch, strict=True):
        is_task = has_task_branch and cloudwatch in own and is_local
        task = TaskScope(present_devices) if is_task else None
        store = make_ecc_store(config) if cloudwatch in own and not is_dry_run else None
        counters = Counters(config.counters.ecc, config.counters.generic, store)
        collector = Collector(rows, counters, period, labels, task, container_devices, own_devices)
        branches.append(Branch(collector, own))
        period = make_report_period(config)  # each collector needs its own
    return branches


def make_report_period(config: Config) -> ReportPeriod:
    """Build the tracker of the report period, which the exporter sets for its own child only."""
    is_child = config.source.kind in ("neuron-monitor", "simulator")
    return ReportPeriod(config.source.period if is_child else None)


def _has_task_branch(config: Config, selections: Selections) -> bool:
    return "cloudwatch" in selections and config.cloudwatch.scope == "task"
