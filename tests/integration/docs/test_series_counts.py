"""The documented number of series by instance type and preset."""

from __future__ import annotations

import re

import pytest
import yaml

from neuron_exporter.model import Layout
from tests.support import dashboards
from tests.support.documents import block, table
from tests.support.simulated import exposed

HEADING = "| instance type |"
PRESETS = ("minimal", "standard", "full")


def series(instance_type: str, preset: str, runtimes: int) -> int:
    """Return the number of series of a machine that trains."""
    flags = ("--instance-type", instance_type, "--scenario", "training", "--runtimes")
    return sum(1 for _ in exposed(Layout.CORE, preset, [], *flags, str(runtimes)))


@pytest.mark.parametrize("row", table("docs/prometheus.md", HEADING), ids=lambda row: row[0])
def test_documented_series(row: list[str]) -> None:
    """The series with one runtime, and those that a second one adds."""
    instance_type, *documented = row
    one = [series(instance_type, preset, 1) for preset in PRESETS]
    two = [series(instance_type, preset, 2) for preset in PRESETS]
    assert documented == [
        f"{first} + {second - first}" for first, second in zip(one, two, strict=True)
    ]


def test_federation_covers_fleet() -> None:
    """The documented federation contains each metric that Fleet reads."""
    documented = yaml.safe_load(block("docs/prometheus.md", "yaml", "job_name: federate"))
    selectors = documented["scrape_configs"][0]["params"]["match[]"]
    patterns = [re.findall('__name__=~"([^"]+)"', each)[0] for each in selectors]
    document = dashboards.load(dashboards.FOLDER / "fleet.json")
    queries = [target["expr"] for panel in dashboards.panels(document) for target in panel.targets]
    variables = [
        each["query"]["query"] for each in dashboards.variables(document) if each["type"] == "query"
    ]
    read = {
        name for text in queries + variables for name in re.findall(r"([\w:]+)\{cluster=", text)
    } | {name for text in variables for name in re.findall(r"label_values\(([\w:]+)", text)}
    assert {name for name in read if not re.fullmatch("|".join(patterns), name)} == set()
    assert len(read) > 10
