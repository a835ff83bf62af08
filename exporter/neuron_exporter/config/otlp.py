"""Schema of the section `otlp`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neuron_exporter.config.section import ConfigSection, declare
from neuron_exporter.config.spool import SpoolConfig
from neuron_exporter.config.values import (
    WHOLE_SECONDS,
    AbsolutePath,
    Attributes,
    Duration,
    Headers,
    Patterns,
    Url,
    between,
)


class OtlpTlsConfig(ConfigSection):
    """Certificates for the connection to the OTLP endpoint."""

    ca_file: AbsolutePath | None = declare(
        None,
        "File with the certificate authorities that may sign the endpoint's certificate; null is "
        "those of the system, or with `auth: sigv4` those of botocore.",
    )
    cert_file: AbsolutePath | None = declare(
        None, "File with the exporter's certificate; needs `key_file`."
    )
    key_file: AbsolutePath | None = declare(
        None, "File with the private key of `cert_file`, without a password."
    )


class OtlpBudgetConfig(ConfigSection):
    """Limit of what one machine sends over OTLP, at CloudWatch's price for a GB."""

    max_monthly_usd: Annotated[float, Field(gt=0)] | None = declare(
        None,
        "Highest monthly price in USD of the data points, as CloudWatch counts their bytes; null "
        "is no limit.",
        reloadable=True,
    )
    keep: Patterns = declare([], "Metrics that the budget never drops.", reloadable=True)


class OtlpSpoolConfig(SpoolConfig):
    """Storage of OTLP requests that were not delivered yet."""

    path: str | None = declare(
        "/var/lib/neuron-exporter/otlp-spool.db",
        "File of undelivered requests, separate from CloudWatch's; null keeps them in memory.",
    )


class OtlpConfig(ConfigSection):
    """Sending metrics over OTLP (OpenTelemetry), to a collector or to CloudWatch."""

    enabled: bool = declare(False, "Send metrics over OTLP; needs the extra `otlp`.")
    endpoint: Url | None = declare(
        None,
        "URL of the endpoint, to which `/v1/metrics` is appended if it has no path; null is "
        "CloudWatch's endpoint and requires `auth: sigv4`.",
    )
    auth: Literal["none", "sigv4"] = declare(
        "none", "`sigv4` signs requests with AWS credentials, which CloudWatch needs."
    )
    headers: Headers = declare(
        {},
        "Headers of each request: the value as text, `{file: /PATH}` (read for each request) or "
        "`{variable: NAME}`.",
    )
    compression: Literal["gzip", "none"] = declare("gzip", "Compression of requests.")
    interval: Annotated[Duration, between(1, 3600), WHOLE_SECONDS] = declare(
        "60s", "Time between two points of a series, 1s to 1h in whole seconds."
    )
    preset: Literal["none", "minimal", "standard", "full"] = declare(
        "full", "Metrics to send; `none` sends only those of `include`.", reloadable=True
    )
    include: Patterns = declare([], "Metrics to send beyond the preset.", reloadable=True)
    exclude: Patterns = declare(
        [], "Metrics not to send; takes precedence over `include`.", reloadable=True
    )
    resource_attributes: Attributes = declare(
        {}, "Resource attributes with fixed values, beside those of the machine."
    )
    allow_simulated: bool = declare(
        False, "Send simulated or replayed values to AWS, which is refused otherwise."
    )
    tls: OtlpTlsConfig = OtlpTlsConfig()
    budget: OtlpBudgetConfig = OtlpBudgetConfig()
    spool: OtlpSpoolConfig = OtlpSpoolConfig()
