"""Types of configuration values, and checks of their limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo

from neuron_exporter.text import MAX_LENGTH, format_duration, parse_duration, parse_size

_HOST = re.compile(
    r"(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*)?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]"
)
_REGION = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)?")
_HOST_NAME = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
"""A field name of RFC 9110, section 5.1."""
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]{0,8190}[\x21-\x7e])?")
_BOOL = TypeAdapter(bool)

MAX_PROCESS_LABELS = 8

SET_HEADERS = (
    *("accept-encoding", "connection", "content-encoding", "content-length", "content-type"),
    *("expect", "host", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
)
"""Headers that the exporter sets itself, or that belong to the connection, in lower case."""


def _duration(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError('must be a duration with its unit, such as "5s" or "1m"')
    return parse_duration(value)


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueError('must be a size such as "16MiB"')
    return parse_size(value)


def _bool_or_auto(value: Any) -> bool | str:
    if value == "auto":
        return "auto"
    try:
        return _BOOL.validate_python(value)
    except ValidationError:
        raise ValueError("must be true, false or auto") from None


def _path_bool_or_auto(value: Any) -> bool | str:
    if isinstance(value, str) and value.startswith("/") and "\0" not in value:
        return value
    try:
        return _bool_or_auto(value)
    except ValueError:
        raise ValueError("must be true, false, auto or an absolute path") from None


def _address(value: Any) -> str:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if host.count(":") > 1 and "[" not in host:
        raise ValueError('must have an IPv6 address in brackets, as in "[::]:9415"')
    if not (colon and _HOST.fullmatch(host) and re.fullmatch("[0-9]{1,5}", port)):
        raise ValueError('must be HOST:PORT, as in ":9415", "127.0.0.1:9415" or "[::1]:9415"')
    if int(port) > 65535:
        raise ValueError("must have a port from 0 to 65535")
    return str(value)


def check_url(value: Any, example: str) -> str:
    """Return a URL of HTTP that has a host and, if any, a valid port.

    Raises:
        ValueError: it is another value; the message names an `example`.
    """
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ValueError(f'must be a URL that begins with http:// or https://, such as "{example}"')
    if not value.isascii() or not value.isprintable() or " " in value or "\\" in value:
        raise ValueError("must be a URL without spaces or other characters that must be escaped")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = "", None
    if not host or port == 0:
        raise ValueError(
            f'must be a URL with a host and, if any, a valid port, such as "{example}"'
        )
    return value


def _url(value: Any) -> str:
    url = check_url(value, "https://collector.example.com:4318")
    if "?" in url or "#" in url:
        raise ValueError("must be a URL without a query (?) or a fragment (#)")
    if "@" in url:
        raise ValueError(
            "must be a URL without a user name or password; credentials belong in otlp.headers"
        )
    return url


def _header_value(value: Any) -> SecretStr | dict[str, str]:
    """Return the text of a header, or the file or variable that has it."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str):
        if not _HEADER_VALUE.fullmatch(text):
            raise ValueError(
                "must be printable ASCII text without leading or trailing spaces, {file: /PATH} or "
                "{variable: NAME}"
            )
        return SecretStr(text)
    match value:
        case {"file": str(path)} if len(value) == 1:
            if not path.startswith("/") or "\0" in path:
                raise ValueError("must name a file by its absolute path")
        case {"variable": str(name)} if len(value) == 1:
            if not _VARIABLE.fullmatch(name):
                raise ValueError('must name an environment variable, such as "OTLP_TOKEN"')
        case _:
            raise ValueError("must be text, {file: /PATH} or {variable: NAME}")
    return dict(value)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _check(is_valid: Callable[[Any], object], message: str) -> AfterValidator:
    """Return a check that rejects other values with this message."""

    def check(value: Any) -> Any:
        if not is_valid(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def between(low: float, high: float) -> AfterValidator:
    """Return a check of a duration's limits, in seconds."""
    limits = f"{format_duration(low)} and {format_duration(high)}"
    return _check(lambda seconds: low <= seconds <= high, f"must be between {limits}")


def min_bytes(low: int) -> AfterValidator:
    """Return a check of a size's lower limit."""
    return _check(lambda count: count >= low, f"must be at least {low} bytes")


def distinct(identity: Callable[[Any], Hashable], noun: str) -> AfterValidator:
    """Return a check that no two items have the same identity."""
    return _check(
        lambda items: len(set(map(identity, items))) == len(items), f"must not name {noun} twice"
    )


WHOLE_SECONDS = _check(float.is_integer, "must be a whole number of seconds")
NAMES_PROGRAM = _check(lambda words: words[0].strip(), "must begin with the name of a program")

DURATION_SCHEMA = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"}
SIZE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?(B|kB|MB|GB|KiB|MiB|GiB)|[0-9]+)$"},
    ]
}
_LIST_OR_ONE = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
}

