"""Gives the parts another configuration while they run: all that is hot of it, or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

from neuron_exporter.config import Change, ConfigError, Loaded, changes, cold
from neuron_exporter.pipeline import cloudwatch as publish
from neuron_exporter.pipeline.build import Pipeline, choose, rows_by_lane, rows_of
from neuron_exporter.pipeline.identity import make_finder
from neuron_exporter.source import NeuronMonitorSource
from neuron_exporter.web import OPEN, taken_away

_WEB = "prometheus.web_config_file"
_DIMENSIONS = {"cloudwatch.dimension_sets", "cloudwatch.extra_dimensions"}


def reconfigure(
    pipeline: Pipeline, loaded: Loaded, environment: Mapping[str, str] = os.environ
) -> list[Change]:
    """Take a configuration, but for its log level; gives what has changed. For one thread.

    Nothing that was counted is forgotten; what CloudWatch was not sent before, it is sent from now
    on only. Where other groups of neuron-monitor are wanted, that is started again.

    Raises:
        ConfigError: it cannot be used, or changes what takes a restart; nothing was taken.
    """
    changed = list(changes(pipeline.config, loaded.config))
    keys = {each.key for each in changed}
    # A web configuration that is in use follows its own files, and is refused by itself.
    chosen, web_config = choose(loaded, web=_WEB in keys)
    problems = cold(changed, loaded)
    if _WEB in keys:
        before = OPEN if pipeline.web_config is None else pipeline.web_config.access()
        now = OPEN if web_config is None else web_config.access()
        problems += [loaded.problem(_WEB, each) for each in taken_away(before, now)]
    if problems:
        raise ConfigError(problems)

    config = pipeline.config = loaded.config
    pipeline.rows = rows_of(chosen)
    # The sinks come after who feeds them: what they select is collected by then.
    pipeline.intake.choose(rows_by_lane(config, chosen))
    if isinstance(pipeline.source, NeuronMonitorSource):
        pipeline.source.ask_for(pipeline.groups)
    if pipeline.prometheus is not None and any(k.startswith("prometheus.") for k in keys - {_WEB}):
        pipeline.prometheus.select(chosen["prometheus"])
    if pipeline.cloudwatch is not None and any(k.startswith("cloudwatch.") for k in keys):
        pipeline.cloudwatch.reconfigure(chosen["cloudwatch"], publish.settings(config.cloudwatch))
    if pipeline.cloudwatch is not None and keys & _DIMENSIONS:
        _ask_again(pipeline, environment)
    if _WEB in keys:
        pipeline.web_config = web_config
        pipeline.telemetry.web_config_good.set(1)
        if web_config is not None:
            web_config.on_reload = pipeline.telemetry.web_config_good.set
    return changed


def _ask_again(pipeline: Pipeline, environment: Mapping[str, str]) -> None:
    """Ask for the fields that other dimension sets need."""
    finder = make_finder(pipeline.config, pipeline.identity, environment)
    if finder is None:
        return
    if pipeline.finder is not None:
        pipeline.finder.stop()
    pipeline.finder = finder
    finder.start()
