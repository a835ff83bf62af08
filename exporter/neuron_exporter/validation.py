"""Strict YAML and the wording of errors, for the configuration and the web configuration."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from difflib import get_close_matches
from typing import Any, NamedTuple

import yaml

MAX_FILE_BYTES = 1024 * 1024

Path = tuple[str, ...]
"""Keys and list indices that lead from the top of a document to one of its values."""

_KINDS = {
    "must be true or false": ("bool_parsing", "bool_type"),
    "must be a whole number": ("int_parsing", "int_type", "int_from_float"),
    "must be a number": ("float_parsing", "float_type", "finite_number"),
    "must be text": ("string_type",),
    "must not be empty": ("string_too_short", "too_short"),
    "must be a list, as in [a, b]": ("list_type",),
    "must be a mapping": ("dict_type", "model_type", "model_attributes_type"),
    "must be a name in quotes": ("invalid_key",),
}
"""What a value must be, with the types of pydantic's errors that say so."""

_MESSAGES = {kind: message for message, kinds in _KINDS.items() for kind in kinds}

_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"


class YamlError(Exception):
    """A text that is not YAML; `line` counts from 1 and is 0 where the parser does not know it."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Document(NamedTuple):
    """The value of a YAML text (None for an empty one), the line of every key and list item, and
    the repeated keys with their lines."""

    value: Any
    lines: dict[Path, int]
    repeated: list[tuple[Path, int]]


def parse_yaml(raw: bytes) -> Document:
    """Parse a YAML text whose mapping keys are text, even `on` and `1`.

    Raises:
        YamlError: the text is not YAML.
    """
    document = Document(None, {}, [])
    try:
        root = yaml.compose(raw.decode("utf-8"), yaml.SafeLoader)
        if root is None:
            return document
        _walk(root, (), document, set())
        return document._replace(value=yaml.SafeLoader("").construct_document(root))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        raise YamlError(f"is not YAML: {error.problem or error.context}", line) from None
    except RecursionError:
        raise YamlError("is nested too deeply") from None
    except (ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
        # PyYAML raises the first four for values that do not fit their tag, such as `!!bool maybe`.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise YamlError(f"is not YAML: {reason}") from None


def _walk(node: yaml.Node, path: Path, document: Document, visited: set[int]) -> None:
    """Record lines and repeated keys below a node, and make its keys text."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in visited:
        return
    visited.add(id(node))  # an alias may refer to a node that contains it
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            below = (*path, str(index))
            document.lines[below] = item.start_mark.line + 1
            _walk(item, below, document, visited)
        return
    seen = set()
    # Merged mappings ("<<") first: the keys beside them override theirs.
    for name, value in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):
        if name.tag == _MERGE:
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                _walk(merged, path, document, visited)
            continue
        if isinstance(name, yaml.ScalarNode):
            name.tag = _TEXT
        below = (*path, str(name.value))
        document.lines[below] = name.start_mark.line + 1
        if below in seen:
            document.repeated.append((below, document.lines[below]))
        seen.add(below)
        _walk(value, below, document, visited)


def describe_error(error: Any) -> str:
    """Return what the value of one of pydantic's errors must be."""
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "literal_error":
            return f"must be {context['expected'].replace(chr(39), '')}"
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "greater_than":
            return f"must be more than {context['gt']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}"
        case "string_type" if isinstance(error["input"], bool | int | float | date):
            return "must be text: put it in quotes"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case _:
            return str(_MESSAGES.get(kind, error["msg"]))


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Return a hint for an unknown name: the nearest allowed names, or all of them."""
    allowed = list(allowed)
    near = get_close_matches(name, allowed, 3, 0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"allowed are {', '.join(allowed)}"
