"""Dashboards on CloudWatch ask for what the exporter has just published, and for nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import boto3
import pytest

from neuron_exporter.metrics.selection import for_cloudwatch
from tests.support import dashboards
from tests.support.alarm_templates import CONFIGURATIONS, FLEET, MACHINE, write
from tests.support.cloudwatch_search import Metric, found, named, published
from tests.support.commands import run
from tests.support.fleet import START, publish
from tests.support.strict_front import StrictFront, strict_front

pytestmark = pytest.mark.usefixtures("nobodys_credentials")

BUSY = ("--instance-type", "inf2.xlarge", "--scenario", "training")
MINUTES = 4


@pytest.fixture
def front() -> Iterator[StrictFront]:
    """CloudWatch's front door, for which it is the time that the machines live in."""
    with strict_front(clock=lambda: START + 60 * MINUTES) as started:
        yield started


def written(config: Path, *flags: str) -> dict[str, Any]:
    """What the command writes."""
    done = run("cloudwatch-dashboard", "--config", str(config), "--region", "us-east-1", *flags)
    assert (done.status, done.err) == (0, "")
    body: dict[str, Any] = json.loads(done.out)
    return body


def shown(body: Mapping[str, Any], among: set[Metric]) -> dict[str, set[Metric]]:
    """The metrics that each line of each graph shows."""
    lines = {}
    for widget in body["widgets"]:
        for row in widget["properties"].get("metrics", ()):
            search = row[0]["expression"] if isinstance(row[0], dict) else None
            lines[json.dumps(row)] = found(search, among) if search else {named(row)} & among
    return lines


# The twins of Fleet and Machine


@pytest.mark.parametrize("name", [path.stem for path in dashboards.files("cloudwatch")])
def test_twins_ask_for_what_was_published(tmp_path: Path, front: StrictFront, name: str) -> None:
    """Each query finds a metric of a machine with the default configuration, and together they
    show all that it publishes."""
    config = write(tmp_path, {"cloudwatch": {"enabled": True}})
    publish(config, front.url, MINUTES, [BUSY, BUSY])
    assert front.refused == []
    sent = published(front.requests)
    document = dashboards.load(dashboards.FOLDER / f"{name}.json")
    values = {"namespace": "NeuronExporter", "type": "*", "machine": MACHINE}
    asked = set()
    for panel in dashboards.panels(document):
        ids = {target["id"] for target in panel.targets if target["id"]}
        for target in panel.targets:
            if target.get("expression"):
                words = set(re.findall(r"\b[a-z]\w*", target["expression"]))
                assert words <= ids, f"{panel.title}: {target['expression']}"
                continue
            wanted = {
                key: dashboards.resolve(value, values)
                for key, (value,) in target["dimensions"].items()
            }
            matching = {
                metric
                for metric in sent
                if metric.namespace == dashboards.resolve(target["namespace"], values)
                and metric.name == target["metricName"]
                and {key for key, _ in metric.dimensions} == wanted.keys()
                and all(wanted[key] in ("*", value) for key, value in metric.dimensions)
            }
            assert matching, f"{panel.title}: {target['metricName']}"
            assert len(matching) == (2 if name.endswith("fleet") else 1)
            asked.add(target["metricName"])
    standard, _ = for_cloudwatch("standard", [], [])
    assert asked == {metric.name for metric in sent} == set(standard.names)


def test_variables_of_twins_ask_for_dimensions_that_there_are(
    tmp_path: Path, front: StrictFront
) -> None:
    """Machines and types are looked up where the exporter has put them."""
    config = write(tmp_path, {"cloudwatch": {"enabled": True}})
    publish(config, front.url, MINUTES, [BUSY])
    sent = published(front.requests)
    looked_up = set()
    for path in dashboards.files("cloudwatch"):
        for variable in dashboards.variables(dashboards.load(path)):
            query = variable["query"]
            if variable["type"] != "query" or query["queryType"] != "dimensionValues":
                continue
            metrics = [metric for metric in sent if metric.name == query["metricName"]]
            used = {query["dimensionKey"], *query["dimensionFilters"]}
            assert metrics
            assert all(used <= dict(metric.dimensions).keys() for metric in metrics)
            looked_up.add(query["dimensionKey"])
    assert looked_up == {"InstanceId", "InstanceType"}


