"""Warnings about settings of `otlp` that are valid, but probably a mistake."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from pydantic import SecretStr

from neuron_exporter.config import LoadedConfig
from neuron_exporter.config.otlp import OtlpConfig
from neuron_exporter.config.schema import Config
from neuron_exporter.pipeline.aws_hosts import is_aws_endpoint
from neuron_exporter.pipeline.otlp import shown_endpoint
from neuron_exporter.proxies import is_local
from neuron_exporter.text import format_duration

_PLACEHOLDERS = ("${", "$(")


def otlp_warnings(loaded: LoadedConfig) -> Iterator[str]:
    """Yield a line for each doubtful setting."""
    config = loaded.config.otlp
    yield from _endpoint(loaded, config)
    yield from _headers(loaded, config)
    yield from _files(loaded, config)
    if reason := shorter_than_period(loaded.config, config.interval):
        message = f"{reason}: most points repeat the last reading"
        yield loaded.problem("otlp.interval", message, format_duration(config.interval))


def shorter_than_period(config: Config, interval: float) -> str:
    """Return that an interval is shorter than the source's period; empty if it is not."""
    source = config.source
    if source.kind not in ("neuron-monitor", "simulator") or interval >= source.period:
        return ""
    return f"is shorter than source.period ({format_duration(source.period)})"


def _endpoint(loaded: LoadedConfig, config: OtlpConfig) -> Iterator[str]:
    if config.endpoint is None:
        return
    url = shown_endpoint(config)
    if is_aws_endpoint(config.endpoint) and config.auth == "none":
        message = f"is AWS's ({url}), which rejects requests without otlp.auth: sigv4"
        yield loaded.problem("otlp.endpoint", message)
    if not config.endpoint.startswith("http://"):
        return
    if config.headers and not is_local(urlsplit(config.endpoint).hostname or ""):
        message = f"sends otlp.headers without encryption: the URL begins with http:// ({url})"
        yield loaded.problem("otlp.endpoint", message)
    if any((config.tls.ca_file, config.tls.cert_file)):
        yield loaded.problem("otlp.tls", f"has no effect: otlp.endpoint is {url}, without TLS")


def _headers(loaded: LoadedConfig, config: OtlpConfig) -> Iterator[str]:
    for name, value in config.headers.items():
        if not isinstance(value, SecretStr):
            continue
        if any(each in value.get_secret_value() for each in _PLACEHOLDERS):
            message = "has a placeholder that is not replaced; use {variable: NAME}"
            yield loaded.problem(f"otlp.headers.{name}", message)


def _files(loaded: LoadedConfig, config: OtlpConfig) -> Iterator[str]:
    """Yield the files that cannot be read here and now."""
    files = {
        f"otlp.headers.{name}": value["file"]
        for name, value in config.headers.items()
        if isinstance(value, dict) and "file" in value
    }
    for name in ("ca_file", "cert_file", "key_file"):
        if (path := getattr(config.tls, name)) is not None:
            files[f"otlp.tls.{name}"] = path
    for key, path in files.items():
        if not os.path.isfile(path):
            yield loaded.problem(key, "names a file that does not exist")
        elif not os.access(path, os.R_OK):
            yield loaded.problem(key, "names a file that cannot be read")
