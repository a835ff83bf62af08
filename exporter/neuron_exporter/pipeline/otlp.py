"""Select the metrics for OTLP, check its section, and build its sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pydantic import SecretStr

from neuron_exporter.config import LoadedConfig
from neuron_exporter.config.otlp import OtlpConfig
from neuron_exporter.config.schema import Config
from neuron_exporter.facts.prices import OTLP_GIGABYTE
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Layout, Machine, Selection
from neuron_exporter.pipeline.aws_hosts import is_aws_endpoint
from neuron_exporter.pipeline.source import source_kind
from neuron_exporter.pipeline.spools import (
    Clocks,
    check_max_age,
    check_path,
    opener,
    placeholders,
)
from neuron_exporter.sinks.delivery.transport import Transport
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.text import shown_url
from neuron_exporter.validation import SettingProblem

if TYPE_CHECKING:  # imported only if the sink is on
    from neuron_exporter.sinks.otlp.request import ExportRequest
    from neuron_exporter.sinks.otlp.settings import HeaderValue, SinkSettings, TransportSettings
    from neuron_exporter.sinks.otlp.sink import OtlpSink

ConnectOtlp = Callable[[str], "Transport[ExportRequest]"]
"""Opens a transport to an AWS region, which is empty where requests are not signed."""

_BYTES_PER_GB = 10**9


def select_for_otlp(loaded: LoadedConfig) -> tuple[Selection, list[str]]:
    """Select the metrics for OTLP; return error lines as well."""
    config = loaded.config.otlp
    selected, problems = select_for_prometheus(
        config.preset, config.include, config.exclude, Layout.CORE, keep=config.budget.keep
    )
    return selected, [
        loaded.problem(f"otlp.{key}", message, value) for key, value, message in problems
    ]


def check_otlp(loaded: LoadedConfig) -> list[str]:
    """Return the errors of the section, whether or not the sink is on."""
    configuration = loaded.config
    config = configuration.otlp
    problems: list[SettingProblem] = []
    if config.enabled:
        if config.endpoint is None and config.auth == "none":
            message = (
                "is required, as the URL of a collector; without one, auth: sigv4 sends to "
                "CloudWatch"
            )
            problems.append(SettingProblem("otlp.endpoint", None, message))
        problems += check_max_age("otlp", config.spool, "interval", config.interval)
    problems += _check_headers(config)
    problems += _check_tls(config)
    problems += _check_spool_path(configuration)
    return [loaded.problem(key, message, value) for key, value, message in problems]


def check_runtime(loaded: LoadedConfig, environment: Mapping[str, str]) -> list[str]:
    """Return the errors of what the sink needs where it runs, if it is on: the extra, the variables
    of its headers, and permission to send simulated values."""
    config = loaded.config.otlp
    if not config.enabled:
        return []
    problems = []
    if reason := why_unusable():
        problems.append(loaded.problem("otlp.enabled", reason))
    for name, value in config.headers.items():
        variable = value.get("variable") if isinstance(value, dict) else None
        if variable is not None and not environment.get(variable):
            message = f"refers to the variable {variable}, which is not set"
            problems.append(loaded.problem(f"otlp.headers.{name}", message))
    return [*problems, *_check_simulated(loaded)]


def why_unusable() -> str:
    """Return the reason why the sink cannot be used; empty if it can."""
    try:
        is_installed = all(find_spec(name) for name in ("opentelemetry.proto", "urllib3"))
    except ModuleNotFoundError:  # of the package around it
        is_installed = False
    return "" if is_installed else 'needs the extra `otlp` (pip install "neuron-exporter[otlp]")'


def make_otlp_sink(
    configuration: Config,
    selected: Selection,
    identity: Callable[[], Machine],
    connect: ConnectOtlp | None,
    telemetry: Telemetry,
    clock: Callable[[], float] | None,
    environment: Mapping[str, str],
) -> OtlpSink:
    """Build the sink. `connect` replaces the configured transport, `clock` both clocks."""
    # Imported only if the sink is on.
    from neuron_exporter.sinks.otlp.request import CODEC
    from neuron_exporter.sinks.otlp.settings import NAME
    from neuron_exporter.sinks.otlp.sink import ACCEPTED_AGES, OtlpSink

    config, settings = configuration.otlp, otlp_settings(configuration)
    wall, monotonic = clock or time.time, clock or time.monotonic
    telemetry.show_otlp()

    def open_transport(region: str) -> Transport[ExportRequest]:
        # Imported by the first request, because urllib3 costs memory.
        from neuron_exporter.sinks.otlp.transport import OtlpTransport

        on_rejected = telemetry.otlp_rejected_points.inc
        return OtlpTransport(region, transport_settings(config, environment), on_rejected)

    open_spool = opener(
        NAME,
        config.spool,
        ACCEPTED_AGES,
        CODEC,
        lambda machine: (settings.endpoint or "", machine.region if settings.sigv4 else ""),
        Clocks(wall, monotonic),
    )
    connect = connect or open_transport
    return OtlpSink(selected, settings, identity, connect, telemetry, open_spool, wall, monotonic)


def otlp_settings(configuration: Config) -> SinkSettings:
    """Return the sink's settings."""
    from neuron_exporter.sinks.otlp.settings import SinkSettings

    config, prometheus = configuration.otlp, configuration.prometheus
    return SinkSettings(
        endpoint=endpoint(config),
        sigv4=config.auth == "sigv4",
        interval=config.interval,
        resource_attributes=config.resource_attributes,
        labels=tuple(prometheus.labels.items()),
        identity_labels=prometheus.identity_labels,
        monthly_bytes=monthly_bytes(config),
        keep=config.budget.keep,
        spool_names=placeholders(config.spool),
        spread=True,
    )


