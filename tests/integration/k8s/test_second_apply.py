"""A second `kubectl apply` finds nothing to change.

kubectl compares the file with the object that the API server stores. The server writes quantities
as text in canonical form and fills in defaults. Both appear as a change in every apply: quantities
anywhere, and defaults in the elements of lists that kubectl replaces instead of merging.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.support import kubernetes
from tests.support.kubernetes import COMPONENTS, KUSTOMIZATIONS, Object, sources

VERSION = "1.37.0"

_SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"

_DEFAULT = re.compile(r"\b[Dd]efaults? (?P<empty>to \"\"|value is empty)?")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([mkMGTPE]|[KMGTPE]i)?")
_FACTORS = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(1000)} | {
    prefix + binary: (Decimal(1024) if binary else Decimal(1000)) ** power
    for power, prefix in enumerate("KMGTPE", 1)
    for binary in ("i", "")
    if prefix + binary != "K"
}


@cache
def definitions() -> dict[str, Any]:
    """Return the schemas of all types."""
    text = (_SCHEMAS / f"v{VERSION}-local" / "_definitions.json").read_text()
    found: dict[str, Any] = json.loads(text)["$defs"]
    return found


def schema_of(document: Object) -> str:
    """Return the name of an object's schema."""
    group, _, version = document["apiVersion"].rpartition("/")
    wanted = {"group": group, "version": version, "kind": document["kind"]}
    for name, schema in definitions().items():
        if wanted in schema.get("x-kubernetes-group-version-kind", ()):
            return name
    return ""


def canonical(text: str) -> str:
    """Return a quantity as the API server writes it: an integer with the largest suffix."""
    number, suffix = _QUANTITY.fullmatch(text).groups("")  # type: ignore[union-attr]
    value = Decimal(number) * _FACTORS[suffix]
    binary = suffix.endswith("i")
    usable = [
        (factor, each)
        for each, factor in _FACTORS.items()
        if (each.endswith("i") == binary or not each) and value % factor == 0
    ]
    factor, each = max(usable)
    return f"{value / factor:.0f}{each}"


def changes(value: Any, schema: dict[str, Any], path: str, replaced: bool) -> Iterator[str]:
    """Yield the fields of a value that the API server stores differently.

    Args:
        replaced: whether kubectl replaces the value as a whole.
    """
    reference = schema.get("$ref", "").rpartition("/")[2]
    if reference.endswith("resource.Quantity"):
        if not isinstance(value, str) or canonical(value) != value:
            yield f"{path}: {value!r} is stored as {canonical(str(value))!r}"
        return
    if reference:
        schema = definitions()[reference]
    if isinstance(value, list):
        merged = "x-kubernetes-patch-merge-key" in schema
        for number, element in enumerate(value):
            yield from changes(element, schema["items"], f"{path}[{number}]", not merged)
    elif isinstance(value, dict):
        properties = schema.get("properties", {})
        for name, each in properties.items() if replaced else ():
            default = _DEFAULT.search(each.get("description", ""))
            if name not in value and default is not None and not default["empty"]:
                yield f"{path}.{name}: {each['description']}"
        for name, each in value.items():
            inner = properties.get(name) or schema.get("additionalProperties") or {}
            yield from changes(each, inner, f"{path}.{name}", replaced)


def all_changes(objects: list[Object]) -> list[str]:
    """Return what the API server stores differently of these objects."""
    return [
        change
        for each in objects
        if (name := schema_of(each))
        for change in changes(each, definitions()[name], each["kind"], replaced=False)
    ]


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("512Mi", "512Mi"),
        ("1", "1"),
        ("2000", "2k"),
        ("1.5Gi", "1536Mi"),
    ],
)
def test_canonical_quantity(text: str, stored: str) -> None:
    """Examples from the documentation of the type (apimachinery, pkg/api/resource/quantity.go)."""
    assert canonical(text) == stored


@pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_kustomization(name: str) -> None:
    assert not all_changes(kubernetes.rendered(name))


def test_sources_of_components() -> None:
    objects = [document for _, document in sources()]
    assert {schema_of(each) for each in objects} >= {"io.k8s.api.networking.v1.NetworkPolicy"}
    assert COMPONENTS
    assert not all_changes(objects)
