"""The schemas of Kubernetes and of the custom resources that k8s/ uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

from tests.support.kubernetes import Object

VERSIONS = ("1.34.0", "1.37.0")
"""The newest of Kubernetes whose schemas are at hand, and one that is a year older."""

_CRDS = [path.read_text() for path in sorted((Path(__file__).parent / "crds").glob("*.yaml"))]

_SERVICE_MONITORS = [
    text.replace("PodMonitor", "ServiceMonitor").replace("podMetricsEndpoints", "endpoints")
    for text in _CRDS
    if "const: PodMonitor" in text
]
"""All fields that are used of the endpoints of one kind, the other has as well."""

CUSTOM = {
    schema["properties"]["kind"]["const"]: schema
    for text in [*_CRDS, *_SERVICE_MONITORS]
    for schema in [yaml.safe_load(text)]
}
"""Our own schemas of the resources that operators add, by kind."""


def problems(document: Object, version: str) -> list[str]:
    """Return what is wrong with an object."""
    if document["kind"] in CUSTOM:
        schema: dict[str, Any] = CUSTOM[document["kind"]]
        return [
            f"{error.json_path}: {error.message}"
            for error in Draft202012Validator(schema).iter_errors(document)
        ]
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return [str(error)]
    return []


def all_problems(objects: list[Object], version: str) -> dict[str, list[str]]:
    """Return what is wrong with each object of which something is."""
    found = {
        f"{each['kind']} {each['metadata']['name']}": problems(each, version) for each in objects
    }
    return {name: wrong for name, wrong in found.items() if wrong}