Duration = Annotated[
    float, Field(allow_inf_nan=True), BeforeValidator(_duration), WithJsonSchema(DURATION_SCHEMA)
]
Size = Annotated[int, BeforeValidator(_size), WithJsonSchema(SIZE_SCHEMA)]
Switch = Annotated[
    bool | str, BeforeValidator(_bool_or_auto), WithJsonSchema({"enum": [True, False, "auto"]})
]
SwitchOrPath = Annotated[
    bool | str,
    BeforeValidator(_path_bool_or_auto),
    WithJsonSchema(
        {"anyOf": [{"enum": [True, False, "auto"]}, {"type": "string", "pattern": "^/"}]}
    ),
]
Addresses = Annotated[
    list[Annotated[str, BeforeValidator(_address)]],
    Field(min_length=1),
    distinct(str, "an address"),
    BeforeValidator(_as_list),
    WithJsonSchema(_LIST_OR_ONE),
]
Patterns = list[str]
AbsolutePath = Annotated[
    str,
    _check(
        lambda path: path.startswith("/") and not path.endswith("/") and "\0" not in path,
        "must be the absolute path of a file",
    ),
]
Url = Annotated[
    str,
    BeforeValidator(_url),
    WithJsonSchema({"type": "string", "pattern": "^https?://[^ @?#]+$"}),
]
Name = Annotated[str, _check(str.isprintable, "must be text without control characters")]
Region = Annotated[str, _check(_REGION.fullmatch, 'must be a region such as "us-east-1"')]
HostName = Annotated[
    str,
    _check(
        _HOST_NAME.fullmatch,
        'must be a name without scheme and port, such as "neuron.example.com" or "*.example.com"',
    ),
]
Dimension = Annotated[str, Field(min_length=1, max_length=255)]
_VariableName = Annotated[
    str,
    _check(
        _VARIABLE.fullmatch, 'must be the name of an environment variable, such as "AWS_REGION"'
    ),
]
_SecretText = Annotated[
    SecretStr,
    _check(lambda text: "\0" not in text.get_secret_value(), "must not contain a NUL"),
    WithJsonSchema({"type": "string"}),
]
Variables = dict[_VariableName, _SecretText | None]
_HeaderName = Annotated[
    str,
    _check(_HEADER.fullmatch, 'must be a header\'s name, such as "X-Api-Key"'),
    _check(lambda name: name.lower() not in SET_HEADERS, "is set by the exporter itself"),
]
HeaderValue = Annotated[SecretStr | dict[str, str], BeforeValidator(_header_value)]
Headers = Annotated[
    dict[_HeaderName, HeaderValue],
    _check(
        lambda headers: len({name.lower() for name in headers}) == len(headers),
        "must not name a header twice (case does not matter)",
    ),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    {"type": "string"},
                    *(
                        {
                            "type": "object",
                            "properties": {name: {"type": "string", "pattern": f"^{pattern}"}},
                            "required": [name],
                            "additionalProperties": False,
                        }
                        for name, pattern in (("file", "/"), ("variable", "[A-Za-z_]"))
                    ),
                ]
            },
            "propertyNames": {"pattern": f"^{_HEADER.pattern}$"},
        }
    ),
]
"""Headers by name: secret text, or a mapping with `file` or `variable`."""
_AttributeText = Annotated[
    str,
    Field(min_length=1, max_length=MAX_LENGTH),
    _check(str.isprintable, "must be text without control characters"),
]
Attributes = dict[_AttributeText, _AttributeText]
ProcessLabels = Annotated[
    dict[str, _VariableName],
    _check(
        lambda labels: len(labels) <= MAX_PROCESS_LABELS,
        f"must have at most {MAX_PROCESS_LABELS} labels",
    ),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": "string", "pattern": f"^{_VARIABLE.pattern}$"},
            "maxProperties": MAX_PROCESS_LABELS,
        }
    ),
]


def is_duration(field: FieldInfo) -> bool:
    """Return whether the value of the key is a duration: seconds, written with a unit."""
    return any(getattr(each, "func", None) is _duration for each in field.metadata)
