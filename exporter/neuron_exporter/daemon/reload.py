"""Reload the configuration: apply the reloadable changes to the running parts, or reject all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from neuron_exporter import log
from neuron_exporter.config import Config, ConfigError, ConfigWatcher, LoadedConfig
from neuron_exporter.config.section import ConfigSection, is_reloadable, keys
from neuron_exporter.config.values import is_duration
from neuron_exporter.pipeline.branches import published_rows, rows_by_branch
from neuron_exporter.pipeline.build import Pipeline, all_problems, validate
from neuron_exporter.pipeline.cloudwatch import sink_settings
from neuron_exporter.pipeline.identity import make_identity_resolver
from neuron_exporter.pipeline.otlp import otlp_settings
from neuron_exporter.pipeline.warnings import config_warnings
from neuron_exporter.source import NeuronMonitorSource
from neuron_exporter.text import format_duration, shown_value
from neuron_exporter.web import UNPROTECTED, removed_protections

_WEB_CONFIG = "prometheus.web_config_file"
_DIMENSIONS = {"cloudwatch.dimension_sets", "cloudwatch.extra_dimensions"}

_log = log.get_logger()


class Reloader:
    """Reloader of one run. Only `status` may be called outside the main thread."""

    def __init__(self, pipeline: Pipeline, watcher: ConfigWatcher) -> None:
        self._pipeline = pipeline
        self._watcher = watcher
        self._outcome = ""
        self._at = 0.0

    def poll(self) -> None:
        """Reload files that have changed and settled. Call it every few seconds."""
        if self._watcher.has_settled():
            if self._watcher.has_new_content():
                self._reload()
            else:
                _log.debug("config_unchanged", file=self._watcher.path)
        if self._pipeline.web_config is not None:
            self._pipeline.web_config.refresh()

    def reload(self) -> None:
        """Reload now."""
        if self._watcher.path is None:
            _log.warning("config_reload_skipped", reason="there is no file: see --config")
        else:
            self._reload()
        if self._pipeline.web_config is not None:
            self._pipeline.web_config.refresh(at_once=True)

    def status(self) -> Mapping[str, Any]:
        """Return the configuration file, and the outcome and time (Unix seconds) of the last
        reload."""
        status: dict[str, Any] = {"file": self._watcher.path}
        if self._outcome:
            status["last_reload"] = {"at": self._at, "outcome": self._outcome}
        return status

    def _reload(self) -> None:
        telemetry, before = self._pipeline.telemetry, self._pipeline.config.log.level
        warned = {_without_origin(each) for each in self._pipeline.warnings}
        try:
            changes = reconfigure(self._pipeline, self._watcher.reload())
        except ConfigError as error:
            self._reject(all_problems(error))
            return
        except Exception as error:  # noqa: BLE001 (the exporter goes on with the active configuration)
            self._reject([f"internal error: {error!r}"])
            return
        changed = [change.key for change in changes]
        telemetry.config_reload_successful.set(1)
        telemetry.config_timestamp.set_to_current_time()
        telemetry.config_reloads.labels("success").inc()
        self._record(f"success: {', '.join(changed) or 'nothing has changed'}")
        now = self._pipeline.config.log.level
        # The outcome is logged if the old or the new level admits it.
        log.set_level(min(before, now, key=log.LEVELS.index))
        _log.info("config_reloaded", file=self._watcher.path, changed=changed)
        log.set_level(now)
        for warning in self._pipeline.warnings:
            if _without_origin(warning) not in warned:
                _log.warning("setting_doubtful", setting=warning)

    def _reject(self, problems: Sequence[str]) -> None:
        self._pipeline.telemetry.config_reload_successful.set(0)
        self._pipeline.telemetry.config_reloads.labels("failure").inc()
        for problem in problems:
            _log.error("config_reload_rejected", problem=problem, active="previous")
        more = f" (and {len(problems) - 1} more: see the log)" if len(problems) > 1 else ""
        self._record(f"failure: {problems[0]}{more}")

    def _record(self, outcome: str) -> None:
        self._at, self._outcome = time.time(), outcome


def reconfigure(
    pipeline: Pipeline, loaded: LoadedConfig, environment: Mapping[str, str] = os.environ
) -> list[ConfigChange]:
    """Apply a configuration, except for its log level, and return the changes.

    Counters keep their values. neuron-monitor is restarted if its groups change. Metrics that are
    new in CloudWatch begin with the window that is open. Not thread-safe.

    Raises:
        ConfigError: it is invalid, or a change requires a restart; nothing was applied.
    """
    changes = list(find_changes(pipeline.config, loaded.config))
    changed = {change.key for change in changes}
    # A web configuration in use is reloaded by its `refresh`; only a new one is read here.
    selections, web_config = validate(loaded, read_web_config=_WEB_CONFIG in changed)
    problems = restart_problems(changes, loaded)
    if _WEB_CONFIG in changed:
        before = UNPROTECTED if pipeline.web_config is None else pipeline.web_config.access()
        after = UNPROTECTED if web_config is None else web_config.access()
        removed = removed_protections(before, after)
        problems += [loaded.problem(_WEB_CONFIG, each) for each in removed]
    if problems:
        raise ConfigError(problems)

    config = pipeline.config = loaded.config
    pipeline.telemetry.set_config(loaded.sha256)
    pipeline.rows = published_rows(selections)
    # First the collectors, since they must collect what the sinks select.
    pipeline.processor.set_rows(rows_by_branch(config, selections))
    if isinstance(pipeline.source, NeuronMonitorSource):
        pipeline.source.request_groups(pipeline.groups)
    if pipeline.prometheus is not None and _has_any(changed - {_WEB_CONFIG}, "prometheus."):
        pipeline.prometheus.select(selections["prometheus"])
    if pipeline.cloudwatch is not None and _has_any(changed, "cloudwatch."):
        pipeline.cloudwatch.reconfigure(selections["cloudwatch"], sink_settings(config))
    if pipeline.otlp is not None and _has_any(changed, "otlp."):
        pipeline.otlp.reconfigure(selections["otlp"], otlp_settings(config))
    if pipeline.cloudwatch is not None and changed & _DIMENSIONS:
        _restart_identity_resolver(pipeline, environment)
    if pipeline.sysfs is not None:
        pipeline.sysfs.configure(config.hardware.sysfs)
    if _WEB_CONFIG in changed:
        pipeline.web_config = web_config
        pipeline.telemetry.web_config_reload_successful.set(1)
        if web_config is not None:
            web_config.on_reload = pipeline.telemetry.web_config_reload_successful.set
    warnings = config_warnings(loaded, selections, environment, pipeline.web_config)
    pipeline.warnings = tuple(warnings)
    return changes


class ConfigChange(NamedTuple):
    """A dotted key with its old and new value as text."""

    key: str
    old: str
    new: str


def find_changes(
    old: ConfigSection, new: ConfigSection, prefix: str = ""
) -> Iterator[ConfigChange]:
    """Yield the keys with different values, in the order of the schema."""
    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, ConfigSection):
            yield from find_changes(before, after, f"{prefix}{name}.")
        elif before != after:
            to_text = format_duration if is_duration(field) else shown_value
            yield ConfigChange(f"{prefix}{name}", to_text(before), to_text(after))


def restart_problems(changes: Iterable[ConfigChange], new: LoadedConfig) -> list[str]:
    """Return an error line for each change that a reload cannot apply."""
    reloadable = {key for key, field in keys(Config) if is_reloadable(field)}
    return [
        new.problem(each.key, f"requires a restart{_values(each)}")
        for each in changes
        if each.key not in reloadable
    ]


def _values(change: ConfigChange) -> str:
    """Return both values, unless one of them can only be named by its type."""
    old, new = change.old, change.new
    is_hidden = new.startswith("a ") or old.startswith("a ")
    return "" if is_hidden else f" (current: {old}, new: {new})"


def _without_origin(warning: str) -> str:
    """Return a warning without file and line, since lines may have moved."""
    return warning.partition(": ")[2]


def _has_any(keys: set[str], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in keys)


def _restart_identity_resolver(pipeline: Pipeline, environment: Mapping[str, str]) -> None:
    """Look up the fields that the new dimension sets need."""
    resolver = make_identity_resolver(pipeline.config, pipeline.identity, environment)
    if resolver is None:
        return
    if pipeline.identity_resolver is not None:
        pipeline.identity_resolver.stop()
    pipeline.identity_resolver = resolver
    resolver.start()
