"""What MODEL.json says of a compiled model, read with suspicion: it may come from any bucket."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from program import Problem

FORMAT = 1

MOST_DIMENSIONS = 8
MOST_NUMBERS = 1 << 28
"""Of one execution: 1 GiB of float32. A batch of 1024 pictures, the largest that compile.py takes,
has 154 million."""


@dataclass(frozen=True)
class Description:
    """What MODEL.json says."""

    model: str
    target: str
    shape: list[int]
    """Of one execution, the batch first."""
    dtype: str
    sha256: str
    size: int
    """Bytes of the TorchScript."""
    weights: str
    seconds: float
    """That tracing took."""
    check: dict[str, Any]
    """The largest difference to the model as it was before, and what was allowed."""
    versions: dict[str, str]
    created: str
    details: dict[str, Any] = field(default_factory=dict)
    """What only this kind of model has: the names of classes, the scaling of a price."""
    format: int = FORMAT

    @property
    def batch(self) -> int:
        """Inputs of one execution."""
        return self.shape[0]


def read(path: Path, shown: str) -> Description:
    """The description in a file.

    Args:
        shown: where the file is from, for the user.

    Raises:
        Problem: it cannot be read, or something in it is not what compile.py writes.
    """
    none = f"{shown} is not a description that compile.py wrote"
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise Problem(f"{shown} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise Problem(none) from None
    if not isinstance(content, dict) or "format" not in content:
        raise Problem(none)
    if content["format"] != FORMAT:
        raise Problem(f"{shown} has format {content['format']!r}; this program reads {FORMAT}")
    content.setdefault("details", {})
    known = {each.name for each in fields(Description)}
    if missing := known - content.keys():
        raise Problem(f"{none}: it lacks {', '.join(sorted(missing))}")
    if wrong := _wrong(content, _FIELDS) or _wrong_details(content["details"]):
        raise Problem(f"{none}: {wrong}")
    return Description(**{name: content[name] for name in known})


# What each value must be


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    # Nor NaN, nor what no float holds.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e30


def _is_shape(value: object) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= MOST_DIMENSIONS
        and all(map(_is_whole, value))
        and math.prod(value) <= MOST_NUMBERS
    )


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _numbers(count: int, *, positive: bool = False) -> Callable[[object], bool]:
    def are(value: object) -> bool:
        return (
            isinstance(value, list)
            and len(value) == count
            and all(_is_number(each) and (each > 0 or not positive) for each in value)
        )

    return are


_Rules = dict[str, tuple[Callable[[object], bool], str]]
"""For each name, whether a value will do, and what is allowed."""

_TEXT = (_is_text, "a line of text")
_OBJECT = (_is_object, "an object")
_FIELDS: _Rules = {
    **dict.fromkeys(("model", "target", "dtype", "sha256", "weights", "created"), _TEXT),
    **dict.fromkeys(("check", "versions", "details"), _OBJECT),
    "size": (_is_whole, "a whole number above 0"),
    "seconds": (_is_number, "a number"),
    "shape": (
        _is_shape,
        f"1 to {MOST_DIMENSIONS} whole numbers above 0, with a product of at most {MOST_NUMBERS}",
    ),
}


def _wrong(content: dict[str, Any], rules: _Rules, inside: str = "") -> str | None:
    """The first value that breaks its rule."""
    for name, (will_do, allowed) in rules.items():
        value = content.get(name)
        if not will_do(value):
            found = json.dumps(value)
            shown = found if len(found) <= 60 else f"{found[:57]}..."
            return f"{inside}{name} must be {allowed} (got {shown})"
    return None


def _wrong_details(details: dict[str, Any]) -> str | None:
    kinds: _Rules = {
        "labels": (_is_texts, "a list of texts"),
        "picture": _OBJECT,
        "scaling": _OBJECT,
    }
    given = {name: rule for name, rule in kinds.items() if name in details}
    if wrong := _wrong(details, given, "details."):
        return wrong
    if "picture" in details:
        return _wrong(details["picture"], _PICTURE, "details.picture.")
    if "scaling" in details:
        return _wrong_scaling(details["scaling"])
    return None


def _is_side(value: object) -> bool:
    return isinstance(value, int) and _is_whole(value) and value <= 1 << 14


_SIDE = (_is_side, "a whole number from 1 to 16384")
_PICTURE: _Rules = {
    "resize": _SIDE,
    "crop": _SIDE,
    "mean": (_numbers(3), "3 numbers"),
    "std": (_numbers(3, positive=True), "3 numbers above 0"),
}


def _wrong_scaling(scaling: dict[str, Any]) -> str | None:
    if wrong := _wrong(scaling, {"features": (_is_texts, "a list of texts")}, "details.scaling."):
        return wrong
    count = len(scaling["features"])
    rules: _Rules = {
        "mean": (_numbers(count), f"{count} numbers, as there are features"),
        "std": (_numbers(count, positive=True), f"{count} numbers above 0, one for each feature"),
        "dollars": (_is_number, "a number"),
    }
    return _wrong(scaling, rules, "details.scaling.")
