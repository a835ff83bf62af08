"""Arguments and functions that several commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuron_exporter.config import LoadedConfig, Override
    from neuron_exporter.config.schema import LogConfig

OK, FAILED, WRONG_USE = 0, 1, 2
"""Exit statuses."""


class PrintVersion(argparse.Action):
    """Flag that prints version, revision and platform, and exits."""

    def __init__(self, **options: Any) -> None:
        about = "print version, revision and platform, and exit"
        super().__init__(**{**options, "nargs": 0, "help": about})

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from neuron_exporter.build_info import version_text

        print(version_text())
        parser.exit()


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and `--source`."""
    parser.add_argument("--config", metavar="FILE", help="configuration file (YAML)")
    parser.add_argument(
        "--source", metavar="WHAT", help="stdin, simulator, neuron-monitor, or a file of reports"
    )


def source_overrides(args: argparse.Namespace) -> list[Override]:
    """Return the configuration values that `--source` sets."""
    from neuron_exporter.config import Override

    if args.source is None:
        return []
    is_word = args.source.replace("-", "").isalpha() and not os.path.exists(args.source)
    if args.source in ("stdin", "simulator", "neuron-monitor") or is_word:
        return [Override("--source", "source.kind", args.source)]
    return [
        Override("--source", "source.kind", "file"),
        Override("--source", "source.path", args.source),
    ]


def load_config(path: str | None, flags: Iterable[Override] = ()) -> LoadedConfig:
    """Load a configuration from file, environment variables and flags.

    Raises:
        ConfigError: with all errors.
    """
    from neuron_exporter.config import load

    return with_all_problems(lambda: load(path, os.environ, flags))


def configure_log(config: LogConfig) -> None:
    """Configure the log, and let it count and report the lines that standard error drops."""
    from neuron_exporter import log
    from neuron_exporter.output import QueuedOutput

    log.configure(config.level, config.format)
    output = getattr(sys.stderr, "buffer", None)
    if isinstance(output, QueuedOutput):
        output.on_drop, output.on_recovery = log.count_drop, log.report_drops


def with_all_problems(load: Callable[[], LoadedConfig]) -> LoadedConfig:
    """Load a configuration; extend its schema errors by those of the other checks.

    Raises:
        ConfigError: with all errors.
    """
    from neuron_exporter.config import ConfigError

    try:
        return load()
    except ConfigError as error:
        from neuron_exporter.pipeline.build import all_problems

        raise ConfigError(all_problems(error)) from None
