"""Strict YAML and the wording of errors, for the configuration and the web configuration."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from difflib import get_close_matches
from typing import Any, NamedTuple

import yaml

from neuron_exporter.text import safe_message

MAX_FILE_BYTES = 1024 * 1024

MAX_PROBLEMS = 50
"""Maximum number of errors of a file that are listed."""

MAX_VALUES = 10_000
"""Maximum number of keys, values, lists and mappings in a document, where an alias counts as many
as it stands for."""

MAX_KEY_LENGTH = 1024

_MAX_NUMBER_LENGTH = 100

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
}
"""What a value must be, with the types of pydantic's errors that say so."""

_MESSAGES = {kind: message for message, kinds in _KINDS.items() for kind in kinds}

_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
_INTEGER, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"

_UNFIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What PyYAML raises for values that do not fit their tag, such as `!!bool maybe`."""


class YamlError(Exception):
    """A text that is not YAML; `line` counts from 1 and is 0 where the parser does not know it."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(safe_message(message))
        self.line = line


class SettingProblem(NamedTuple):
    """An invalid setting: its key, its value (None is not shown), and what is wrong with it."""

    key: str
    value: object
    message: str


class Document(NamedTuple):
    """The value of a YAML text (None for an empty one), the line of every key and list item, and
    the repeated keys with their lines."""

    value: Any
    lines: dict[Path, int]
    repeated: list[tuple[Path, int]]


class _Loader(yaml.SafeLoader):
    """Loader whose work is bounded: a short text can stand for more than fits in memory."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        before = self._values
        line: int = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        # A list or mapping that contains its own alias has no size yet.
        self._values += self._sizes.get(id(node), 1) if is_alias else 1
        if self._values > MAX_VALUES:
            raise YamlError(f"stands for more than {MAX_VALUES} values", line)
        if not is_alias:
            self._sizes[id(node)] = self._values - before
        return node

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """Return the number, or its text where YAML 1.1 means base 60 or the number is very long:
        reading such digits takes time that grows with their square."""
        text = self.construct_scalar(node)
        if ":" in text or len(text) > _MAX_NUMBER_LENGTH:
            return text
        integer = node.tag == _INTEGER
        return self.construct_yaml_int(node) if integer else self.construct_yaml_float(node)


_Loader.add_constructor(_INTEGER, _Loader.construct_number)
_Loader.add_constructor(_FLOAT, _Loader.construct_number)


def parse_yaml(raw: bytes) -> Document:
    """Parse a YAML text whose mapping keys are text, even `on` and `1`.

    Numbers in base 60, such as `12:30`, are text.

    Raises:
        YamlError: the text is not YAML, or stands for too much.
    """
    document = Document(None, {}, [])
    try:
        loader = _Loader(raw.decode("utf-8"))
        root = loader.get_single_node()
        if root is None:
            return document
        _walk(root, (), document, set())
        return document._replace(value=loader.construct_document(root))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        raise YamlError(f"is not YAML: {error.problem or error.context}", line) from None
    except RecursionError:
        raise YamlError("is nested too deeply") from None
    except (*_UNFIT, yaml.YAMLError) as error:
        # Without the value, which may be secret: "invalid literal for int() with base 8: '9x'".
        reason = (str(error) or type(error).__name__).splitlines()[0].partition(": ")[0]
        if isinstance(error, LookupError):
            reason = "a value does not fit its tag"
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
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode):
            raise YamlError("is not YAML with text as keys", line)
        if len(name.value) > MAX_KEY_LENGTH:
            raise YamlError(f"has a key of more than {MAX_KEY_LENGTH} characters", line)
        name.tag = _TEXT
        below = (*path, name.value)
        document.lines[below] = line
        if below in seen:
            document.repeated.append((below, line))
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


def bounded_problems(problems: Iterable[str]) -> list[str]:
    """Return the first errors, each on one line of limited length, and the number of the others."""
    problems = list(problems)
    listed = [safe_message(each) for each in problems[:MAX_PROBLEMS]]
    more = len(problems) - len(listed)
    return [*listed, f"and {more} more"] if more else listed


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Return a hint for an unknown name: the nearest allowed names, or all of them."""
    allowed = list(allowed)
    near = get_close_matches(name, allowed, 3, 0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"allowed are {', '.join(allowed)}"
