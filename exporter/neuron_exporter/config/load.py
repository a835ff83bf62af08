"""Reads file, environment and flags into one configuration, or says all that is wrong with it.

The three are merged into one mapping before the one validation, each value with the place where it
came from, so that an error names its true origin.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from neuron_exporter.config.schema import Config
from neuron_exporter.config.shown import shown

PREFIX = "NEURON_EXPORTER__"
LARGEST_FILE = 1024 * 1024
_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"

Key = tuple[str, ...]


class Given(NamedTuple):
    """A value that a flag gives: the flag, the dotted key it sets, the value."""

    origin: str
    key: str
    value: Any


class ConfigError(Exception):
    """Everything that is wrong with a configuration, one line for each problem.

    `rest` has the sections that are legal, and defaults for the others: what the parts say of it is
    true as well, and can be told at once.
    """

    def __init__(self, problems: Sequence[str], rest: Loaded | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.rest = rest


class Loaded(NamedTuple):
    """A configuration, and where each of its values came from."""

    config: Config
    origins: Mapping[Key, str]

    def problem(self, key: str, message: str, given: Any = None) -> str:
        """One line about a key whose value passed the schema and still cannot be used."""
        origin = _origin(self.origins, tuple(key.split(".")))
        return _line(origin, key, message, *(() if given is None else (given,)))

    def is_set(self, key: str) -> bool:
        """Whether the user gave this key, or one below it, a value."""
        wanted = tuple(key.split("."))
        return any(known[: len(wanted)] == wanted for known in self.origins)


def load(
    path: str | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Iterable[Given] = (),
) -> Loaded:
    """The configuration from a file, then the environment, then flags; the last one wins.

    Raises:
        ConfigError: with every problem of all three.
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
            problems.append(f"{name}: names no key, as {PREFIX}LOG__LEVEL does")
    for flag in flags:
        _put(document, origins, tuple(flag.key.split(".")), flag.value, flag.origin, problems)

    _drop_empty_sections(document, Config)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        problems += (_explain(each, document, origins) for each in wrong)
        sections = {each["loc"][0] for each in wrong}
        legal = {name: value for name, value in document.items() if name not in sections}
        config = Config.model_validate(legal)
    loaded = Loaded(config, origins)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)), loaded)
    return loaded


# Reading


