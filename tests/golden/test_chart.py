"""Parts of the chart that are generated."""

from __future__ import annotations

import json

import pytest

from tests.support.commands import run
from tests.support.paths import ROOT

SCHEMA = ROOT / "k8s" / "chart" / "values.schema.json"


def test_schema_of_the_configuration(request: pytest.FixtureRequest) -> None:
    """The chart's schema has that of the exporter's configuration; the rest is written by hand."""
    finished = run("config", "--schema")
    assert (finished.status, finished.err) == (0, "")
    configuration = json.loads(finished.out)
    del configuration["$schema"]
    definitions = configuration.pop("$defs")
    schema = json.loads(SCHEMA.read_text())
    schema["$defs"] = {
        "SecretKey": schema["$defs"]["SecretKey"],
        "Config": configuration,
        **definitions,
    }
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    if request.config.getoption("--update-golden"):
        SCHEMA.write_text(text)
    assert SCHEMA.read_text() == text, f"{SCHEMA.name} differs: run `make golden`, read the diff"