# The command


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_command_shows_all_that_is_published_and_nothing_else(
    tmp_path: Path, name: str
) -> None:
    """Whatever is configured: every line of every graph finds something, and everything is on a
    graph, whichever of its values are known."""
    settings, asked = CONFIGURATIONS[name]
    identity = {"cluster": "here", "auto_scaling_group": "machines"}
    cloudwatch = {"enabled": True, "namespace": "My/Own", **settings}
    config = write(tmp_path, {"cloudwatch": cloudwatch, "identity": identity})
    kind = asked.get("instance_type", "inf2.xlarge")
    minutes = 130 if settings.get("flush_interval") == "1h" else MINUTES
    with strict_front(clock=lambda: START + 60 * minutes) as front:
        publish(config, front.url, minutes, [("--instance-type", kind, "--scenario", "training")])
        assert front.refused == []
        sent = published(front.requests)
    one = ["--instance-id", asked["instance_id"]] if "instance_id" in asked else []
    for flags in (["--instance-type", kind], ["--instance-type", kind, *one]):
        lines = shown(written(config, *flags), sent)
        assert [line for line, metrics in lines.items() if not metrics] == []
        assert set().union(*lines.values()) == sent


def test_one_machine_of_the_fleet_is_chosen(tmp_path: Path, front: StrictFront) -> None:
    """With an instance's id, the graphs show that machine; without, all."""
    config = write(tmp_path, {"cloudwatch": {"enabled": True}})
    publish(config, front.url, MINUTES, [BUSY, BUSY])
    sent = published(front.requests)
    everybody = set().union(*shown(written(config), sent).values())
    one = set().union(*shown(written(config, "--instance-id", MACHINE), sent).values())
    assert everybody == sent
    assert one == {metric for metric in sent if ("InstanceId", MACHINE) in metric.dimensions}
    assert one != everybody


def test_the_body_is_a_legal_one(moto: str) -> None:
    """moto takes it with PutDashboard and gives it back; nothing overlaps or leaves the grid."""
    body = written(FLEET, "--instance-type", "trn2.48xlarge")
    client = boto3.client("cloudwatch", region_name="us-east-1", endpoint_url=moto)
    told = client.put_dashboard(DashboardName="neuron", DashboardBody=json.dumps(body))
    assert told.get("DashboardValidationMessages", []) == []
    kept = client.get_dashboard(DashboardName="neuron")["DashboardBody"]
    assert json.loads(kept) == body
    taken = set()
    for widget in body["widgets"]:
        assert widget["x"] + widget["width"] <= 24
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken
        taken |= cells


def test_a_file_of_reports_is_taken_in_place_of_a_machine(tmp_path: Path) -> None:
    """What a recorded machine does not report is on no graph."""
    config = write(tmp_path, {"cloudwatch": {"enabled": True}})
    stream = tmp_path / "reports.ndjson"
    done = run("simulate", "--instance-type", "inf2.xlarge", "--scenario", "idle", "--speed", "0",
               "--reports", "4")  # fmt: skip
    stream.write_text(done.out)
    titles = [
        each["properties"].get("title")
        for each in written(config, "--stream", str(stream))["widgets"]
    ]
    assert "NeuronCoreUtilization" in titles
    assert "ExecutionLatency" not in titles


# Wrong use


@pytest.mark.parametrize(
    ("document", "flags", "complaint"),
    [
        ({}, ["--region", "us-east-1"], "cloudwatch.enabled: must be true for a dashboard"),
        ({"cloudwatch": {"enabled": True}}, [], "--region: must be given"),
        (
            {"cloudwatch": {"enabled": True}},
            ["--region", "us-east-1", "--instance-type", "trn9.large"],
            "--instance-type: unknown type",
        ),
        (
            {"cloudwatch": {"enabled": True}},
            ["--region", "us-east-1", "--instance-id", "  "],
            "--instance-id: must be 1 to 1024 printable ASCII characters",
        ),
        (
            {"cloudwatch": {"enabled": True}},
            ["--region", "us-east-1", "--stream", "/nonexistent"],
            "--stream: ",
        ),
    ],
)
def test_wrong_use_is_told(
    tmp_path: Path, document: dict[str, Any], flags: list[str], complaint: str
) -> None:
    """One line names what is wrong, and the status is 2."""
    done = run("cloudwatch-dashboard", "--config", str(write(tmp_path, document)), *flags)
    assert (done.status, done.out) == (2, "")
    (line,) = done.complaints
    assert line.startswith(complaint)


def test_more_than_cloudwatch_takes_is_refused(tmp_path: Path) -> None:
    """A dashboard that PutDashboard would refuse is not written, and the line has the number."""
    fields = ["ClusterName", "Region", "InstanceType", "AvailabilityZone", "SubnetId"]
    sets = [list(names) for number in (1, 2) for names in combinations(fields, number)]
    cloudwatch = {
        "enabled": True,
        "preset": "full",
        "dimension_sets": sets,
        "budget": {"max_metrics": 10_000},
    }
    config = write(tmp_path, {"cloudwatch": cloudwatch})
    done = run("cloudwatch-dashboard", "--config", str(config), "--region", "us-east-1")
    assert (done.status, done.out) == (2, "")
    (line,) = done.complaints
    assert line.startswith("cloudwatch.dimension_sets: the dashboard would have more widgets")
    assert int(line.partition("got ")[2].rstrip(")")) > 500
