"""The `alarms` command, its template in cfn-lint and moto, and its error messages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from neuron_exporter.generate import as_json
from neuron_exporter.generate.alarms.alarms import as_yaml
from tests.support.alarm_evaluator import stats
from tests.support.alarm_templates import (
    COMMITTED,
    CONFIGURATIONS,
    FLEET,
    fleet_stack,
    template_of,
)
from tests.support.commands import run
from tests.support.fleet import CREDENTIALS, START, publish

BUSY = ("--instance-type", "inf2.xlarge", "--scenario", "training")
MINUTES = 3


def test_cfn_lint(tmp_path: Path) -> None:
    """AWS's linter accepts the templates of all configurations without remarks."""
    written = []
    for number, name in enumerate(CONFIGURATIONS):
        _, template = template_of(tmp_path, name)
        for suffix, text in ((".yaml", as_yaml(template)), (".json", as_json(template))):
            path = tmp_path / f"{number}{suffix}"
            path.write_text(text)
            assert yaml.safe_load(text) == template
            written.append(path)
    lint = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", *written],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (lint.stdout, lint.stderr, lint.returncode) == ("", "", 0)


def test_command_writes_the_committed_template() -> None:
    finished = run("alarms", "--config", str(FLEET))
    assert (finished.status, finished.err) == (0, "")
    assert finished.out == COMMITTED.read_text()
    finished = run("alarms", "--config", str(FLEET), "--json")
    assert json.loads(finished.out) == yaml.safe_load(COMMITTED.read_text())


def test_instance_id_and_without() -> None:
    flags = ["--instance-id", "i-0abc", "--instance-type", "inf2.xlarge", "--without", "idle"]
    finished = run("alarms", "--config", str(FLEET), *flags, "hang", "--without", "latency")
    assert (finished.status, finished.err) == (0, "")
    resources = yaml.safe_load(finished.out)["Resources"]
    assert set(resources) == {
        *("Heartbeats", "UncorrectedEcc", "ErrorRatio", "DeviceMemory", "NeuronMachineUnhealthy"),
    }


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--instance-type trn1.32xlrge",
            "--instance-type: unknown type; did you mean trn1.32xlarge or ",
        ),
        ("--stream /nowhere", "--stream: source.path: is not a file (got '/nowhere')"),
        ("--without hnag", "--without: no such alarm; did you mean hang? (got 'hnag')"),
        ("--without x", "--without: no such alarm; allowed are heartbeats, device-missing, "),
        ("--instance-id i-0abc", "--instance-type: must be set (or --stream, or identity"),
    ],
)
def test_invalid_options(flags: str, message: str) -> None:
    finished = run("alarms", "--config", str(FLEET), *flags.split())
    assert (finished.status, finished.out) == (2, "")
    (problem,) = finished.error_lines
    assert problem.startswith(message)


def test_invalid_configuration(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("cloudwatch:\n  enabled: true\n  include: [NeuronCor]\n")
    finished = run("alarms", "--config", str(path))
    assert (finished.status, finished.out) == (2, "")
    assert finished.error_lines[0].startswith(f"{path}:3: cloudwatch.include")


# moto


@pytest.fixture
def clients(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Open CloudFormation and CloudWatch of moto."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    opened = {
        service: boto3.client(service, region_name="us-east-1", endpoint_url=moto)
        for service in ("cloudformation", "cloudwatch")
    }
    yield opened
    for each in opened.values():
        each.close()


def test_moto_creates_the_stack(clients: dict[str, Any]) -> None:
    """moto accepts the template but does not create its alarms."""
    parameters = {"ClusterName": "here", "ExpectedMachines": "2"}
    clients["cloudformation"].create_stack(
        StackName="fleet",
        TemplateBody=COMMITTED.read_text(),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )
    (stack,) = clients["cloudformation"].describe_stacks(StackName="fleet")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"


def test_moto_returns_values_for_alarm_queries(moto: str, clients: dict[str, Any]) -> None:
    """Queries of alarms find published values, except percentiles, which moto cannot compute."""
    cloudwatch = clients["cloudwatch"]
    stack = fleet_stack(ClusterName="moto")
    for alarm in stack.alarms.values():
        cloudwatch.put_metric_alarm(**alarm)
    names = [alarm["AlarmName"] for alarm in stack.alarms.values()]
    kept = cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
    assert {alarm["AlarmName"] for alarm in kept} == set(names)

    one_runtime = ("--runtimes", "1")
    end = publish(FLEET, moto, MINUTES, [(*BUSY, *one_runtime)], ("identity.cluster", "moto"))
    for key, alarm in stack.alarms.items():
        for stat in stats(alarm):
            namespace, name, pairs, unit = stat.identity
            metric = {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": each, "Value": value} for each, value in sorted(pairs)],
            }
            listed = cloudwatch.list_metrics(**metric)["Metrics"]
            assert listed, f"{key}: {stat.identity}"
            if stat.statistic.startswith("p"):
                continue
            query = {
                "Id": "it",
                "MetricStat": {
                    "Metric": metric,
                    "Period": 60,
                    "Stat": stat.statistic,
                    "Unit": unit,
                },
            }
            (found,) = cloudwatch.get_metric_data(
                MetricDataQueries=[query], StartTime=START, EndTime=end
            )["MetricDataResults"]
            assert len(found["Values"]) == MINUTES, f"{key}: {stat.identity}"
