"""Write a configuration as environment variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from neuron_exporter.config.load import PREFIX, ConfigError, LoadedConfig, load
from neuron_exporter.config.section import ConfigSection
from neuron_exporter.config.values import is_duration
from neuron_exporter.text import format_duration


def variable_name(key: str) -> str:
    """Return the name of the variable that sets a dotted key."""
    return PREFIX + key.upper().replace(".", "__")


def as_variables(loaded: LoadedConfig) -> dict[str, str]:
    """Return the variables that set every key of the configuration that is not left out, by name.

    Raises:
        ConfigError: a value cannot be written as a variable.
    """
    values = dict(_set_keys(loaded.config))
    variables = {variable_name(key): value for key, value in values.items()}
    problems = [
        loaded.problem(key, "cannot be written as an environment variable", value)
        for key, value in values.items()
        if not _reads_back(loaded, key, value)
    ]
    if problems:
        raise ConfigError(problems)
    return variables


def _set_keys(section: ConfigSection, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key that is set, with its value as text."""
    for name, field in type(section).model_fields.items():
        if name not in section.model_fields_set:
            continue
        value = getattr(section, name)
        if isinstance(value, ConfigSection):
            yield from _set_keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _as_text(value, field)


def _as_text(value: Any, field: FieldInfo) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | Mapping):
        text: str = yaml.safe_dump(
            _revealed(value),
            default_flow_style=True,
            allow_unicode=True,
            sort_keys=False,
            width=float("inf"),
        )
        return text.strip()
    return format_duration(value) if is_duration(field) else str(value)


def _revealed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _revealed(each) for name, each in value.items()}
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _reads_back(loaded: LoadedConfig, key: str, text: str) -> bool:
    """Return whether a variable with this text sets the key to the same value."""
    try:
        read: Any = load(environment={variable_name(key): text}).config
    except ConfigError:
        return False
    written: Any = loaded.config
    for name in key.split("."):
        read, written = getattr(read, name), getattr(written, name)
    return bool(text.strip() and read == written)
