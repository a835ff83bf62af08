"""`neuron-exporter check`: check a configuration and describe what it does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from neuron_exporter.cli.common import OK, load_config

if TYPE_CHECKING:
    from neuron_exporter.pipeline.build import Pipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", required=True, help="configuration file (YAML)")


def run(args: argparse.Namespace) -> int:
    """Print warnings and a summary."""
    from neuron_exporter.pipeline.build import build

    pipeline = build(load_config(args.config))
    for warning in pipeline.warnings:
        print(f"warning: {warning}")
    print(f"{args.config}: good")
    for line in summary(pipeline):
        print(f"  {line}")
    return OK


def summary(pipeline: Pipeline) -> Iterator[str]:
    """Describe what the parts of a pipeline do."""
    from neuron_exporter.text import format_duration

    config = pipeline.config
    groups = ", ".join(sorted(pipeline.groups))
    yield f"source: {config.source.kind}, every {format_duration(config.source.period)}: {groups}"
    if pipeline.prometheus is not None:
        rows = len(pipeline.prometheus.selection.rows)
        addresses = ", ".join(f"{address}/metrics" for address in config.prometheus.listen)
        yield f"prometheus: {rows} metrics at {addresses}"
    if pipeline.web_config is not None:
        access = pipeline.web_config.access()
        protections = {"TLS": access.tls, "passwords": access.passwords}
        names = [name for name, protection in protections.items() if protection is not None]
        yield f"web: {' and '.join(names) or 'neither TLS nor passwords'}"
    if pipeline.cloudwatch is not None:
        names = sorted(pipeline.cloudwatch.selection.names)
        sets = len(config.cloudwatch.dimension_sets)
        interval = format_duration(config.cloudwatch.flush_interval)
        target = " to standard output" if config.cloudwatch.transport == "emf" else ""
        metrics = ", ".join(names)
        yield f"cloudwatch: every {interval}{target}, in {sets} dimension set(s): {metrics}"
