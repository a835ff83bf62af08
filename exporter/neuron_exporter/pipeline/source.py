"""Build the source of reports, and check its configuration."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from neuron_exporter.config import ConfigError, LoadedConfig
from neuron_exporter.model import Group, MetricSpec
from neuron_exporter.source import FileSource, NeuronMonitorSource, Source, StdinSource

SIMULATOR = (sys.executable, "-m", "neuron_exporter.simulator")


def check_source(loaded: LoadedConfig) -> Iterator[str]:
    """Return the errors of the section."""
    config = loaded.config.source
    path = config.path
    if config.kind == "file":
        if not path:
            yield loaded.problem("source.path", 'is required for source.kind "file"')
        elif not Path(path).is_file():
            yield loaded.problem("source.path", "is not a file", path)
        elif not os.access(path, os.R_OK):
            yield loaded.problem("source.path", "cannot be read", path)
    elif path is not None:
        message = f'is allowed for source.kind "file" only, not for "{config.kind}"'
        yield loaded.problem("source.path", message, path)
    if config.kind == "neuron-monitor" and len(config.command) == 1 and " " in config.command[0]:
        words = ", ".join(shlex.split(config.command[0], posix=False))
        message = f"must be a list of words, as in [{words}]"
        yield loaded.problem("source.command", message, config.command[0])


def make_source(loaded: LoadedConfig, rows: Iterable[MetricSpec]) -> Source:
    """Build the source; neuron-monitor is configured for the groups of the rows.

    Raises:
        ConfigError: the section is invalid.
    """
    problems = list(check_source(loaded))
    if problems:
        raise ConfigError(problems)
    config = loaded.config.source
    match config.kind:
        case "stdin":
            return StdinSource(config.max_line)
        case "file":
            return FileSource(
                config.path or "",
                config.max_line,
                config.replay.speed,
                repeat=config.replay.at_end == "repeat",
            )
        case _:
            command = SIMULATOR if config.kind == "simulator" else config.command
            return NeuronMonitorSource(command, groups_of(rows), config.period, config.max_line)


def groups_of(rows: Iterable[MetricSpec]) -> frozenset[Group]:
    """Return the groups of neuron-monitor from which the rows are computed."""
    return frozenset(
        group for row in rows for group in (row.group, *row.extra_groups) if group is not None
    )
