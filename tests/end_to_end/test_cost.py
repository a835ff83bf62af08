"""The `cost` command: it counts the metrics that are sent, and prices them as AWS does."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_exporter.config import load
from neuron_exporter.generate.dry_run import dry_run
from tests.support.children import LINE
from tests.support.commands import run
from tests.support.documents import text
from tests.support.endpoint import Endpoint
from tests.support.exporter import running_exporter, simulated
from tests.support.waiting import wait_for

SETS = [["InstanceId", "InstanceType"], ["InstanceType", "Region"]]
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def configuration(folder: Path, **cloudwatch: Any) -> str:
    """Write a file with these CloudWatch settings."""
    path = folder / "cost.yaml"
    path.write_text(yaml.safe_dump({"cloudwatch": {"enabled": True, **cloudwatch}}))
    return str(path)


def cost(path: str, *flags: str) -> dict[str, Any]:
    """Return the output of `cost --json` for a configuration."""
    finished = run("cost", "--config", path, "--json", *flags)
    assert (finished.status, finished.err) == (0, "")
    estimate: dict[str, Any] = json.loads(finished.out)
    return estimate


def identities(endpoint: Endpoint) -> set[tuple[str, ...]]:
    """Return what CloudWatch would bill of the received data: names with dimensions."""
    return {
        (datum["MetricName"], *(f"{d['Name']}={d['Value']}" for d in datum["Dimensions"]))
        for datum in endpoint.datums()
    }


# The count


def test_running_exporter_sends_the_counted_metrics(tmp_path: Path, endpoint: Endpoint) -> None:
    settings = {
        "endpoint_url": endpoint.url,
        "flush_interval": "1s",
        "dimension_sets": [["InstanceId", "InstanceType"], ["ClusterName"]],
        "exclude": ["Host*"],
    }
    estimate = cost(configuration(tmp_path, **settings), "--instance-type", "inf2.xlarge")
    config = {
        "source": simulated("--instance-type", "inf2.xlarge"),
        "cloudwatch": {"enabled": True, **settings},
        "identity": {"cluster": "here"},
    }
    with running_exporter(tmp_path, config, environment=CREDENTIALS) as exporter:
        wait_for(lambda: len(identities(endpoint)) >= estimate["metrics"])
        before = len(endpoint.requests)
        wait_for(lambda: len(endpoint.requests) >= before + 2)
        assert exporter.stop() == 0
    assert estimate["metrics"] == len(identities(endpoint)) == 16
    assert estimate["assumed_dimensions"] == ["ClusterName"]


def test_sets_by_service(tmp_path: Path) -> None:
    """The simulated machine belongs to one task; its sets have no host metrics and no heartbeat."""
    settings = {"dimension_sets": [["ClusterName", "ServiceName"], ["TaskDefinitionFamily"]]}
    estimate = cost(configuration(tmp_path, **settings), "--instance-type", "inf1.xlarge")
    for part in estimate["parts"]:
        assert sorted(part["names"]) == [
            "EccUncorrected", "ExecutionErrors", "ExecutionLatency", "ExecutionsCompleted",
            "NeuronCoreUtilization", "NeuronCoresInUse", "NeuronDeviceMemoryUtilization",
        ]  # fmt: skip


def test_sets_by_job(tmp_path: Path) -> None:
    """The simulated machine runs one job, whose processes are in pods if a set names these."""
    settings = {"dimension_sets": [["ClusterName", "job_id"], ["Namespace", "job_id"]]}
    path = configuration(tmp_path, **settings)
    with open(path, "a") as file:
        file.write("identity: {process_labels: {job_id: JOB_ID}}\n")
    estimate = cost(path, "--instance-type", "trn1.32xlarge")
    assert [part["metrics"] for part in estimate["parts"]] == [7, 7]
    assert estimate["assumed_dimensions"] == ["ClusterName"]


def test_recorded_reports(tmp_path: Path) -> None:
    """Only metrics that the recorded reports contain are counted."""
    path = tmp_path / "reports.ndjson"
    path.write_bytes(LINE * 4)
    estimate = cost(configuration(tmp_path), "--stream", str(path))
    assert estimate["machine"] == f"the machine of {path}"
    (part,) = estimate["parts"]
    assert "ExecutionsCompleted" in part["names"]
    assert estimate["metrics"] == part["metrics"] == len(part["names"]) < 10


@pytest.mark.parametrize(
    ("instance_type", "kind", "is_published"),
    [
        ("inf2.xlarge", "neuron-monitor", True),
        ("inf2.xlarge", "stdin", True),
        ("inf2.xlarge", "simulator", False),
        ("inf1.xlarge", "neuron-monitor", False),
    ],
)
def test_the_drivers_files_are_assumed_where_they_are_read(
    tmp_path: Path, instance_type: str, kind: str, is_published: bool
) -> None:
    """The driver of Inf1 has other files, and reports of the simulator are of another machine."""
    path = configuration(tmp_path, preset="full")
    with open(path, "a") as file:
        file.write(f"source: {{kind: {kind}}}\n")
    (part,) = cost(path, "--instance-type", instance_type)["parts"]
    for name in ("HardwareErrors", "NeuronDevicePowerUtilization"):
        assert (name in part["names"]) is is_published


def test_set_with_unknown_dimension(tmp_path: Path) -> None:
    sets = [["InstanceId"], ["UltraServerId"]]
    path = configuration(tmp_path, dimension_sets=sets)
    estimate = cost(path, "--instance-type", "trn1.2xlarge")
    assert estimate["metrics"] == 10
    assert estimate["dropped_sets"] == [
        {"dimensions": ["UltraServerId"], "unknown": ["UltraServerId"]}
    ]


# The price


def test_json_keys(tmp_path: Path) -> None:
    estimate = cost(configuration(tmp_path), "--instance-type", "inf2.xlarge", "--instances", "100")
    bill = {
        *("metrics", "monthly_usd", "metrics_usd", "requests", "requests_usd"),
        *("log_bytes", "logs_usd"),
    }
    assert set(estimate) == bill | {
        *("machine", "cloudwatch_enabled", "region", "instances", "parts", "fleet", "beside"),
        *("assumed_dimensions", "dropped_sets", "budget", "alarms", "otlp", "sources"),
    }
    assert {key: estimate[key] for key in bill} == {
        "metrics": 10,
        "monthly_usd": 3.0,
        "metrics_usd": 3.0,
        "requests": 43_800,
        "requests_usd": 0.0,
        "log_bytes": 0,
        "logs_usd": 0.0,
    }
    assert estimate["alarms"] == {
        "on": "one machine",
        "metrics": 10,
        "composites": 1,
        "monthly_usd": 1.5,
    }
    assert estimate["budget"] == {"metrics": 100, "wanted": 10, "not_sent": []}
    assert estimate["fleet"] == {
        "metrics": 1_000,
        "monthly_usd": 333.8,
        "metrics_usd": 300.0,
        "requests": 4_380_000,
        "requests_usd": 33.8,
        "log_bytes": 0,
        "logs_usd": 0.0,
    }
    (part,) = estimate["parts"]
    names = part.pop("names")
    assert part == {
        "dimensions": ["InstanceId", "InstanceType"],
        "shared_by_fleet": False,
        "metrics": 10,
        "monthly_usd": 3.0,
    }
    assert set(names.values()) == {1}
    assert all(
        set(each) == {"name", "metrics", "monthly_usd", "source"} for each in estimate["beside"]
    )


def test_alarms_of_one_machine(tmp_path: Path) -> None:
    """Where the shared set lacks a metric, the alarms of one machine are priced."""
    sets = [["InstanceId"], ["Namespace"]]
    estimate = cost(configuration(tmp_path, dimension_sets=sets), "--instance-type", "inf2.xlarge")
    assert estimate["alarms"]["on"] == "one machine"
    path = configuration(tmp_path, preset="minimal")
    assert cost(path, "--instance-type", "inf2.xlarge")["alarms"] is None
    printed = run("cost", "--config", path, "--instance-type", "inf2.xlarge").out
    assert "lists the metrics that this configuration lacks for alarms" in printed


def test_fleet_shares_sets(tmp_path: Path) -> None:
    """Sets with InstanceId count per machine, others once, and price tiers run over all of them."""
    path = configuration(tmp_path, dimension_sets=SETS)
    estimate = cost(path, "--instance-type", "inf2.xlarge", "--instances", "2000")
    assert estimate["metrics"] == 20
    assert estimate["fleet"]["metrics"] == 2_000 * 10 + 10
    assert estimate["fleet"]["metrics_usd"] == 3_000 + 1_001


def test_fixed_instance_id_makes_a_set_shared(tmp_path: Path) -> None:
    """With the same InstanceId on all machines, CloudWatch bills the set once."""
    path = configuration(tmp_path, extra_dimensions={"InstanceId": "foo"})
    estimate = cost(path, "--instance-type", "inf2.xlarge", "--instances", "100")
    assert [part["shared_by_fleet"] for part in estimate["parts"]] == [True]
    assert estimate["fleet"]["metrics"] == 10


def test_alternatives(tmp_path: Path) -> None:
    estimate = cost(configuration(tmp_path, preset="minimal"), "--instance-type", "trn1.32xlarge")
    alternatives = {
        each["name"]: (each["metrics"], each["monthly_usd"]) for each in estimate["beside"]
    }
    assert alternatives["preset minimal in the same sets"] == (
        estimate["metrics"],
        estimate["monthly_usd"],
    )
    assert alternatives["preset standard in the same sets"] == (10, 3.0)
    assert alternatives["preset full in the same sets"][0] > 10
    assert alternatives["these metrics per core and device"][0] == estimate["metrics"] + 31
    assert alternatives["the usual sidecar (neuron-monitor-cloudwatch.py)"] == (27, 8.1)
    assert alternatives["Container Insights"] == (806, 241.8)


def test_container_insights_only_for_counted_types(tmp_path: Path) -> None:
    estimate = cost(configuration(tmp_path), "--instance-type", "inf2.xlarge")
    assert not [each for each in estimate["beside"] if "Insights" in each["name"]]


def test_disabled_cloudwatch_is_priced(tmp_path: Path) -> None:
    path = configuration(tmp_path, enabled=False)
    finished = run("cost", "--config", path, "--instance-type", "inf2.xlarge")
    assert (finished.status, finished.err) == (0, "")
    assert "CloudWatch is disabled in this configuration" in finished.out
    assert re.search(r"^1 +10 +3\.00$", finished.out, re.MULTILINE)


def test_the_figures_of_a_trn2(tmp_path: Path) -> None:
    alternatives = {
        each["name"]: (each["metrics"], each["monthly_usd"])
        for each in cost(configuration(tmp_path), "--instance-type", "trn2.48xlarge")["beside"]
    }
    stated = " ".join(text("docs/cost.md").split())
    ((metrics, usd),) = (row for name, row in alternatives.items() if "core and device" in name)
    assert f"these metrics would be {metrics} there instead of 56 ({usd:.2f} USD)" in stated
    (insights,) = [
        row for name, row in alternatives.items() if name.startswith("Container Insights")
    ]
    assert f"would have {insights[0]:,} ({insights[1]:.2f} USD)" in stated


# Wrong use


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--instance-type trn1.32xlrge",
            "--instance-type: unknown type; did you mean trn1.32xlarge or ",
        ),
        (
            "--instance-type trn2n.48xlarge",
            "--instance-type: trn2n.48xlarge cannot be simulated: no public source has its ",
        ),
        ("--stream /nowhere", "--stream: source.path: is not a file (got '/nowhere')"),
        (f"--stream {os.devnull}", f"--stream: source.path: is not a file (got '{os.devnull}')"),
    ],
)
def test_invalid_machine(tmp_path: Path, flags: str, message: str) -> None:
    finished = run("cost", "--config", configuration(tmp_path), *flags.split())
    assert (finished.status, finished.out) == (2, "")
    (problem,) = finished.error_lines
    assert problem.startswith(message)


def test_file_without_reports(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("nothing\n")
    finished = run("cost", "--config", configuration(tmp_path), "--stream", str(notes))
    assert (finished.status, finished.out) == (2, "")
    assert finished.error_lines == [f"--stream: {notes}: contains no report of neuron-monitor"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "the following arguments are required: --config"),
        ("--config x --instances 0", "--instances: must be a whole number from 1 to 1000000 (got"),
        ("--config x --stream y --instance-type z", "not allowed with argument --stream"),
    ],
)
def test_invalid_flags(flags: str, message: str) -> None:
    finished = run("cost", *flags.split())
    assert (finished.status, finished.out) == (2, "")
    assert message in finished.err.splitlines()[-1]


def test_invalid_configuration(tmp_path: Path) -> None:
    path = configuration(tmp_path, enabled=False, include=["NeuronCor"])
    finished = run("cost", "--config", path)
    assert (finished.status, finished.out) == (2, "")
    (problem,) = finished.error_lines
    assert problem.startswith(f"{path}:3: cloudwatch.include")


def test_count_follows_the_selection(tmp_path: Path) -> None:
    path = configuration(tmp_path, exclude=["HostCpuUtilization"])
    result = dry_run(lambda flags: load(path, {}, flags), instance_type="inf2.xlarge")
    assert result.metrics == 9
    assert "HostCpuUtilization" not in result.sets[0].metrics
