"""Reference of the configuration keys: a table, and a JSON Schema for editors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic.json_schema import GenerateJsonSchema

from neuron_exporter.config.schema import Config
from neuron_exporter.config.section import is_reloadable, keys
from neuron_exporter.config.values import DURATION_SCHEMA, SIZE_SCHEMA


class KeyReference(NamedTuple):
    """A key as the table shows it. `default` is written as in the file."""

    key: str
    type: str
    default: str
    reloadable: bool
    description: str


def key_references() -> Iterator[KeyReference]:
    """Yield all keys in the order of the schema."""
    schema = json_schema()
    for key, field in keys(Config):
        node = _resolve(schema, key)
        yield KeyReference(
            key,
            _type_name(node),
            _yaml(node["default"]),
            is_reloadable(field),
            field.description or "",
        )


def as_markdown() -> str:
    """Return the table of keys as Markdown."""
    lines = ["| key | type | default | reloadable | description |", "|---|---|---|---|---|"]
    for each in key_references():
        reloadable = "yes" if each.reloadable else "no"
        lines.append(
            f"| `{each.key}` | {each.type} | `{each.default}` | {reloadable} | {each.description} |"
        )
    return "\n".join(lines) + "\n"


def as_text() -> str:
    """Return the keys with their descriptions as text."""
    lines = []
    for each in key_references():
        reloadable = ", reloadable" if each.reloadable else ""
        lines.append(f"{each.key}  ({each.type.replace('`', '')}{reloadable})")
        lines.append(f"    {each.description} Default: {each.default}")
    return "\n".join(lines) + "\n"


def as_schema() -> str:
    """Return the JSON Schema of the configuration file."""
    return json.dumps(json_schema(), indent=2) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the schema as a mapping, for draft 2020-12."""
    schema = Config.model_json_schema(schema_generator=_Generator)
    for definition in (schema, *schema["$defs"].values()):
        for name, node in definition["properties"].items():
            if "$ref" in node:
                # A section may be empty. Its default is left out, since each key has its own.
                empty = {"type": "null"}
                definition["properties"][name] = {"anyOf": [{"$ref": node["$ref"]}, empty]}
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **schema, "title": "Neuron Exporter configuration"}


class _Generator(GenerateJsonSchema):
    """Generator without a title for every key, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _resolve(schema: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the schema of a dotted key."""
    node = schema
    for part in key.split("."):
        node = node["properties"][part]
        if "$ref" in (section := node.get("anyOf", [{}])[0]):
            node = schema["$defs"][section["$ref"].rpartition("/")[2]]
    return node


def _type_name(node: dict[str, Any]) -> str:
    if all(node.get(name) == value for name, value in DURATION_SCHEMA.items()):
        return "duration"
    if node.get("anyOf") == SIZE_SCHEMA["anyOf"]:
        return "size"
    if "enum" in node:
        return ", ".join(f"`{_yaml(value)}`" for value in node["enum"])
    if "anyOf" in node:
        return _alternatives(map(_type_name, node["anyOf"]))
    if node["type"] == "array":
        return f"list of {_plural(node['items'])}"
    if node["type"] == "object":
        values = node["additionalProperties"]
        return f"map to {_plural(values)}" if values else "map"
    return str(node["type"])


def _alternatives(names: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(names))


def _plural(node: dict[str, Any]) -> str:
    if "enum" in node:
        return _type_name(node)
    if "anyOf" in node:
        return _alternatives(map(_plural, node["anyOf"]))
    if node.get("type") == "null":
        return _type_name(node)
    kind, rest = (_type_name(node) + " ").split(" ", 1)
    return f"{kind}s {rest}".strip()


def _yaml(value: Any) -> str:
    """Return a value as it is written in the file, on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, str):
        return f'"{value}"' if ":" in value else value
    return json.dumps(value)
