"""The JSON Schema, as validators understand it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from neuron_exporter.config.reference import as_schema, json_schema
from tests.support.paths import ROOT

EXAMPLES = [
    *sorted((ROOT / "ecs").glob("exporter*.yaml")),
    *sorted((ROOT / "docker").rglob("exporter*.yaml")),
]


def validator() -> jsonschema.Draft202012Validator:
    """Return a validator of the schema as it is printed."""
    return jsonschema.Draft202012Validator(json.loads(as_schema()))


def test_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"source": None, "cloudwatch": {"budget": None}},
        {"source": {"period": "1m30s", "max_line": "64kB"}},
        {"source": {"max_line": 65536}},
        {"source": {"environment": {"AWS_REGION": "us-west-2", "AWS_PROFILE": None}}},
        {"prometheus": {"listen": ":9415"}},
        {"prometheus": {"listen": [":1", ":2"]}},
        {"identity": {"kubernetes": "auto"}},
        {"identity": {"kubernetes": True}},
        {"cloudwatch": {"extra_dimensions": {"Stage": "prod"}}},
    ],
)
def test_schema_accepts(document: dict[str, Any]) -> None:
    validator().validate(document)


@pytest.mark.parametrize(
    "document",
    [
        {"sources": {}},
        {"source": {"perod": "5s"}},
        {"source": {"period": 5}},
        {"source": {"period": "5"}},
        {"source": {"max_line": "16 M"}},
        {"prometheus": {"preset": "fuller"}},
        {"prometheus": {"listen": []}},
        {"identity": {"kubernetes": "maybe"}},
        {"cloudwatch": {"dimension_sets": [["A"], "B"]}},
    ],
)
def test_schema_rejects(document: dict[str, Any]) -> None:
    assert not validator().is_valid(document)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_schema_accepts_example(path: Any) -> None:
    validator().validate(yaml.safe_load(path.read_text()))
