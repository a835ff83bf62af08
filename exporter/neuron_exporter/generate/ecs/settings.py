"""The configuration of the exporter in a task definition, as environment variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import SecretStr

from neuron_exporter.config import Config, ConfigError, Override, load
from neuron_exporter.config.variables import as_variables
from neuron_exporter.generate.ecs.containers import SPOOL
from neuron_exporter.generate.options import Configure
from neuron_exporter.pipeline.build import validate

Explain = Callable[[str], None]
"""Receives a line about the definition."""

_SPOOL_PATH, _SCOPE, _SETS = (
    f"cloudwatch.{key}" for key in ("spool.path", "scope", "dimension_sets")
)
_LOOPBACK = re.compile(r"127\..*|localhost|\[::1\]", re.IGNORECASE)
_OTLP_SPOOL_PATH = "otlp.spool.path"

_MACHINE_SET = ["InstanceId", "InstanceType"]
_SHARED_SETS = {
    "inference": ["ClusterName", "ServiceName"],
    "compile": ["ClusterName", "TaskDefinitionFamily"],
    "none": ["ClusterName", "TaskDefinitionFamily"],
}
"""The set that all tasks of a kind share, so that it costs once. A task of a service has the name
of the service; one run by itself, or of an unknown kind, has only its family."""

DAEMON: Mapping[str, Any] = {
    "cloudwatch.enabled": True,
    _SETS: [_MACHINE_SET, ["ClusterName"]],
    _SPOOL_PATH: f"{SPOOL}/daemon.db",
}
"""Settings of `ecs/exporter-fleet.yaml`, which the alarms are made for. All tasks of the daemon on
a machine use the same spool."""


def sidecar_settings(workload: str, *, is_shared: bool) -> Mapping[str, Any]:
    """Return the settings of a sidecar. On a shared machine it publishes only the series of its
    task: otherwise each task would publish those of the machine again."""
    sets = [_SHARED_SETS[workload]] if is_shared else [_MACHINE_SET, _SHARED_SETS[workload]]
    return {
        "cloudwatch.enabled": True,
        _SCOPE: "task" if is_shared else "machine",
        _SETS: sets,
        _SPOOL_PATH: f"{SPOOL}/sidecar-{{task_id}}.db",
    }


def variables(
    configure: Configure | None,
    settings: Mapping[str, Any],
    explain: Explain,
    *,
    is_shared: bool,
    sees_processes: bool = False,
) -> dict[str, str]:
    """Return the variables of the user's configuration; without one, those of `settings`.

    The user's configuration is complete, so that its cost is what `neuron-exporter cost` says. It
    gets only what the task needs if it does not set it: spools of its own on the volume and, for
    one of several tasks on a machine, the task's scope.

    Raises:
        ConfigError: the configuration is invalid, or invalid for such a task.
    """
    if configure is None:
        configure = partial(load, None, {})
    else:
        settings = _missing(configure(()).config, settings, is_shared=is_shared)
        for key, value in settings.items():
            explain(f"{key} is not in the configuration, and set to {value!r}")
    merged = configure([Override("--launch", key, value) for key, value in settings.items()])
    validate(merged, read_web_config=False)
    if "environment" in merged.config.source.model_fields_set:
        explain("warning: source.environment can be read by everyone who sees the definition")
    if merged.config.identity.process_labels and not sees_processes:
        explain("warning: identity.process_labels has no effect: the host's processes are hidden")
    for line in _about_otlp(merged.config, is_shared=is_shared):
        explain(f"warning: {line}")
    if not merged.config.cloudwatch.enabled and not merged.config.otlp.enabled:
        explain("cloudwatch.enabled is not set: only Prometheus gets metrics")
    return as_variables(merged)


def port_of(environment: Mapping[str, str]) -> int:
    """Return the port on which other machines reach an exporter with these variables, or its first
    one if it listens on loopback addresses alone.

    Raises:
        ConfigError: all are 0, any free port, which a definition cannot map.
    """
    listen = load(None, environment).config.prometheus.listen
    addresses = [each.rpartition(":") for each in listen]
    fixed = [(host, int(port)) for host, _, port in addresses if int(port)]
    if not fixed:
        shown = ", ".join(map(repr, listen))
        raise ConfigError([f"prometheus.listen: must have a port other than 0 (got {shown})"])
    reachable = (port for host, port in fixed if not _LOOPBACK.fullmatch(host))
    return next(reachable, fixed[0][1])


def _about_otlp(config: Config, *, is_shared: bool) -> Iterator[str]:
    """Yield a line about each setting of OTLP that is doubtful in a task definition."""
    if not config.otlp.enabled:
        return
    if any(isinstance(value, SecretStr) for value in config.otlp.headers.values()):
        yield (
            "otlp.headers can be read by everyone who sees the definition: use {variable: NAME}, "
            "and `secrets` of the container"
        )
    if is_shared:
        yield (
            "OTLP has no scope: each task on a machine would send the same series, under the same "
            "labels"
        )


def _missing(config: Config, settings: Mapping[str, Any], *, is_shared: bool) -> Mapping[str, Any]:
    """Return the settings that the task needs and the configuration does not have."""
    found = {key: settings[key] for key in _missing_of_cloudwatch(config, is_shared=is_shared)}
    if config.otlp.enabled and "path" not in config.otlp.spool.model_fields_set:
        found[_OTLP_SPOOL_PATH] = settings[_SPOOL_PATH].replace(f"{SPOOL}/", f"{SPOOL}/otlp-")
    return found


def _missing_of_cloudwatch(config: Config, *, is_shared: bool) -> list[str]:
    cloudwatch = config.cloudwatch
    if not cloudwatch.enabled:
        return []
    missing = []
    given = cloudwatch.model_fields_set
    if is_shared and "scope" not in given:
        missing.append(_SCOPE)
    if is_shared and "dimension_sets" not in given and (missing or cloudwatch.scope == "task"):
        missing.append(_SETS)
    if "path" not in cloudwatch.spool.model_fields_set:
        missing.append(_SPOOL_PATH)
    return missing