def _read_file(path: str, origins: dict[Key, str], problems: list[str]) -> dict[str, Any]:
    lines: dict[Key, str] = {}
    twice: list[str] = []
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        if len(raw) > LARGEST_FILE:
            raise OSError(errno.EFBIG, "larger than 1 MiB")
        root = yaml.compose(raw.decode("utf-8"), yaml.SafeLoader)
        if root is None:
            return {}
        _note_lines(root, (), path, lines, twice, set())
        document = yaml.SafeLoader("").construct_document(root)
    except OSError as error:
        problems.append(f"{path or repr(path)}: cannot be read: {error.strerror}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f":{mark.line + 1}" if mark else ""
        problems.append(f"{path}{at}: is not YAML: {error.problem or error.context}")
    except RecursionError:
        problems.append(f"{path}: is nested too deeply")
    except (ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
        # The last ones but YAMLError are what PyYAML makes of wrong tags: `!!bool maybe`.
        problems.append(
            f"{path}: is not YAML: {(str(error) or type(error).__name__).splitlines()[0]}"
        )
    else:
        if isinstance(document, dict):
            origins.update(lines)
            problems += twice
            return document
        if document is None:
            return {}
        problems.append(
            f"{path}: must be a mapping of sections ({', '.join(Config.model_fields)})"
            f" (got {shown(document)})"
        )
    return {}


def _note_lines(
    node: yaml.Node,
    key: Key,
    path: str,
    origins: dict[Key, str],
    problems: list[str],
    walked: set[int],
) -> None:
    """Note the line of every key and entry, complain about keys that stand twice, and make keys
    text."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in walked:
        return
    walked.add(id(node))  # an alias may lead back to where it stands
    if isinstance(node, yaml.SequenceNode):
        for at, entry in enumerate(node.value):
            below = (*key, str(at))
            origins[below] = f"{path}:{entry.start_mark.line + 1}"
            _note_lines(entry, below, path, origins, problems, walked)
        return
    seen = set()
    # What "<<" brings in is there to be overridden by the keys that stand beside it.
    for name, value in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):
        if name.tag == _MERGE:
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                _note_lines(merged, key, path, origins, problems, walked)
            continue
        if isinstance(name, yaml.ScalarNode):
            name.tag = _TEXT  # a name such as `on` or `1` is what was typed
        below = (*key, str(name.value))
        origin = f"{path}:{name.start_mark.line + 1}"
        if below in seen:
            problems.append(f"{origin}: {'.'.join(below)}: is set twice")
        seen.add(below)
        origins[below] = origin
        _note_lines(value, below, path, origins, problems, walked)


def _key_of(variable: str) -> Key:
    """The key that a variable sets; names that are the user's own keep their case."""
    key: Key = ()
    model: Any = Config
    for part in variable[len(PREFIX) :].split("__"):
        known = isinstance(model, type) and issubclass(model, BaseModel)
        key = (*key, part.lower() if known else part)
        field = model.model_fields.get(key[-1]) if known else None
        model = field.annotation if field else None
    return key


def _parse_variable(text: str) -> Any:
    """Lists and mappings are written as in YAML; everything else is taken as it stands."""
    text = text.strip()
    if text in ("null", "~"):
        return None
    if text[0] + text[-1] not in ("[]", "{}"):  # "[::]:9415" is an address
        return text
    try:
        return yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        return text


def _put(
    document: dict[str, Any],
    origins: dict[Key, str],
    key: Key,
    value: Any,
    origin: str,
    problems: list[str],
) -> None:
    """Set a value, making the mappings on the way to it."""
    for at, part in enumerate(key[:-1], 1):
        below = document.get(part)
        if below is not None and not isinstance(below, dict):
            name, place = ".".join(key[:at]), _origin(origins, key[:at])
            problems.append(_line(place, name, f"must be a mapping, since {origin} is set", below))
            below = None
        # A copy, since an alias may be the same mapping in two places.
        document[part] = below = dict(below or {})
        document = below
    document[key[-1]] = value
    for old in [known for known in origins if known[: len(key)] == key]:
        del origins[old]
    origins[key] = origin


def _drop_empty_sections(document: dict[str, Any], model: type[BaseModel]) -> None:
    """A section with every key commented out is the section's default."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if name in document and isinstance(section, type) and issubclass(section, BaseModel):
            if document[name] is None:
                del document[name]
            elif isinstance(document[name], dict):
                _drop_empty_sections(document[name], section)


# Explaining

_WORDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "list_type": "must be a list, as in [a, b]",
    "finite_number": "must be a number",
    "dict_type": "must be a mapping",
    "invalid_key": "must be a name in quotes",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}


def _explain(error: Any, document: dict[str, Any], origins: Mapping[Key, str]) -> str:
    """One of pydantic's errors in our own words."""
    key = tuple(str(part) for part in error["loc"])
    # A union's branches stand in the location of its errors; the document has no such key.
    while len(key) > 1 and not _exists(document, key) and error["type"] != "missing":
        key = key[:-1]
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    if kind == "extra_forbidden":
        allowed = _allowed(key[:-1])
        return _line(
            _origin(origins, key), ".".join(key), "unknown setting; " + suggest(key[-1], allowed)
        )
    match kind:
        case "literal_error":
            message = f"must be {context['expected'].replace(chr(39), '')}"
        case "value_error":
            message = str(context["error"])
        case "greater_than_equal":
            message = f"must be at least {context['ge']:g}"
        case "greater_than":
            message = f"must be more than {context['gt']:g}"
        case "less_than_equal":
            message = f"must be at most {context['le']:g}"
        case "string_type" if isinstance(given, bool | int | float | date):
            message = "must be text: put it in quotes"
        case "too_short":
            message = f"must have at least {context['min_length']} entry"
        case "string_too_short":
            message = "must not be empty"
        case "string_too_long":
            message = f"must have at most {context['max_length']} characters"
        case _:
            message = _WORDS.get(kind, error["msg"])
    return _line(_origin(origins, key), ".".join(key), message, given)


def _exists(document: Any, key: Key) -> bool:
    for part in key:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return False
    return True


def _allowed(section: Key) -> list[str]:
    """The keys of a section."""
    model: Any = Config
    for part in section:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def suggest(given: str, allowed: Iterable[str]) -> str:
    """The nearest of what is allowed, or all of it."""
    allowed = list(allowed)
    near = get_close_matches(given, allowed, 3, 0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"allowed are {', '.join(allowed)}"


def _origin(origins: Mapping[Key, str], key: Key) -> str:
    """Where the key was set, or the nearest one above it, or one below it."""
    for length in range(len(key), 0, -1):
        if key[:length] in origins:
            return origins[key[:length]]
    below = (origin for known, origin in origins.items() if known[: len(key)] == key)
    return next(below, "default")


def _line(origin: str, key: str, message: str, *given: Any) -> str:
    return f"{origin}: {key}: {message}" + "".join(f" (got {shown(each)})" for each in given)
