"""`cost`: the metrics that it counts are those that are sent, and it prices them as AWS does."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_exporter.config import load
from neuron_exporter.generate.dry_run import count
from tests.support import readme
from tests.support.children import LINE
from tests.support.commands import run
from tests.support.endpoint import Endpoint
from tests.support.exporter import running_exporter, simulated
from tests.support.waiting import wait_for

SETS = [["InstanceId", "InstanceType"], ["InstanceType", "Region"]]
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def configuration(folder: Path, **cloudwatch: Any) -> str:
    """A file with these settings of CloudWatch."""
    path = folder / "cost.yaml"
    path.write_text(yaml.safe_dump({"cloudwatch": {"enabled": True, **cloudwatch}}))
    return str(path)


def cost(path: str, *flags: str) -> dict[str, Any]:
    """What `cost --json` says of a configuration."""
    finished = run("cost", "--config", path, "--json", *flags)
    assert (finished.status, finished.err) == (0, "")
    told: dict[str, Any] = json.loads(finished.out)
    return told


def identities(endpoint: Endpoint) -> set[tuple[str, ...]]:
    """What CloudWatch would bill of what came: names with dimensions."""
    return {
        (datum["MetricName"], *(f"{d['Name']}={d['Value']}" for d in datum["Dimensions"]))
        for datum in endpoint.datums()
    }


# The count


def test_a_running_exporter_sends_what_was_counted(tmp_path: Path, endpoint: Endpoint) -> None:
    """The command's number, before anything runs, is that of the daemon's own windows."""
    settings = {
        "endpoint_url": endpoint.url,
        "flush_interval": "1s",
        "dimension_sets": [["InstanceId", "InstanceType"], ["ClusterName"]],
        "exclude": ["Host*"],
    }
    told = cost(configuration(tmp_path, **settings), "--instance-type", "inf2.xlarge")
    config = {
        "source": simulated("--instance-type", "inf2.xlarge"),
        "cloudwatch": {"enabled": True, **settings},
        "identity": {"cluster": "here"},
    }
    with running_exporter(tmp_path, config, environment=CREDENTIALS) as exporter:
        wait_for(lambda: len(identities(endpoint)) >= told["metrics"])
        seen = len(endpoint.requests)
        wait_for(lambda: len(endpoint.requests) >= seen + 2)
        assert exporter.stop() == 0
    assert told["metrics"] == len(identities(endpoint)) == 16
    assert told["assumed_dimensions"] == ["ClusterName"]


def test_a_set_by_service_is_counted_as_that_of_one_workload(tmp_path: Path) -> None:
    """A simulated machine is one task's, so that its set has all that a workload can have: no host
    and no heartbeat."""
    settings = {"dimension_sets": [["ClusterName", "ServiceName"], ["TaskDefinitionFamily"]]}
    told = cost(configuration(tmp_path, **settings), "--instance-type", "inf1.xlarge")
    for part in told["parts"]:
        assert sorted(part["names"]) == [
            "EccUncorrected", "ExecutionErrors", "ExecutionLatency", "ExecutionsCompleted",
            "NeuronCoreUtilization", "NeuronCoresInUse", "NeuronDeviceMemoryUtilization",
        ]  # fmt: skip


def test_a_stream_is_counted(tmp_path: Path) -> None:
    """Recorded reports are counted as they are: what they do not show is not paid for."""
    path = tmp_path / "reports.ndjson"
    path.write_bytes(LINE * 4)
    told = cost(configuration(tmp_path), "--stream", str(path))
    assert told["machine"] == f"the machine of {path}"
    (part,) = told["parts"]
    assert "ExecutionsCompleted" in part["names"]
    assert told["metrics"] == part["metrics"] == len(part["names"]) < 10


def test_a_set_that_nobody_can_fill_is_said(tmp_path: Path) -> None:
    """A field that such a machine does not have makes no metrics, and is named."""
    sets = [["InstanceId"], ["UltraServerId"]]
    path = configuration(tmp_path, dimension_sets=sets)
    told = cost(path, "--instance-type", "trn1.2xlarge")
    assert told["metrics"] == 10
    assert told["dropped_sets"] == [{"dimensions": ["UltraServerId"], "unknown": ["UltraServerId"]}]


# The price


def test_the_json_has_its_shape(tmp_path: Path) -> None:
    """Programs find the same keys, and numbers in them, from version to version."""
    told = cost(configuration(tmp_path), "--instance-type", "inf2.xlarge", "--instances", "100")
    bill = {
        *("metrics", "monthly_usd", "metrics_usd", "requests", "requests_usd"),
        *("log_bytes", "logs_usd"),
    }
    assert set(told) == bill | {
        *("machine", "cloudwatch_enabled", "region", "instances", "parts", "fleet", "beside"),
        *("assumed_dimensions", "dropped_sets", "budget", "alarms", "sources"),
    }
    assert {key: told[key] for key in bill} == {
        "metrics": 10,
        "monthly_usd": 3.0,
        "metrics_usd": 3.0,
        "requests": 43_800,
        "requests_usd": 0.0,
        "log_bytes": 0,
        "logs_usd": 0.0,
    }
    assert told["alarms"] == {
        "on": "one machine",
        "metrics": 10,
        "composites": 1,
        "monthly_usd": 1.5,
    }
    assert told["budget"] == {"metrics": 100, "wanted": 10, "not_sent": []}
    assert told["fleet"] == {
        "metrics": 1_000,
        "monthly_usd": 333.8,
        "metrics_usd": 300.0,
        "requests": 4_380_000,
        "requests_usd": 33.8,
        "log_bytes": 0,
        "logs_usd": 0.0,
    }
    (part,) = told["parts"]
    names = part.pop("names")
    assert part == {
        "dimensions": ["InstanceId", "InstanceType"],
        "shared_by_fleet": False,
        "metrics": 10,
        "monthly_usd": 3.0,
    }
    assert set(names.values()) == {1}
    assert all(set(each) == {"name", "metrics", "monthly_usd", "source"} for each in told["beside"])


def test_alarms_that_a_fleet_cannot_have_are_priced_for_one(tmp_path: Path) -> None:
    """A shared set that lacks some metric does not hide what one machine's alarms cost; where no
    alarm fits, that is said."""
    sets = [["InstanceId"], ["Namespace"]]
    told = cost(configuration(tmp_path, dimension_sets=sets), "--instance-type", "inf2.xlarge")
    assert told["alarms"]["on"] == "one machine"
    path = configuration(tmp_path, preset="minimal")
    assert cost(path, "--instance-type", "inf2.xlarge")["alarms"] is None
    printed = run("cost", "--config", path, "--instance-type", "inf2.xlarge").out
    assert "which alarms this configuration lacks metrics for" in printed


def test_a_fleet_shares_what_names_no_machine(tmp_path: Path) -> None:
    """Sets with InstanceId count for each machine, others once, and tiers run over all of it."""
    path = configuration(tmp_path, dimension_sets=SETS)
    told = cost(path, "--instance-type", "inf2.xlarge", "--instances", "2000")
    assert told["metrics"] == 20
    assert told["fleet"]["metrics"] == 2_000 * 10 + 10
    assert told["fleet"]["metrics_usd"] == 3_000 + 1_001


def test_other_ways_stand_beside_it(tmp_path: Path) -> None:
    """The presets, a metric for each core, the usual sidecar and Container Insights, priced."""
    told = cost(configuration(tmp_path, preset="minimal"), "--instance-type", "trn1.32xlarge")
    beside = {each["name"]: (each["metrics"], each["monthly_usd"]) for each in told["beside"]}
    assert beside["preset minimal, in the same sets"] == (told["metrics"], told["monthly_usd"])
    assert beside["preset standard, in the same sets"] == (10, 3.0)
    assert beside["preset full, in the same sets"][0] > 10
    assert beside["these, with one for each core and device"][0] == told["metrics"] + 31
    assert beside["the usual sidecar (neuron-monitor-cloudwatch.py)"] == (27, 8.1)
    assert beside["Container Insights"] == (806, 241.8)
    (otlp,) = [price for name, price in beside.items() if name.startswith("OTLP")]
    assert otlp[0] is None
    assert otlp[1] > 0


def test_container_insights_is_quoted_only_where_it_was_counted(tmp_path: Path) -> None:
    """No number is made up for a machine of which nobody has counted it."""
    told = cost(configuration(tmp_path), "--instance-type", "inf2.xlarge")
    assert not [each for each in told["beside"] if "Insights" in each["name"]]


def test_what_is_off_is_priced_as_if_it_were_on(tmp_path: Path) -> None:
    """The price is known before CloudWatch is switched on, and the answer says that it is off."""
    path = configuration(tmp_path, enabled=False)
    finished = run("cost", "--config", path, "--instance-type", "inf2.xlarge")
    assert (finished.status, finished.err) == (0, "")
    assert "CloudWatch is off in this configuration" in finished.out
    assert re.search(r"^1 +10 +3\.00$", finished.out, re.MULTILINE)


@pytest.mark.parametrize("instance_type", ["trn1.32xlarge", "trn2.48xlarge"])
def test_readme_shows_what_is_printed(tmp_path: Path, instance_type: str) -> None:
    """README's answers are those of the command."""
    finished = run("cost", "--config", configuration(tmp_path), "--instance-type", instance_type)
    shown = readme.block("text", f"a simulated {instance_type}")
    assert finished.out == shown


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
            "--instance-type: trn2n.48xlarge cannot be simulated: no source states its ",
        ),
        ("--stream /nowhere", "--stream: source.path: is not a file (got '/nowhere')"),
        (f"--stream {os.devnull}", f"--stream: source.path: is not a file (got '{os.devnull}')"),
    ],
)
def test_a_machine_that_cannot_be_counted_is_one_line(
    tmp_path: Path, flags: str, message: str
) -> None:
    """Unknown types, types of which nobody knows the figures, and missing files are named."""
    finished = run("cost", "--config", configuration(tmp_path), *flags.split())
    assert (finished.status, finished.out) == (2, "")
    (said,) = finished.complaints
    assert said.startswith(message)


