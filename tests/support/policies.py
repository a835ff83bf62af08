"""What a policy of IAM allows: as much of IAM's evaluation as our policies use.

moto checks no resources and no conditions, and AWS's own simulator is not to be had here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.support.paths import ROOT

FOLDER = ROOT / "ecs" / "policies"

_OPERATORS = {"StringEquals": str.__eq__, "ArnEquals": str.__eq__}
"""Of ARNs, ArnEquals compares with wildcards; ours have none, which is made sure of."""


def policy(name: str) -> dict[str, Any]:
    """A committed document."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return document


def allows(document: Mapping[str, Any], action: str, resource: str = "*", **context: str) -> bool:
    """Whether a document allows this; `context` are the request's condition keys, with __ for `:`.

    What the document holds beyond what is known here fails the test, and is not taken lightly.
    """
    assert set(document) == {"Version", "Statement"}
    keys = {name.replace("__", ":").lower(): value for name, value in context.items()}
    return any(_covers(each, action, resource, keys) for each in document["Statement"])


def _covers(
    statement: Mapping[str, Any], action: str, resource: str, keys: Mapping[str, str]
) -> bool:
    assert statement["Effect"] == "Allow"
    assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}
    return (
        any(_matches(each, action, ignore_case=True) for each in _list(statement["Action"]))
        and any(_matches(each, resource) for each in _list(statement["Resource"]))
        and all(
            _holds(_OPERATORS[operator], each, keys)
            for operator, each in statement.get("Condition", {}).items()
        )
    )


def _holds(same: Any, condition: Mapping[str, Any], keys: Mapping[str, str]) -> bool:
    """Every key has to have one of its values; a key that the request lacks has none."""
    for key, wanted in condition.items():
        assert not any(set("*?") & set(each) for each in _list(wanted))
        given = keys.get(key.lower())
        if given is None or not any(same(given, each) for each in _list(wanted)):
            return False
    return True


def _matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.IGNORECASE if ignore_case else 0) is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
