"""Warnings about valid settings that are probably a mistake, or have no effect.

`run` logs them, `check` and `doctor` print them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neuron_exporter.config import LoadedConfig
from neuron_exporter.config.load import PREFIX
from neuron_exporter.config.schema import Config
from neuron_exporter.config.section import keys
from neuron_exporter.facts.partitions import REGION_NAME
from neuron_exporter.facts.prices import METRIC
from neuron_exporter.model import Selection
from neuron_exporter.pipeline.cloudwatch import sink_settings
from neuron_exporter.pipeline.otlp_warnings import otlp_warnings, shorter_than_period
from neuron_exporter.pipeline.owners import (
    ECS_AGENT_VARIABLE,
    KUBELET_SOCKET_VARIABLE,
    owner_warnings,
)
from neuron_exporter.run_directory import RUN_DIRECTORY_VARIABLE
from neuron_exporter.sinks.cloudwatch.budget import preview
from neuron_exporter.sinks.cloudwatch.dimensions import ONE_MACHINE
from neuron_exporter.text import format_duration, shown_value

if TYPE_CHECKING:
    from neuron_exporter.web.config_file import WebConfigFile

_VARIABLES = frozenset(
    {
        ECS_AGENT_VARIABLE,
        KUBELET_SOCKET_VARIABLE,
        RUN_DIRECTORY_VARIABLE,
        # Of the container image.
        "NEURON_EXPORTER_RETRY_SECONDS",
        "NEURON_EXPORTER_STARTRETRIES",
        "NEURON_EXPORTER_STARTSECS",
    }
)
"""Variables that are not keys of the configuration."""

_OWN_VARIABLE = re.compile(r"NEURON_EXPORTER_(?!_)\w+")

_OF_KUBERNETES_SERVICE = re.compile(
    r"\w+_SERVICE_(HOST|PORT(_\w+)?)=.*"
    r"|\w+_PORT(_\d+_(TCP|UDP|SCTP))?=\w+://.*"
    r"|\w+_PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=.*"
)
"""Variables that Kubernetes sets for a Service whose name begins with `neuron-exporter`."""

_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")

_PROGRAM = "neuron-monitor"
_CONFIG_FLAGS = ("-c", "--config-file")

_PLACEHOLDER = re.compile(r"\$\{\w{0,100}|\$\([A-Za-z_]\w{0,100}\)")


def config_warnings(
    loaded: LoadedConfig,
    selections: Mapping[str, Selection],
    environment: Mapping[str, str],
    web_config: WebConfigFile | None = None,
) -> Iterator[str]:
    """Yield a line for each doubtful setting. `selections` are the metrics of the sinks that are
    on."""
    for line in () if web_config is None else web_config.warnings:
        yield loaded.problem("prometheus.web_config_file", line)
    yield from owner_warnings(loaded, environment)
    yield from _unknown_variables(environment)
    yield from _unused(loaded, selections)
    yield from _placeholders(loaded)
    yield from _region(loaded, environment)
    if "otlp" in selections:
        yield from otlp_warnings(loaded)
    if "cloudwatch" in selections:
        yield from _shared_dimensions(loaded)
        yield from _windows(loaded)
        yield from _budget(loaded, selections["cloudwatch"])


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    variables = {f"{PREFIX}{key.replace('.', '__').upper()}" for key, _ in keys(Config)}
    by_words = {re.sub("_+", "_", name): name for name in (*variables, *_VARIABLES)}
    for name, value in sorted(environment.items()):
        if (
            _OWN_VARIABLE.fullmatch(name)
            and name not in _VARIABLES
            and not _OF_KUBERNETES_SERVICE.fullmatch(f"{name}={value}")
        ):
            meant = by_words.get(re.sub("_+", "_", name.upper()))
            hint = f"did you mean {meant}?" if meant else f"variables of keys begin with {PREFIX}"
            yield f"{name}: unknown variable, ignored; {hint}"


def _unused(loaded: LoadedConfig, selections: Mapping[str, Selection]) -> Iterator[str]:
    """Yield the settings that have no effect beside the others."""
    config = loaded.config
    source, cloudwatch = config.source, config.cloudwatch
    if not selections:
        message = (
            "nothing is published: prometheus.enabled, cloudwatch.enabled and otlp.enabled are all "
            "false"
        )
        yield loaded.problem("prometheus.enabled", message)
    for sink, is_on in (("cloudwatch", cloudwatch.enabled), ("otlp", config.otlp.enabled)):
        below = [key for key in loaded.origins if key[0] == sink and len(key) > 1]
        if below and not is_on and (sink, "enabled") not in below:
            yield loaded.problem(sink, f"has no effect: {sink}.enabled is not set")
    if cloudwatch.enabled and cloudwatch.transport == "emf" and cloudwatch.endpoint_url:
        message = "has no effect with transport emf"
        yield loaded.problem("cloudwatch.endpoint_url", message, cloudwatch.endpoint_url)
    if source.kind != "file" and any(key[:2] == ("source", "replay") for key in loaded.origins):
        yield loaded.problem("source.replay", f'has no effect with source.kind "{source.kind}"')
    programs = [os.path.basename(word) for word in source.command]
    own_flags = programs[programs.index(_PROGRAM) :] if _PROGRAM in programs else []
    if source.kind == _PROGRAM and any(f.split("=")[0] in _CONFIG_FLAGS for f in own_flags):
        message = "-c has no effect: the exporter configures neuron-monitor itself"
        yield loaded.problem("source.command", message, source.command)


def _placeholders(loaded: LoadedConfig) -> Iterator[str]:
    """Yield the texts with a placeholder, such as ${NAME}, that something should have replaced."""
    for key, text in _texts("", loaded.config.model_dump()):
        if found := _PLACEHOLDER.search(text):
            name = found[0] + ("}" if "{" in found[0] else "")
            yield loaded.problem(key, f"{name} is not replaced, but used as it is")


def _texts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str) and key != "source.command":
        items = enumerate(value)
    for name, below in items:
        yield from _texts(f"{key}.{name}" if key else str(name), below)


def _region(loaded: LoadedConfig, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a line if the region from which CloudWatch's endpoints follow is no region of AWS."""
    config, cloudwatch, otlp = loaded.config, loaded.config.cloudwatch, loaded.config.otlp
    needs_region = (
        cloudwatch.enabled and cloudwatch.endpoint_url is None and cloudwatch.transport == "api"
    )
    configured = {"identity.region": config.identity.region}
    if needs_region:
        configured = {"cloudwatch.region": cloudwatch.region} | configured
    elif not (otlp.enabled and otlp.auth == "sigv4" and otlp.endpoint is None):
        return
    message = 'is not a region of AWS; regions have the form of "us-east-1"'
    for key, region in configured.items():
        if region:
            if not REGION_NAME.fullmatch(region):
                yield loaded.problem(key, message, region)
            return
    for name in _REGION_VARIABLES:
        region = environment.get(name)
        if region:
            if not REGION_NAME.fullmatch(region):
                yield f"{name}: {message} (got {shown_value(region)})"
            return


