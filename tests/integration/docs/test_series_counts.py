"""The documented number of series by instance type and preset."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from neuron_exporter.model import Layout
from tests.support import dashboards
from tests.support.commands import run
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
    instance_type, *documented, _ = row
    one = [series(instance_type, preset, 1) for preset in PRESETS]
    two = [series(instance_type, preset, 2) for preset in PRESETS]
    assert documented == [
        f"{first} + {second - first}" for first, second in zip(one, two, strict=True)
    ]


def points(instance_type: str, preset: str, sysfs: object, folder: Path) -> int:
    """Return the number of series that a simulated machine sends over OTLP, as `cost` counts."""
    endpoint = {"enabled": True, "endpoint": "http://127.0.0.1:4318", "preset": preset}
    path = folder / "exporter.yaml"
    path.write_text(yaml.safe_dump({"hardware": {"sysfs": sysfs}, "otlp": endpoint}))
    done = run("cost", "--config", str(path), "--instance-type", instance_type, "--json")
    return int(json.loads(done.out)["otlp"]["per_interval"]["points"])


@pytest.mark.parametrize("row", table("docs/prometheus.md", HEADING), ids=lambda row: row[0])
def test_documented_series_of_the_drivers_files(row: list[str], tmp_path: Path) -> None:
    instance_type, *_, documented = row
    added = [
        points(instance_type, preset, "auto", tmp_path)
        - points(instance_type, preset, False, tmp_path)
        for preset in PRESETS
    ]
    assert documented == ", ".join(map(str, added))


def test_documented_capacity_plan() -> None:
    """It follows from the table: machines of the type trn2.48xlarge with four runtimes each, the
    preset `standard` and the driver's files."""
    rows = {row[0]: row[1:] for row in table("docs/prometheus.md", HEADING)}
    standard, files = rows["trn2.48xlarge"][1], rows["trn2.48xlarge"][-1]
    first, each = map(int, standard.split(" + "))
    plan = dict(table("docs/prometheus.md", "| figure | value |"))
    (machines, *parts, millions), *others = (
        [float(number.replace(",", "")) for number in re.findall(r"[\d,.]*\d", value)]
        for value in plan.values()
    )
    assert parts[:2] == [first + 3 * each, int(files.split(", ")[1])]
    series = machines * sum(parts)
    assert millions == pytest.approx(series / 1e6, abs=0.05)
    ((samples,), (memory,), (disk,)) = others
    assert samples == pytest.approx(series / 15, rel=0.02)
    assert memory == pytest.approx(series * 9e3 / 1e9, abs=0.5)
    assert disk == pytest.approx(series / 15 * 86_400 * 1.5 / 1e9, abs=0.5)


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
