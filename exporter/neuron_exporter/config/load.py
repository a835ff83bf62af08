"""Read file, environment variables and flags into one validated configuration.

The three are merged into one mapping that is validated once. Each value keeps its origin (file and
line, variable or flag), which error messages name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from neuron_exporter.config.schema import Config
from neuron_exporter.config.section import section_of
from neuron_exporter.text import MAX_LENGTH, mask_secrets, sanitize_text, shown_value
from neuron_exporter.validation import (
    MAX_FILE_BYTES,
    YamlError,
    bounded_problems,
    describe_error,
    parse_yaml,
    suggest,
)

PREFIX = "NEURON_EXPORTER__"
"""Environment variables that set a key begin with this."""

_PRIVATE = ("source.environment", "source.command", "otlp.headers")
"""Keys whose values, and those of their section, may be secret: no message shows them."""

_HEADERS = "otlp.headers."

Key = tuple[str, ...]


class Override(NamedTuple):
    """A value that takes precedence over file and environment: its origin, such as the name of a
    flag, the dotted key, and the value."""

    origin: str
    key: str
    value: Any


class ConfigError(Exception):
    """All errors of a configuration, one line each; of very many, the first and their number.

    `partial` is the configuration with the invalid sections at their defaults, so that the checks
    beyond the schema can report their errors in the same run.
    """

    def __init__(self, problems: Sequence[str], partial: LoadedConfig | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
        self.partial = partial


class LoadedConfig(NamedTuple):
    """A validated configuration and the origin of each value that was set."""

    config: Config
    origins: Mapping[Key, str]

    def origin(self, key: str) -> str:
        """Return where a key is set: file and line, variable, flag, or `default`."""
        return _origin(self.origins, tuple(key.split(".")))

    @property
    def sha256(self) -> str:
        """SHA-256 of the settings that differ from the defaults, without secret values. It depends
        neither on where nor in what order they are set."""
        settings = self.config.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def problem(self, key: str, message: str, value: Any = None) -> str:
        """Return an error line for a key that is valid by the schema but cannot be used."""
        return _line(self.origin(key), key, message, *(() if value is None else (value,)))


def load(
    path: str | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Iterable[Override] = (),
) -> LoadedConfig:
    """Load the configuration: flags override environment variables, which override the file.

    Raises:
        ConfigError: with all errors of the three.
    """
    problems: list[str] = []
    document: dict[str, Any] = {}
    origins: dict[Key, str] = {}
    if path is not None:
        document = _read_file(path, origins, problems)
    for name, text in sorted((environment or {}).items()):
        if not name.startswith(PREFIX) or not text.strip():
            continue
        key = _key_of(name)
        if all(key):
            _put(document, origins, key, _parse_variable(text), name, problems)
        else:
            problems.append(f"{name}: does not name a key (example: {PREFIX}LOG__LEVEL)")
    for flag in flags:
        _put(document, origins, tuple(flag.key.split(".")), flag.value, flag.origin, problems)

    _drop_empty_sections(document, Config)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems += (_explain(each, document, origins) for each in errors)
        invalid = {each["loc"][0] for each in errors}
        config = Config.model_validate({k: v for k, v in document.items() if k not in invalid})
    loaded = LoadedConfig(config, origins)
    if problems:
        raise ConfigError(bounded_problems(dict.fromkeys(problems)), loaded)
    return loaded


def _read_file(path: str, origins: dict[Key, str], problems: list[str]) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, "larger than 1 MiB")
        document, lines, repeated = parse_yaml(raw)
    except OSError as error:
        problems.append(f"{path or repr(path)}: cannot be read: {error.strerror}")
        return {}
    except YamlError as error:
        problems.append(f"{path}:{error.line}: {error}" if error.line else f"{path}: {error}")
        return {}
    if document is None:
        return {}
    if not isinstance(document, dict):
        sections, got = ", ".join(Config.model_fields), shown_value(document)
        problems.append(f"{path}: must be a mapping of sections ({sections}) (got {got})")
        return {}
    origins.update((key, f"{path}:{line}") for key, line in lines.items())
    problems += (_line(f"{path}:{line}", ".".join(key), "is set twice") for key, line in repeated)
    return document


def _key_of(variable: str) -> Key:
    """Return the key that a variable sets. Names chosen by the user, such as those of dimensions,
    keep their case."""
    key: Key = ()
    section: type[BaseModel] | None = Config
    for part in variable[len(PREFIX) :].split("__"):
        key = (*key, part.lower() if section else part)
        field = section.model_fields.get(key[-1]) if section else None
        section = section_of(field) if field else None
    return key


def _parse_variable(text: str) -> Any:
    """Return the value of a variable: lists and mappings are YAML, all else is plain text."""
    text = text.strip()
    if text in ("null", "~"):
        return None
    if text[0] + text[-1] not in ("[]", "{}"):  # "[::]:9415" is an address
        return text
    try:
        return parse_yaml(text.encode()).value
    except (UnicodeEncodeError, YamlError):
        return text


def _put(
    document: dict[str, Any],
    origins: dict[Key, str],
    key: Key,
    value: Any,
    origin: str,
    problems: list[str],
) -> None:
    """Set a value in the document, creating the mappings above it."""
    for depth, part in enumerate(key[:-1], 1):
        below = document.get(part)
        if below is not None and not isinstance(below, dict):
            above = key[:depth]
            message = f"must be a mapping, since {origin} is set"
            problems.append(_line(_origin(origins, above), ".".join(above), message, below))
            below = None
        # A copy: through a YAML alias, two sections can be the same object.
        document[part] = below = dict(below or {})
        document = below
    document[key[-1]] = value
    for overridden in [each for each in origins if each[: len(key)] == key]:
        del origins[overridden]
    origins[key] = origin


def _drop_empty_sections(document: dict[str, Any], model: type[BaseModel]) -> None:
    """Remove sections without keys, such as those with every line commented out."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is None or name not in document:
            continue
        if document[name] is None:
            del document[name]
        elif isinstance(document[name], dict):
            _drop_empty_sections(document[name], section)


