"""Metadata of a compiled model (MODEL.json), validated because it may come from any bucket."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from runner import UserError

FORMAT = 1

MAX_DIMENSIONS = 8
MAX_ELEMENTS = 1 << 28
"""Maximum elements of an execution's input: 1 GiB of float32. The largest batch that compile.py
accepts, 1024 pictures, has 154 million."""


@dataclass(frozen=True)
class Metadata:
    """Contents of MODEL.json."""

    model: str
    target: str
    shape: list[int]
    """Input shape of one execution, with the batch first."""
    dtype: str
    sha256: str
    size: int
    """Size of the TorchScript file in bytes."""
    weights: str
    seconds: float
    """Duration of the compilation."""
    check: dict[str, Any]
    """Largest difference between the outputs of the compiled and the original model, and the
    allowed difference."""
    versions: dict[str, str]
    created: str
    details: dict[str, Any] = field(default_factory=dict)
    """Data specific to the kind of model: class names and preprocessing, or the scaling of
    prices."""
    format: int = FORMAT

    @property
    def batch(self) -> int:
        """Number of inputs per execution."""
        return self.shape[0]


def read_metadata(path: Path, name: str) -> Metadata:
    """Read and validate a metadata file.

    Args:
        name: location of the file in error messages.

    Raises:
        UserError: the file cannot be read or is not valid.
    """
    invalid = f"{name} is not a metadata file written by compile.py"
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(invalid) from None
    if not isinstance(content, dict) or "format" not in content:
        raise UserError(invalid)
    if content["format"] != FORMAT:
        raise UserError(f"{name} has format {content['format']!r}; this program reads {FORMAT}")
    content.setdefault("details", {})
    names = {each.name for each in fields(Metadata)}
    if missing := names - content.keys():
        raise UserError(f"{invalid}: missing {', '.join(sorted(missing))}")
    if violation := _validate(content, _FIELDS) or _validate_details(content["details"]):
        raise UserError(f"{invalid}: {violation}")
    return Metadata(**{name: content[name] for name in names})


# Validation


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    # The bound excludes NaN, and integers that do not fit into a float.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e30


def _is_shape(value: object) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= MAX_DIMENSIONS
        and all(map(_is_positive_integer, value))
        and math.prod(value) <= MAX_ELEMENTS
    )


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_side(value: object) -> bool:
    return isinstance(value, int) and _is_positive_integer(value) and value <= 1 << 14


def _numbers(count: int, *, positive: bool = False) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        return (
            isinstance(value, list)
            and len(value) == count
            and all(_is_number(each) and (each > 0 or not positive) for each in value)
        )

    return check


_Rules = dict[str, tuple[Callable[[object], bool], str]]
"""Check of each field's value, and a description of allowed values."""

_TEXT = (_is_text, "a line of text")
_OBJECT = (_is_object, "an object")
_SIDE = (_is_side, "an integer from 1 to 16384")
_FIELDS: _Rules = {
    **dict.fromkeys(("model", "target", "dtype", "sha256", "weights", "created"), _TEXT),
    **dict.fromkeys(("check", "versions", "details"), _OBJECT),
    "size": (_is_positive_integer, "a positive integer"),
    "seconds": (_is_number, "a number"),
    "shape": (
        _is_shape,
        f"1 to {MAX_DIMENSIONS} positive integers with a product of at most {MAX_ELEMENTS}",
    ),
}
_DETAILS: _Rules = {
    "labels": (_is_text_list, "a list of strings"),
    "picture": _OBJECT,
    "scaling": _OBJECT,
}
_PICTURE: _Rules = {
    "resize": _SIDE,
    "crop": _SIDE,
    "mean": (_numbers(3), "3 numbers"),
    "std": (_numbers(3, positive=True), "3 positive numbers"),
}


def _validate(content: dict[str, Any], rules: _Rules, prefix: str = "") -> str | None:
    """Return an error for the first value that breaks its rule."""
    for name, (is_valid, allowed) in rules.items():
        value = content.get(name)
        if not is_valid(value):
            text = json.dumps(value)
            shortened = text if len(text) <= 60 else f"{text[:57]}..."
            return f"{prefix}{name} must be {allowed} (got {shortened})"
    return None


def _validate_details(details: dict[str, Any]) -> str | None:
    rules = {name: rule for name, rule in _DETAILS.items() if name in details}
    if error := _validate(details, rules, "details."):
        return error
    if "picture" in details:
        return _validate(details["picture"], _PICTURE, "details.picture.")
    if "scaling" in details:
        return _validate_scaling(details["scaling"])
    return None


def _validate_scaling(scaling: dict[str, Any]) -> str | None:
    features: _Rules = {"features": (_is_text_list, "a list of strings")}
    if error := _validate(scaling, features, "details.scaling."):
        return error
    count = len(scaling["features"])
    rules: _Rules = {
        "mean": (_numbers(count), f"{count} numbers, one per feature"),
        "std": (_numbers(count, positive=True), f"{count} positive numbers, one per feature"),
        "dollars": (_is_number, "a number"),
    }
    return _validate(scaling, rules, "details.scaling.")
