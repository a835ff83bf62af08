"""Settings of the OTLP sink and of its transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from neuron_exporter.model import Labels

NAME = "otlp"
"""Name of the sink in log events and labels."""

METRICS_PATH = "/v1/metrics"
"""Path of the metrics at an endpoint whose URL has none."""

SIGNATURE_HEADERS = frozenset(
    {"authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}
)
"""Headers of a signature, in lower case. The configuration refuses them with `sigv4`."""


@dataclass(frozen=True, slots=True)
class HeaderFile:
    """A header whose value is the content of a file, read for each attempt."""

    path: str


HeaderValue = str | HeaderFile


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """Settings of the transport.

    Attributes:
        endpoint: URL; None for CloudWatch's in the region.
        sigv4: Whether requests are signed for CloudWatch.
        headers: Values of additional headers, which may be secret. The configuration refuses the
            headers that the transport sets itself.
        gzip: Whether bodies are compressed.
        ca_file: PEM file of the trusted authorities; None for the system's, or for botocore's if
            requests are signed.
        cert_file, key_file: PEM files of the client's certificate and key.
    """

    endpoint: str | None = None
    sigv4: bool = False
    headers: Mapping[str, HeaderValue] = field(default_factory=dict, repr=False)
    gzip: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """Settings of the sink.

    Attributes:
        endpoint: URL; None for CloudWatch's in the region.
        sigv4: Whether requests are signed for CloudWatch, which needs a region.
        interval: Length of an interval in seconds.
        resource_attributes: Additional attributes of the resource.
        labels: Constant labels of all points.
        identity_labels: Names of the machine's labels; None for all.
        monthly_bytes: Bytes that may be sent in a month; None for any number.
        keep: Globs of metric names that the budget never suppresses.
        spool_names: Fields of the machine's identity that the spool's path contains.
        spread: Whether the machines of a fleet send at different times of the interval.
    """

    endpoint: str | None
    sigv4: bool
    interval: float
    resource_attributes: Mapping[str, str] = field(default_factory=dict)
    labels: Labels = ()
    identity_labels: Sequence[str] | None = None
    monthly_bytes: int | None = None
    keep: Sequence[str] = ()
    spool_names: Sequence[str] = ()
    spread: bool = True


def metrics_url(endpoint: str) -> str:
    """Return the URL to which metrics are sent: that of the endpoint, if it has a path."""
    parts = urlsplit(endpoint)
    if parts.path in ("", "/"):
        parts = parts._replace(path=METRICS_PATH)
    return urlunsplit(parts._replace(fragment=""))