def test_a_file_without_reports_is_one_line(tmp_path: Path) -> None:
    """A stream that is none is told as such, and not priced as an empty machine."""
    notes = tmp_path / "notes.txt"
    notes.write_text("nothing\n")
    finished = run("cost", "--config", configuration(tmp_path), "--stream", str(notes))
    assert (finished.status, finished.out) == (2, "")
    assert finished.complaints == [f"--stream: {notes}: no report of neuron-monitor in it"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "the following arguments are required: --config"),
        ("--config x --instances 0", "--instances: must be a number from 1 to 1000000 (got '0')"),
        ("--config x --stream y --instance-type z", "not allowed with argument --stream"),
    ],
)
def test_wrong_flags_are_named(flags: str, message: str) -> None:
    """What is no use of the command is said in the last line."""
    finished = run("cost", *flags.split())
    assert (finished.status, finished.out) == (2, "")
    assert message in finished.err.splitlines()[-1]


def test_mistakes_of_the_configuration_are_told(tmp_path: Path) -> None:
    """Also of the part that is off: a price of something else would be none."""
    path = configuration(tmp_path, enabled=False, include=["NeuronCor"])
    finished = run("cost", "--config", path)
    assert (finished.status, finished.out) == (2, "")
    (said,) = finished.complaints
    assert said.startswith(f"{path}:3: cloudwatch.include")


def test_the_count_follows_the_selection(tmp_path: Path) -> None:
    """One metric less is one metric less to pay for."""
    path = configuration(tmp_path, exclude=["HostCpuUtilization"])
    counted = count(lambda flags: load(path, {}, flags), instance_type="inf2.xlarge")
    assert counted.metrics == 9
    assert "HostCpuUtilization" not in counted.parts[0].metrics
