"""The table of keys and the JSON Schema."""

from __future__ import annotations

from typing import Any

import yaml

from neuron_exporter.config import Config
from neuron_exporter.config.reference import (
    as_markdown,
    as_text,
    json_schema,
    key_references,
)
from neuron_exporter.config.section import keys


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
