"""What a legal web configuration is: the file that Prometheus' own exporters share.

Its reference is docs/web-configuration.md of github.com/prometheus/exporter-toolkit. What of it
cannot be had here is refused with a reason, since a protection that is silently left out is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from reprlib import Repr
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from neuron_exporter.web.tls import ALWAYS_IN_TLS13, CIPHERS, CLIENT_CERTIFICATES, CURVES, VERSIONS

_HASH = re.compile(r"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_CHEAPEST, _DEAREST = 4, 16
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""Headers that may be set, and the values they may have where these are a few."""

_SECRET = ("basic_auth_users", "tls_server_config.key", "tls_server_config.cert")
_LONGEST_SHOWN = 80
_SHORT = Repr()  # an alias of an alias may stand for more than fits in memory


def _allowed(names: Iterable[str]) -> str:
    return f"allowed are {', '.join(names)}"


def _nothing(value: Any) -> Any:
    """An empty section is none."""
    return {} if value is None else value


def _blank(value: Any) -> Any:
    """An empty text is not set."""
    return None if value == "" else value


def _policy(value: Any) -> Any:
    if value in (None, ""):
        return "NoClientCert"
    if value in ("RequireAnyClientCert", "RequireClientCert"):
        raise ValueError(
            "a certificate that nobody verifies cannot be required with Python's TLS; "
            + _allowed(CLIENT_CERTIFICATES)
        )
    return _one_of(CLIENT_CERTIFICATES)(value)


def _version(value: Any) -> Any:
    if value in ("TLS10", "TLS11"):
        raise ValueError(f"is too old to be safe, and not spoken here; {_allowed(VERSIONS)}")
    return _one_of(VERSIONS)(value)


def _one_of(names: Iterable[str]) -> Any:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or value not in names:
            raise ValueError(_allowed(names))
        return value

    return check


def _user(value: Any) -> Any:
    if ":" in str(value):
        raise ValueError("a name that has a colon in it cannot be sent")
    return value


def _hash(value: Any) -> Any:
    match = _HASH.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("must be a bcrypt hash, such as `htpasswd -nBC 10 NAME` makes")
    if not _CHEAPEST <= int(match[1]) <= _DEAREST:
        # The next step takes longer than a request may.
        raise ValueError(f"must be a bcrypt hash of a cost from {_CHEAPEST} to {_DEAREST}")
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
        raise ValueError("is not supported: connections and their time are bounded already")
    return value


Text = Annotated[str | None, BeforeValidator(_blank)]
Version = Annotated[str, BeforeValidator(_version)]
Cipher = Annotated[str, BeforeValidator(_one_of([*CIPHERS, *ALWAYS_IN_TLS13]))]
Curve = Annotated[str, BeforeValidator(_one_of(CURVES))]


class Section(BaseModel):
    """A mapping of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsServer(Section):
    """TLS. Of each file's name and its content in place, one may be given."""

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
    # Python can set one before 3.15.
    curve_preferences: Annotated[list[Curve], Field(max_length=1)] = []


class HttpServer(Section):
    """HTTP. HTTP/2 is an offer that this server does not make, whether it may or not."""

    http2: bool = True
    headers: Annotated[dict[str, str], BeforeValidator(_headers), BeforeValidator(_nothing)] = {}


class WebConfig(Section):
    """The whole file."""

    tls_server_config: Annotated[TlsServer, BeforeValidator(_nothing)] = TlsServer()
    http_server_config: Annotated[HttpServer, BeforeValidator(_nothing)] = HttpServer()
    basic_auth_users: Annotated[
        dict[Annotated[str, BeforeValidator(_user)], Annotated[str, BeforeValidator(_hash)]],
        BeforeValidator(_nothing),
    ] = {}
    rate_limit: Annotated[Literal[None], BeforeValidator(_rate_limit)] = None


_WORDS = {
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be text: put it in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "too_short": "must not be empty",
    "too_long": "may have one entry: Python's TLS cannot be given an order",
}


def validate(document: Any) -> tuple[WebConfig | None, list[str]]:
    """The configuration that a document is, or what is wrong with it."""
    try:
        return WebConfig.model_validate(document), []
    except ValidationError as error:
        return None, [_explain(each) for each in error.errors(include_url=False)]


def problem(key: str, message: str, given: Any = None) -> str:
    """One line about a key. What may be secret is not shown."""
    if given is None or (key.startswith(_SECRET) and not key.endswith("_file")):
        return f"{key}: {message}"
    text = repr(given) if isinstance(given, str) else _SHORT.repr(given)
    text = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return f"{key}: {message} (got {text})"


def _explain(error: Any) -> str:
    """One of pydantic's errors in our own words."""
    path = [str(part) for part in error["loc"] if part != "[key]"]
    key = ".".join(path) or "the file"
    if error["type"] == "extra_forbidden":
        fields: Any = WebConfig.model_fields
        if len(path) > 1:
            fields = fields[path[0]].annotation.model_fields
        return problem(key, f"unknown setting; {_allowed(fields)}")
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
    else:
        message = _WORDS.get(error["type"], error["msg"])
    return problem(key, message, error["input"])