def transport_settings(config: OtlpConfig, environment: Mapping[str, str]) -> TransportSettings:
    """Return the settings of the transport, in which variables have their values."""
    from neuron_exporter.sinks.otlp.settings import HeaderFile, TransportSettings

    def header(value: SecretStr | dict[str, str]) -> HeaderValue:
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if "file" in value:
            return HeaderFile(value["file"])
        return environment.get(value["variable"], "")

    return TransportSettings(
        endpoint=endpoint(config),
        sigv4=config.auth == "sigv4",
        headers={name: header(value) for name, value in config.headers.items()},
        gzip=config.compression == "gzip",
        ca_file=config.tls.ca_file,
        cert_file=config.tls.cert_file,
        key_file=config.tls.key_file,
    )


def endpoint(config: OtlpConfig) -> str | None:
    """Return the URL to which requests are sent; None for CloudWatch's of the machine's region."""
    from neuron_exporter.sinks.otlp.settings import metrics_url

    return None if config.endpoint is None else metrics_url(config.endpoint)


def shown_endpoint(config: OtlpConfig) -> str:
    """Return the endpoint for display. Parts of its path that may be secret are masked."""
    url = endpoint(config)
    return "CloudWatch" if url is None else shown_url(url)


def monthly_bytes(config: OtlpConfig) -> int | None:
    """Return how many bytes a month the budget allows, at the price of the first tier; None for
    any."""
    usd = config.budget.max_monthly_usd
    return None if usd is None else int(usd / OTLP_GIGABYTE.tiers[0].usd * _BYTES_PER_GB)


def _check_simulated(loaded: LoadedConfig) -> Iterator[str]:
    """Yield an error if simulated or replayed values would be sent to AWS. Nothing there would tell
    them from measured ones."""
    config, kind = loaded.config.otlp, source_kind(loaded.config.source)
    if kind not in ("simulator", "file") or config.allow_simulated:
        return
    if config.endpoint is None or is_aws_endpoint(config.endpoint):
        message = (
            f'"{kind}" does not measure this machine, and its values would be sent to AWS: set '
            "otlp.allow_simulated, or otlp.endpoint to a collector that is not AWS's"
        )
        yield loaded.problem("source.kind", message)


def _check_headers(config: OtlpConfig) -> Iterator[SettingProblem]:
    if not config.headers or config.auth == "none":
        return
    from neuron_exporter.sinks.otlp.settings import SIGNATURE_HEADERS

    for name in config.headers:
        if name.lower() in SIGNATURE_HEADERS:
            message = "is set by the exporter itself with auth: sigv4"
            yield SettingProblem(f"otlp.headers.{name}", None, message)


def _check_tls(config: OtlpConfig) -> Iterator[SettingProblem]:
    tls = config.tls
    if (tls.cert_file is None) != (tls.key_file is None):
        given, missing = "cert_file", "key_file"
        if tls.cert_file is None:
            given, missing = missing, given
        message = f"needs otlp.tls.{missing}"
        yield SettingProblem(f"otlp.tls.{given}", getattr(tls, given), message)


def _check_spool_path(configuration: Config) -> Iterator[SettingProblem]:
    config, cloudwatch = configuration.otlp, configuration.cloudwatch
    problems = list(check_path("otlp", config.spool))
    yield from problems
    path = config.spool.path
    is_shared = path is not None and path == cloudwatch.spool.path
    if is_shared and not problems and config.enabled and cloudwatch.enabled:
        message = "must be another file than cloudwatch.spool.path"
        yield SettingProblem("otlp.spool.path", path, message)
