"""CloudWatch dashboards query exactly the metrics that the exporter publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import boto3
import pytest

from neuron_exporter.metrics.selection import select_for_cloudwatch
from tests.support import dashboards
from tests.support.alarm_templates import CONFIGURATIONS, FLEET, MACHINE, write
from tests.support.cloudwatch_search import Metric, found, named, published
from tests.support.commands import run
from tests.support.fleet import START, publish
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint

pytestmark = pytest.mark.usefixtures("fake_credentials")

BUSY = ("--instance-type", "inf2.xlarge", "--scenario", "training")
MINUTES = 4


@pytest.fixture
def front() -> Iterator[ValidatingEndpoint]:
    """Start a strict CloudWatch whose clock is that of the simulated machines."""
    with validating_endpoint(clock=lambda: START + 60 * MINUTES) as started:
        yield started


def written(config: Path, *flags: str) -> dict[str, Any]:
    """Return what the command writes."""
    done = run("cloudwatch-dashboard", "--config", str(config), "--region", "us-east-1", *flags)
    assert (done.status, done.err) == (0, "")
    body: dict[str, Any] = json.loads(done.out)
    return body


def shown(body: Mapping[str, Any], among: set[Metric]) -> dict[str, set[Metric]]:
    """Return the metrics that each line of each graph shows."""
    lines = {}
    for widget in body["widgets"]:
        for row in widget["properties"].get("metrics", ()):
            search = row[0]["expression"] if isinstance(row[0], dict) else None
            lines[json.dumps(row)] = found(search, among) if search else {named(row)} & among
    return lines


# The CloudWatch versions of Fleet and Machine


@pytest.mark.parametrize("name", [path.stem for path in dashboards.files("cloudwatch")])
def test_queries_find_published_metrics(
    tmp_path: Path, front: ValidatingEndpoint, name: str
) -> None:
    """Each query finds a metric, and together they show all that is published by default.

    Dimensions are texts, because Grafana's front end replaces no variables in lists.
    """
    config = write(tmp_path, {"cloudwatch": {"enabled": True}})
    publish(config, front.url, MINUTES, [BUSY, BUSY])
    assert front.rejected == []
    sent = published(front.requests)
    document = dashboards.load(dashboards.FOLDER / f"{name}.json")
    values = {"namespace": "NeuronExporter", "type": "*", "machine": MACHINE}
    queried = set()
    for panel in dashboards.panels(document):
        ids = {target["id"] for target in panel.targets if target["id"]}
        for target in panel.targets:
            if target.get("expression"):
                words = set(re.findall(r"\b[a-z]\w*", target["expression"]))
                assert words <= ids, f"{panel.title}: {target['expression']}"
                continue
            wanted = {
                key: dashboards.resolve(value, values)
                for key, value in target["dimensions"].items()
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
            queried.add(target["metricName"])
    standard, _ = select_for_cloudwatch("standard", [], [])
    assert queried == {metric.name for metric in sent} == set(standard.names)


def test_variables_use_published_dimensions(tmp_path: Path, front: ValidatingEndpoint) -> None:
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
            assert all(isinstance(each, str) for each in query["dimensionFilters"].values())
            assert all(used <= dict(metric.dimensions).keys() for metric in metrics)
            looked_up.add(query["dimensionKey"])
    assert looked_up == {"InstanceId", "InstanceType"}


# The command


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_command_shows_exactly_the_published_metrics(tmp_path: Path, name: str) -> None:
    settings, options = CONFIGURATIONS[name]
    identity = {"cluster": "here", "auto_scaling_group": "machines"}
    cloudwatch = {"enabled": True, "namespace": "My/Own", **settings}
    config = write(tmp_path, {"cloudwatch": cloudwatch, "identity": identity})
    instance_type = options.get("instance_type", "inf2.xlarge")
    minutes = 130 if settings.get("flush_interval") == "1h" else MINUTES
    with validating_endpoint(clock=lambda: START + 60 * minutes) as front:
        publish(
            config,
            front.url,
            minutes,
            [("--instance-type", instance_type, "--scenario", "training")],
        )
        assert front.rejected == []
        sent = published(front.requests)
    one = ["--instance-id", options["instance_id"]] if "instance_id" in options else []
    for flags in (["--instance-type", instance_type], ["--instance-type", instance_type, *one]):
        lines = shown(written(config, *flags), sent)
        assert [line for line, metrics in lines.items() if not metrics] == []
        assert set().union(*lines.values()) == sent


def test_instance_id(tmp_path: Path, front: ValidatingEndpoint) -> None:
    config = write(tmp_path, {"cloudwatch": {"enabled": True}})
    publish(config, front.url, MINUTES, [BUSY, BUSY])
    sent = published(front.requests)
    all_machines = set().union(*shown(written(config), sent).values())
    one = set().union(*shown(written(config, "--instance-id", MACHINE), sent).values())
    assert all_machines == sent
    assert one == {metric for metric in sent if ("InstanceId", MACHINE) in metric.dimensions}
    assert one != all_machines


def test_put_dashboard(moto: str) -> None:
    """moto accepts the body, and no widgets overlap or leave the grid."""
    body = written(FLEET, "--instance-type", "trn2.48xlarge")
    client = boto3.client("cloudwatch", region_name="us-east-1", endpoint_url=moto)
    response = client.put_dashboard(DashboardName="neuron", DashboardBody=json.dumps(body))
    assert response.get("DashboardValidationMessages", []) == []
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


def test_stream(tmp_path: Path) -> None:
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
        ({"cloudwatch": {"enabled": True}}, [], "--region: must be set"),
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
def test_invalid_options(
    tmp_path: Path, document: dict[str, Any], flags: list[str], complaint: str
) -> None:
    done = run("cloudwatch-dashboard", "--config", str(write(tmp_path, document)), *flags)
    assert (done.status, done.out) == (2, "")
    (line,) = done.error_lines
    assert line.startswith(complaint)


def test_too_many_widgets(tmp_path: Path) -> None:
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
    (line,) = done.error_lines
    assert line.startswith(
        "cloudwatch.dimension_sets: the dashboard would have more than 500 widgets"
    )
    assert int(line.partition("got ")[2].rstrip(")")) > 500
