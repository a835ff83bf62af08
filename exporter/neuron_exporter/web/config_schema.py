"""The schema of the web configuration file, which Prometheus' own exporters share.

Reference: docs/web-configuration.md of github.com/prometheus/exporter-toolkit. Settings that cannot
be supported are rejected with a reason, since a protection must not be dropped silently.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from neuron_exporter.text import shown_value
from neuron_exporter.validation import describe_error

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

ALWAYS_IN_TLS13 = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
"""Cipher suites of TLS 1.3, all of which are always enabled."""

CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""Cipher suites of TLS 1.2: OpenSSL's names by Go's names."""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""Curves: OpenSSL's names by Go's names."""

CLIENT_CERTIFICATES = {
    "NoClientCert": ssl.CERT_NONE,
    # Go would request a certificate without verifying it.
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
"""Verification modes of client certificates by Go's names."""

_HASH = re.compile(r"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_MIN_COST, _MAX_COST = 4, 16
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""Headers that may be set, with their allowed values if these are restricted."""

_SECRET = ("basic_auth_users", "tls_server_config.key", "tls_server_config.cert")
_MAX_SHOWN = 80


def _allowed(names: Iterable[str]) -> str:
    return f"allowed are {', '.join(names)}"


def _policy(value: Any) -> Any:
    if value in (None, ""):
        return "NoClientCert"
    if value in ("RequireAnyClientCert", "RequireClientCert"):
        raise ValueError(
            "Python's TLS cannot require a certificate without verifying it; "
            + _allowed(CLIENT_CERTIFICATES)
        )
    return _one_of(CLIENT_CERTIFICATES)(value)


def _version(value: Any) -> Any:
    if value in ("TLS10", "TLS11"):
        raise ValueError(f"is insecure and not supported; {_allowed(VERSIONS)}")
    return _one_of(VERSIONS)(value)


def _one_of(names: Iterable[str]) -> Any:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or value not in names:
            raise ValueError(_allowed(names))
        return value

    return check


def _user(value: Any) -> Any:
    if ":" in str(value):
        raise ValueError("a user name must not contain a colon")
    return value


def _hash(value: Any) -> Any:
    match = _HASH.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("must be a bcrypt hash, as created by `htpasswd -nBC 10 NAME`")
    if not _MIN_COST <= int(match[1]) <= _MAX_COST:
        # A higher cost takes longer than a request may.
        raise ValueError(f"must be a bcrypt hash with a cost of {_MIN_COST} to {_MAX_COST}")
    return value


def _headers(value: Any) -> Any:
    for name, text in value.items() if isinstance(value, dict) else ():
        if name not in _HEADERS:
            raise ValueError(f"{name} cannot be set; {_allowed(_HEADERS)}")
        if not isinstance(text, str) or not (text.isascii() and text.isprintable()):
            raise ValueError(f"{name} must be printable ASCII text")
        if text and _HEADERS[name] and text not in _HEADERS[name]:
            raise ValueError(f"{name} must be {' or '.join(_HEADERS[name])}")
    return value


def _rate_limit(value: Any) -> Any:
    if value is not None:
        raise ValueError("is not supported: connections are limited in number and duration instead")
    return value


_EMPTY_AS_DEFAULT = BeforeValidator(lambda value: {} if value is None else value)

Text = Annotated[str | None, BeforeValidator(lambda value: None if value == "" else value)]
User = Annotated[str, BeforeValidator(_user)]
Hash = Annotated[str, BeforeValidator(_hash)]
Version = Annotated[str, BeforeValidator(_version)]
Cipher = Annotated[str, BeforeValidator(_one_of([*CIPHERS, *ALWAYS_IN_TLS13]))]
Curve = Annotated[str, BeforeValidator(_one_of(CURVES))]


class WebConfigSection(BaseModel):
    """A mapping in the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsServerConfig(WebConfigSection):
    """TLS settings. PEM content is set inline or as a file, not both."""

    cert: Text = None
    key: Text = None
    client_ca: Text = None
    cert_file: Text = None
    key_file: Text = None
    client_ca_file: Text = None
    client_auth_type: Annotated[str, BeforeValidator(_policy)] = "NoClientCert"
    client_allowed_sans: Annotated[list[str], Field(min_length=1)] | None = None
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: list[Cipher] = []
    prefer_server_cipher_suites: bool = True
    # Before Python 3.15, only one curve can be set.
    curve_preferences: Annotated[list[Curve], Field(max_length=1)] = []


class HttpServerConfig(WebConfigSection):
    """HTTP settings. `http2` has no effect: this server offers HTTP/1.1 only."""

    http2: bool = True
    headers: Annotated[dict[str, str], BeforeValidator(_headers), _EMPTY_AS_DEFAULT] = {}


class WebConfig(WebConfigSection):
    """The whole file."""

    tls_server_config: Annotated[TlsServerConfig, _EMPTY_AS_DEFAULT] = TlsServerConfig()
    http_server_config: Annotated[HttpServerConfig, _EMPTY_AS_DEFAULT] = HttpServerConfig()
    basic_auth_users: Annotated[dict[User, Hash], _EMPTY_AS_DEFAULT] = {}
    rate_limit: Annotated[Literal[None], BeforeValidator(_rate_limit)] = None


def validate(document: Any) -> tuple[WebConfig | None, list[str]]:
    """Return the configuration in a document, or its problems."""
    try:
        return WebConfig.model_validate(document), []
    except ValidationError as error:
        return None, [_explain(each) for each in error.errors(include_url=False)]


def problem(key: str, message: str, value: Any = None) -> str:
    """Return one line about a key. Values that may be secret are left out."""
    if value is None or (key.startswith(_SECRET) and not key.endswith("_file")):
        return f"{key}: {message}"
    return f"{key}: {message} (got {shown_value(value, _MAX_SHOWN)})"


def _explain(error: Any) -> str:
    """Return the problem that one of pydantic's errors describes."""
    path = [str(part) for part in error["loc"] if part != "[key]"]
    key = ".".join(path) or "the file"
    if error["type"] == "extra_forbidden":
        fields: Any = WebConfig.model_fields
        if len(path) > 1:
            fields = fields[path[0]].annotation.model_fields
        return problem(key, f"unknown setting; {_allowed(fields)}")
    if error["type"] == "too_long":
        message = "must have at most one entry: Python's TLS supports no order of preference"
    else:
        message = describe_error(error)
    return problem(key, message, error["input"])
