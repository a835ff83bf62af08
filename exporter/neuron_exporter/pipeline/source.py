"""Build the source of reports, and check its configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

from neuron_exporter.config import ConfigError, LoadedConfig
from neuron_exporter.config.schema import SourceConfig
from neuron_exporter.identity.machine import Identity
from neuron_exporter.model import Group, MetricSpec
from neuron_exporter.source import FileSource, NeuronMonitorSource, Source, StdinSource
from neuron_exporter.source.environment import dropped_variables
from neuron_exporter.text import sanitize_text

SIMULATOR = (sys.executable, "-m", "neuron_exporter.simulator")
_SIMULATOR_WORDS = frozenset({"simulate", SIMULATOR[-1]})
_OF_PYTHON = ("PYTHONHOME", "PYTHONPATH")
"""Variables by which the simulator, a module of this program, is found as the exporter was."""

_MAX_NAMES = 100


def source_kind(config: SourceConfig) -> str:
    """Return the kind of the source, which is `simulator` also if `source.command` runs it."""
    is_simulator = config.kind == "neuron-monitor" and not _SIMULATOR_WORDS.isdisjoint(
        config.command
    )
    return "simulator" if is_simulator else config.kind


def is_simulated(config: SourceConfig, identity: Identity) -> bool:
    """Return whether reports are simulated or replayed, not measured on this machine now.

    Reports on standard input are recognized by their instance id.
    """
    return source_kind(config) in ("simulator", "file") or identity.is_simulated


def check_source(loaded: LoadedConfig) -> Iterator[str]:
    """Return the errors of the section."""
    config = loaded.config.source
    path = config.path
    if config.kind == "file":
        if not path:
            yield loaded.problem("source.path", 'is required for source.kind "file"')
        elif not os.path.isfile(path):
            yield loaded.problem("source.path", "is not a file", path)
        elif not os.access(path, os.R_OK):
            yield loaded.problem("source.path", "cannot be read", path)
    elif path is not None:
        message = f'is allowed for source.kind "file" only, not for "{config.kind}"'
        yield loaded.problem("source.path", message, path)
    if config.kind == "neuron-monitor" and len(config.command) == 1 and " " in config.command[0]:
        message = "must be a list of words, as in [neuron-monitor, --verbose, 4]"
        yield loaded.problem("source.command", message)


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
            is_simulator = config.kind == "simulator"
            return NeuronMonitorSource(
                SIMULATOR if is_simulator else config.command,
                groups_of(rows),
                config.period,
                config.max_line,
                environment=dict.fromkeys(_OF_PYTHON if is_simulator else ()) | config.variables(),
            )


def dropped_names(config: SourceConfig) -> list[str]:
    """Return the names of variables that neuron-monitor does not get, at most 100."""
    if config.kind != "neuron-monitor":
        return []
    names = dropped_variables(os.environ, config.variables())
    return [sanitize_text(name) for name in names[:_MAX_NAMES]]


def groups_of(rows: Iterable[MetricSpec]) -> frozenset[Group]:
    """Return the groups of neuron-monitor from which the rows are computed."""
    return frozenset(
        group for row in rows for group in (row.group, *row.extra_groups) if group is not None
    )
