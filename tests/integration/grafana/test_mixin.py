"""The mixin, evaluated by jsonnet and combined with another one."""

from __future__ import annotations

import json
from typing import Any

import _jsonnet
import pytest
import yaml

from tests.support import dashboards
from tests.support.paths import ROOT

MIXIN = ROOT / "grafana" / "mixin.libsonnet"
OTHER = """{
  grafanaDashboards+:: {'other.json': {}},
  prometheusAlerts+:: {groups+: [{name: 'other'}]},
  prometheusRules+:: {groups+: [{name: 'other'}]},
}"""


@pytest.fixture(scope="module")
def combined() -> dict[str, Any]:
    """Return the hidden fields of another mixin and this one."""
    fields = ("grafanaDashboards", "prometheusAlerts", "prometheusRules")
    shown = ", ".join(f"{each}: mixin.{each}" for each in fields)
    text = f"local mixin = {OTHER} + (import '{MIXIN}'); {{{shown}}}"
    found: dict[str, Any] = json.loads(_jsonnet.evaluate_snippet("test", text))
    return found


def test_dashboards(combined: dict[str, Any]) -> None:
    expected = {
        f"neuron-exporter-{path.name}": dashboards.load(path)
        for path in dashboards.FOLDER.glob("*.json")
    }
    assert combined["grafanaDashboards"] == {"other.json": {}, **expected}


@pytest.mark.parametrize(
    ("field", "name"), [("prometheusAlerts", "alerts"), ("prometheusRules", "recordings")]
)
def test_rules(combined: dict[str, Any], field: str, name: str) -> None:
    document = yaml.safe_load((ROOT / "grafana" / "rules" / f"{name}.yml").read_text())
    assert combined[field]["groups"] == [{"name": "other"}, *document["groups"]]
