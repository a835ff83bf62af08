"""Evaluation of a required node affinity, as the Kubernetes scheduler does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def selects(affinity: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a node with these labels matches: one term with all of its expressions."""
    required = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms = required["nodeSelectorTerms"]
    assert all(term.keys() == {"matchExpressions"} and term["matchExpressions"] for term in terms)
    return any(all(_matches(each, labels) for each in term["matchExpressions"]) for term in terms)


def _matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise ValueError(f"the operator {other} is not implemented")
