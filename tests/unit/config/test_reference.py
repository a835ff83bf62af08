"""The table of keys and the JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from neuron_exporter.config import Config
from neuron_exporter.config.reference import (
    as_markdown,
    as_schema,
    as_text,
    json_schema,
    key_references,
)
from neuron_exporter.config.section import keys
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


def test_schema_describes_every_key() -> None:
    schema = json_schema()
    for definition in (schema, *schema["$defs"].values()):
        assert definition["additionalProperties"] is False
        assert definition["description"]
        for name, node in definition["properties"].items():
            assert "anyOf" in node or node["description"], name


def test_defaults_are_those_of_the_configuration() -> None:
    document: dict[str, Any] = {}
    for each in key_references():
        *sections, name = each.key.split(".")
        node = document
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = yaml.safe_load(each.default)
    assert Config.model_validate(document) == Config()


def test_markdown_has_a_row_for_each_key() -> None:
    rows = [line.split(" | ") for line in as_markdown().splitlines()[2:]]
    assert all(len(row) == 5 for row in rows)
    assert [row[0].strip("|` ") for row in rows] == [key for key, _ in keys(Config)]
    assert rows[-2] == [
        "| `log.level`",
        "`debug`, `info`, `warning`, `error`",
        "`info`",
        "yes",
        "Lowest level that is logged. |",
    ]


def test_text_names_every_key() -> None:
    assert [line.split()[0] for line in as_text().splitlines()[::2]] == [k for k, _ in keys(Config)]
