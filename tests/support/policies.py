"""Evaluator of IAM policies, with the part of IAM's rules that this project's policies use.

moto checks neither resources nor conditions, and AWS's own simulator needs an account.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.support.paths import ROOT

FOLDER = ROOT / "ecs" / "policies"

_OPERATORS = {"StringEquals": str.__eq__, "ArnEquals": str.__eq__}
"""ArnEquals supports wildcards in ARNs; `_is_met` asserts that the policies have none."""


def policy(name: str) -> dict[str, Any]:
    """Return a committed policy document."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return document


def allows(document: Mapping[str, Any], action: str, resource: str = "*", **context: str) -> bool:
    """Return whether a document allows a request.

    `context` are the condition keys of the request, with `__` in place of `:`. A document with
    elements that this evaluator does not support fails the test.
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
            _is_met(_OPERATORS[operator], each, keys)
            for operator, each in statement.get("Condition", {}).items()
        )
    )


def _is_met(same: Any, condition: Mapping[str, Any], keys: Mapping[str, str]) -> bool:
    """Return whether each key of the condition has one of its values in the request."""
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
