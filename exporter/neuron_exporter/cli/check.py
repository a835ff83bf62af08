"""`neuron-exporter check`: check a configuration and describe what it does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from neuron_exporter.cli.common import OK, WRONG_USE
from neuron_exporter.cli.generators import dry_run_loader
from neuron_exporter.facts.prices import REGION

if TYPE_CHECKING:
    from neuron_exporter.config import Config
    from neuron_exporter.generate.options import Configure
    from neuron_exporter.pipeline.build import Pipeline

_HEARTBEAT = "ExporterHeartbeat"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", required=True, help="configuration file (YAML)")
    parser.add_argument("--strict", action="store_true", help="exit with 2 if there are warnings")


def run(args: argparse.Namespace) -> int:
    """Print warnings and a summary."""
    from neuron_exporter.pipeline.build import build

    configure = dry_run_loader(args.config)
    pipeline = build(configure(()))
    number = len(pipeline.warnings)
    for warning in pipeline.warnings:
        print(f"warning: {warning}")
    print(f"{args.config}: {f'valid, with {number} warning(s)' if number else 'good'}")
    for line in summary(pipeline, configure):
        print(f"  {line}")
    return WRONG_USE if args.strict and number else OK


def summary(pipeline: Pipeline, configure: Configure) -> Iterator[str]:
    """Describe what the parts of a pipeline do. `configure` loads its configuration."""
    from neuron_exporter.pipeline.otlp import shown_endpoint
    from neuron_exporter.pipeline.source import source_kind
    from neuron_exporter.text import format_duration

    config = pipeline.config
    kind = source_kind(config.source) + (" (simulated)" if pipeline.is_simulated else "")
    groups = ", ".join(sorted(pipeline.groups)) or "no groups"
    yield f"source: {kind}, every {format_duration(config.source.period)}: {groups}"
    if pipeline.prometheus is not None:
        rows = len(pipeline.prometheus.selection.rows)
        addresses = ", ".join(f"{address}/metrics" for address in config.prometheus.listen)
        yield f"prometheus: {rows} metrics at {addresses}"
    if pipeline.web_config is not None:
        access = pipeline.web_config.access()
        protections = {"TLS": access.tls, "passwords": access.passwords}
        names = [name for name, protection in protections.items() if protection is not None]
        yield f"web: {' and '.join(names) or 'neither TLS nor passwords'}"
    if pipeline.otlp is not None:
        metrics = len(pipeline.otlp.selection.rows)
        interval = format_duration(config.otlp.interval)
        auth = f", auth {config.otlp.auth}" if config.otlp.auth != "none" else ""
        yield f"otlp: {metrics} metrics every {interval} to {shown_endpoint(config.otlp)}{auth}"
    if pipeline.cloudwatch is not None:
        interval = format_duration(config.cloudwatch.flush_interval)
        target = " to standard output" if config.cloudwatch.transport == "emf" else ""
        yield f"cloudwatch: every {interval}{target}, namespace {config.cloudwatch.namespace}"
        yield from (f"  {line}" for line in _published(config, configure))
        if _HEARTBEAT not in pipeline.cloudwatch.selection.names:
            yield f"  {_HEARTBEAT} is not included: no alarm can detect that the exporter ended"


def _published(config: Config, configure: Configure) -> Iterator[str]:
    """Describe what one machine publishes to CloudWatch, by a dry run."""
    from neuron_exporter.generate.cost.estimate import one_machine
    from neuron_exporter.generate.dry_run import dry_run
    from neuron_exporter.generate.options import DEFAULT_INSTANCE_TYPE
    from neuron_exporter.simulator.hardware import SIMULATED_TYPES

    configured = config.identity.instance_type
    machine = configured if configured in SIMULATED_TYPES else DEFAULT_INSTANCE_TYPE
    result = dry_run(configure, instance_type=machine)
    usd = one_machine(result).usd
    yield f"{result.metrics} metrics of a simulated {machine}, {usd:.2f} USD a month in {REGION}"
    for each in result.sets:
        shared = " (shared by the fleet)" if each.shared else ""
        names = ", ".join(sorted(each.metrics))
        yield f"[{', '.join(each.dimensions)}]{shared}: {each.count} metrics: {names}"
    for dimensions, unknown in result.dropped.items():
        yield f"[{', '.join(dimensions)}]: not published ({', '.join(unknown)} unknown)"
    if result.budget.suppressed_items:
        yield f"over the budget of {result.budget.limit} metrics, not published:"
        yield from (f"  {line}" for line in result.budget.describe())
    if result.assumed:
        yield f"assumed to be known: {', '.join(result.assumed)}"