def _shared_dimensions(loaded: LoadedConfig) -> Iterator[str]:
    """Yield the dimensions of one machine that have the same value on every machine. A value from
    the environment may differ between machines."""
    for name, value in loaded.config.cloudwatch.extra_dimensions.items():
        key = f"cloudwatch.extra_dimensions.{name}"
        if name in ONE_MACHINE and not loaded.origin(key).startswith(PREFIX):
            message = (
                "all machines with this configuration publish to the same metrics; without this "
                "line, each has its own"
            )
            yield loaded.problem(key, message, value)


def _windows(loaded: LoadedConfig) -> Iterator[str]:
    interval = loaded.config.cloudwatch.flush_interval
    if reason := shorter_than_period(loaded.config, interval):
        message = f"{reason}: most windows have no readings"
        yield loaded.problem("cloudwatch.flush_interval", message, format_duration(interval))


def _budget(loaded: LoadedConfig, selection: Selection) -> Iterator[str]:
    """Yield a line if a machine with all selected metrics and one owner exceeds the budget."""
    settings = sink_settings(loaded.config)
    status = preview(settings, selection)
    if status.suppressed:
        usd = status.wanted * METRIC.tiers[0].usd
        message = (
            f"allows {status.limit} of {status.wanted} metrics ({usd:.2f} USD a month); not "
            f"published: {'; '.join(status.describe())}"
        )
        yield loaded.problem("cloudwatch.budget", message)
