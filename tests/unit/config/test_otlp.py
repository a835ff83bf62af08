"""The section `otlp`: what its schema refuses, and that no header's value is shown."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from neuron_exporter.config import ConfigError, LoadedConfig, Override, load
from neuron_exporter.config.reference import json_schema
from neuron_exporter.config.variables import as_variables

SECRET = "hunter2-hunter2"  # noqa: S105


def loaded(**keys: Any) -> LoadedConfig:
    """Load a configuration with these keys of the section."""
    return load(flags=[Override("test", f"otlp.{key}", value) for key, value in keys.items()])


def problem(**keys: Any) -> str:
    """Return the only error of these keys."""
    with pytest.raises(ConfigError) as caught:
        loaded(**keys)
    (line,) = caught.value.problems
    return line.removeprefix("test: otlp.")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:4318",
        "https://collector.example.com/otlp/v1/metrics",
        "https://[::1]:4318/v1/metrics",
    ],
)
def test_endpoints(url: str) -> None:
    assert loaded(endpoint=url).config.otlp.endpoint == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("collector:4318", "must be a URL that begins with http:// or https://"),
        ("grpc://collector:4317", "must be a URL that begins with http:// or https://"),
        (4318, "must be a URL that begins with http:// or https://"),
        (
            "https://user:pw@host",
            "must be a URL without a user name or password; credentials belong in otlp.headers",
        ),
        ("https://host?key=1", "must be a URL without a query (?) or a fragment (#)"),
        ("https://host/#here", "must be a URL without a query (?) or a fragment (#)"),
        ("https://", "must be a URL with a host"),
        ("https://host:70000", "must be a URL with a host and, if any, a valid port"),
        ("https://host:0", "must be a URL with a host and, if any, a valid port"),
        ("https://[::1", "must be a URL with a host"),
        ("https://ho st", "must be a URL without spaces"),
        ("https://hóst", "must be a URL without spaces"),
    ],
)
def test_invalid_endpoints(url: Any, message: str) -> None:
    assert problem(endpoint=url).startswith(f"endpoint: {message}")


def test_password_in_the_endpoint_is_not_shown() -> None:
    assert SECRET not in problem(endpoint=f"https://user:{SECRET}@host")


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Host": "x"}, "Host is set by the exporter itself"),
        ({"content-TYPE": "x"}, "content-TYPE is set by the exporter itself"),
        ({"X Key": "x"}, "X Key must be a header's name"),
        ({"X-Key": " x"}, "X-Key must be printable ASCII text"),
        ({"X-Key": "a\nb"}, "X-Key must be printable ASCII text"),
        ({"X-Key": "ä"}, "X-Key must be printable ASCII text"),
        ({"X-Key": 5}, "X-Key must be text, {file: /PATH} or {variable: NAME}"),
        ({"X-Key": None}, "X-Key must be text, {file: /PATH} or {variable: NAME}"),
        ({"X-Key": {"path": "/a"}}, "X-Key must be text, {file: /PATH} or {variable: NAME}"),
        ({"X-Key": {"file": "a"}}, "X-Key must name a file by its absolute path"),
        ({"X-Key": {"file": "/a", "variable": "B"}}, "X-Key must be text, {file: /PATH}"),
        ({"X-Key": {"variable": "A-B"}}, "X-Key must name an environment variable"),
        ({"Authorization": {"file": "a"}}, "Authorization must name a file by its absolute path"),
    ],
)
def test_invalid_headers(headers: dict[str, Any], message: str) -> None:
    assert problem(headers=headers).startswith(f"headers: {message}")


def test_headers_that_differ_in_case_only() -> None:
    message = "headers: must not name a header twice (case does not matter)"
    assert problem(headers={"X-Key": "a", "x-key": "b"}) == message


@pytest.mark.parametrize(
    "keys",
    [
        {"headers": {"X-Key": f"\n{SECRET}"}},
        {"headers": {"X-Key": [SECRET]}},
        {"headers": {"X-Key": {SECRET: SECRET}}},
        {"headers": SECRET},
        {"headers": [SECRET]},
        {"headers": {"X-Key": SECRET, "Host": SECRET}},
    ],
)
def test_values_are_never_in_an_error(keys: dict[str, Any]) -> None:
    assert SECRET not in problem(**keys)


def test_values_are_secret() -> None:
    text = loaded(headers={"Authorization": f"Bearer {SECRET}"})
    value = text.config.otlp.headers["Authorization"]
    assert isinstance(value, SecretStr)
    assert value.get_secret_value() == f"Bearer {SECRET}"
    assert SECRET not in str(text)
    assert SECRET not in str(text.config.model_dump(mode="json"))
    assert text.sha256 == loaded(headers={"Authorization": "Bearer other"}).sha256


def test_header_by_a_variable_of_the_configuration() -> None:
    prefix = "NEURON_EXPORTER__OTLP__HEADERS"
    one = load(environment={f"{prefix}__X-Key": "{variable: KEY}"}).config.otlp
    both = load(environment={prefix: "{X-Key: {variable: KEY}, X-Team: a}"}).config.otlp
    assert one.headers == {"X-Key": {"variable": "KEY"}}
    assert both.headers == {"X-Key": {"variable": "KEY"}, "X-Team": SecretStr("a")}
    with pytest.raises(ConfigError) as caught:
        load(environment={f"{prefix}__Authorization": "{variable: 1a}"})
    message = f"{prefix}: otlp.headers: Authorization must name an environment variable"
    assert caught.value.problems[0].startswith(message)


def test_variables_carry_the_section() -> None:
    """`task-definition` writes it so; the variables have the values of headers."""
    section = loaded(
        headers={"X-Key": "a: b", "X-File": {"file": "/run/key"}},
        resource_attributes={"deployment.environment.name": "prod"},
        interval="30s",
    )
    assert load(environment=as_variables(section)).config.otlp == section.config.otlp


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"interval": "1500ms"}, "interval: must be a whole number of seconds"),
        ({"interval": "2h"}, "interval: must be between 1s and 1h"),
        ({"auth": "basic"}, "auth: must be none or sigv4"),
        ({"compression": "zstd"}, "compression: must be gzip or none"),
        ({"tls.ca_file": "ca.pem"}, "tls.ca_file: must be the absolute path of a file"),
        ({"resource_attributes": {"a": ""}}, "resource_attributes.a: must not be empty"),
        ({"resource_attributes": {"a": "b\n"}}, "resource_attributes.a: must be text without"),
        ({"spool.max_age": "15d"}, "spool.max_age: must be between 1m and 14d"),
        ({"budget.max_monthly_usd": 0}, "budget.max_monthly_usd: must be more than 0"),
    ],
)
def test_invalid_values(keys: dict[str, Any], message: str) -> None:
    assert problem(**keys).startswith(message)


def test_schema_of_headers() -> None:
    node = json_schema()["$defs"]["OtlpConfig"]["properties"]["headers"]
    kinds = [each["type"] for each in node["additionalProperties"]["anyOf"]]
    assert kinds == ["string", "object", "object"]