def _explain(error: Any, document: dict[str, Any], origins: Mapping[Key, str]) -> str:
    """Return the line for one of pydantic's errors."""
    key = tuple(str(part) for part in error["loc"])
    # pydantic appends the members of a union to the location; the document has no such keys.
    while len(key) > 1 and not _exists(document, key) and error["type"] != "missing":
        key = key[:-1]
    origin = _origin(origins, key)
    if error["type"] == "extra_forbidden":
        section: Any = Config
        for part in key[:-1]:
            section = section_of(section.model_fields[part])
        hint = suggest(key[-1], section.model_fields)
        return _line(origin, ".".join(key), f"unknown setting; {hint}")
    return _line(origin, ".".join(key), describe_error(error), error["input"])


def _exists(document: Any, key: Key) -> bool:
    for part in key:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return False
    return True


def _origin(origins: Mapping[Key, str], key: Key) -> str:
    """Return the origin of the key, or of the nearest key above it, or of one below it."""
    for length in range(len(key), 0, -1):
        if key[:length] in origins:
            return origins[key[:length]]
    below = (origin for each, origin in origins.items() if each[: len(key)] == key)
    return next(below, "default")


def _line(origin: str, key: str, message: str, *value: Any) -> str:
    if any(key.startswith(each) or each.startswith(f"{key}.") for each in _PRIVATE):
        value = ()
    if key.startswith(_HEADERS):
        # A header's name and a colon would look like the header itself, whose value is masked.
        key, message = _HEADERS[:-1], f"{key.removeprefix(_HEADERS)} {message}"
        origin = re.sub("(?<=OTLP__HEADERS)__.*", "", origin)
    got = "".join(f" (got {shown_value(each)})" for each in value)
    return f"{origin}: {sanitize_text(mask_secrets(key[:MAX_LENGTH]))}: {message}{got}"
