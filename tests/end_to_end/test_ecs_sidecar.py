"""The sidecar of docs/ecs-sidecar.md: its price, its definition, and what it publishes."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.test_task_definition_command import aws
from tests.support.commands import run
from tests.support.documents import block, text
from tests.support.exporter import simulated
from tests.support.fleet import CREDENTIALS
from tests.support.metadata import ecs
from tests.support.paths import ROOT
from tests.support.sidecar import COMMAND, CONFIG, METRICS, assert_three_metrics
from tests.support.stacks import ACCOUNT, Account
from tests.support.steps import aws_variables, filled, run_step, steps
from tests.support.supervised import programs, supervised
from tests.support.task_definitions import environment_of, exporter_of
from tests.support.validating_endpoint import validating_endpoint
from tests.support.waiting import wait_for

PAGE = "docs/ecs-sidecar.md"

TASK: dict[str, Any] = {
    "family": "ranking",
    "taskRoleArn": "arn:aws:iam::123456789012:role/ranking",
    "containerDefinitions": [
        {
            "name": "ranking",
            "image": "ranking:7",
            "memory": 6144,
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"awslogs-group": "/ecs/ranking", "awslogs-region": "ap-northeast-1"},
            },
        }
    ],
}
"""A task of a user; its only container is essential by default."""


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """Return the file with the task and the exporter in it."""
    (tmp_path / "task.json").write_text(json.dumps(TASK))
    finished = run(*COMMAND, "--into", str(tmp_path / "task.json"))
    assert finished.status == 0, finished.err
    assert finished.error_lines[-1] == (
        f"attach the policy ecs/policies/publish.json to {TASK['taskRoleArn']}"
    )
    (tmp_path / "new.json").write_text(finished.out)
    return tmp_path / "new.json"


def test_the_price_is_that_of_three_metrics() -> None:
    cost = json.loads(run("cost", "--config", CONFIG, "--json").out)
    assert (cost["metrics"], cost["monthly_usd"]) == (3, 0.9)


def test_the_parts_are_on_standard_output_and_the_explanation_on_standard_error() -> None:
    finished = run(*COMMAND)
    assert finished.status == 0
    assert set(json.loads(finished.out)) == {
        "containerDefinitions",
        "volumes",
        "placementConstraints",
    }
    assert finished.error_lines[-1].startswith("add the container, the volume and the placement")


def test_the_container_on_the_page_is_the_commands_output(merged: Path) -> None:
    shown = json.loads(block(PAGE, "json", '"name": "neuron-exporter"'))
    assert shown == exporter_of(json.loads(merged.read_text()))


def test_the_files_on_the_page_are_those_of_the_image() -> None:
    """Each line is in the file; comments of the file are left out."""
    for language, name in (("dockerfile", "Dockerfile"), ("ini", "supervisord.conf")):
        lines = (ROOT / "docker" / "exporter" / name).read_text().splitlines()
        shown = [line for line in block(PAGE, language).splitlines() if line]
        assert [line for line in shown if line not in lines] == []
    assert block(PAGE, "yaml", "[[InstanceId").rstrip() in Path(CONFIG).read_text()


def test_the_steps_are_commands_that_exist(merged: Path) -> None:
    """The command on the page writes the same definition for the example's names."""
    (step,) = [
        part.partition(" > ")[0]
        for part in text(PAGE).replace("\\\n", " ").splitlines()
        if "$ neuron-exporter task-definition" in part
    ]
    words = shlex.split(step.replace("REGION", "ap-northeast-1").replace("ACCOUNT", "123456789012"))
    words[words.index("task.json")] = str(merged.with_name("task.json"))
    words[words.index("ecs/sidecar.yaml")] = CONFIG
    assert run(*words[2:]).out == merged.read_text()


def test_ecs_registers_the_task_with_the_exporter(moto: str, merged: Path) -> None:
    """A revision that ECS has returned can be changed and registered again."""
    aws(moto, "ecs", "register-task-definition", "--cli-input-json", f"file://{merged}")
    described = aws(moto, "ecs", "describe-task-definition", "--task-definition", "ranking")
    assert [each["name"] for each in described["taskDefinition"]["containerDefinitions"]] == [
        "ranking",
        "neuron-exporter",
    ]
    again = merged.with_name("again.json")
    again.write_text(json.dumps(described))
    finished = run(*COMMAND, "--into", str(again))
    again.write_text(finished.out)
    aws(moto, "ecs", "register-task-definition", "--cli-input-json", f"file://{again}")
    assert exporter_of(json.loads(finished.out)) == exporter_of(json.loads(merged.read_text()))


def test_the_steps_run_in_order(empty_account: Account, tmp_path: Path) -> None:
    """Those of the replacement, and those of the alarms for tasks that share a machine."""
    url = empty_account.url
    task = json.loads(json.dumps(TASK))
    old = {
        "name": "neuron-monitor",
        "image": "neuron-monitor:1",
        "essential": False,
        "memory": 256,
        "linuxParameters": {
            "devices": [{"hostPath": "/dev/neuron0", "containerPath": "/dev/neuron0"}]
        },
    }
    task["containerDefinitions"].append(old)
    own = tmp_path / "own.json"
    own.write_text(json.dumps(task))
    aws(url, "ecs", "create-cluster", "--cluster-name", "blue")
    aws(url, "iam", "create-role", "--role-name", "own", "--assume-role-policy-document", "{}")
    first = aws(url, "ecs", "register-task-definition", "--cli-input-json", f"file://{own}")
    service = ("--cluster", "blue", "--service-name", "ranking", "--task-definition", "ranking")
    aws(url, "ecs", "create-service", *service)
    (tmp_path / "shared.yaml").write_text(block(PAGE, "yaml", "scope: task"))
    (tmp_path / "ecs").symlink_to(ROOT / "ecs")
    known = {
        **{"ACCOUNT": ACCOUNT, "REGION": "us-east-1", "FAMILY": "ranking", "ROLE": "own"},
        **{"CLUSTER": "blue", "SERVICE": "ranking", "FILE": "shared.yaml"},
        "TOPIC": f"arn:aws:sns:us-east-1:{ACCOUNT}:topic",
    }
    folder = programs(tmp_path / "programs")
    explained = ""
    for step in [*steps(PAGE, "Steps"), *steps(PAGE, "Tasks that share a machine")]:
        if "docker " not in step:
            done = run_step(filled(step, known), tmp_path, folder, **aws_variables(url))
            explained += done.stderr
    assert "if neuron-monitor is the sidecar that this one replaces, delete it" in explained
    shown = aws(url, "ecs", "describe-task-definition", "--task-definition", "ranking")
    names = [each["name"] for each in shown["taskDefinition"]["containerDefinitions"]]
    added = shown["taskDefinition"]["revision"] - first["taskDefinition"]["revision"]
    assert (added, names[-1]) == (1, "neuron-exporter")
    policies = aws(url, "iam", "list-role-policies", "--role-name", "own")
    assert policies["PolicyNames"] == ["neuron-exporter"]
    resources = yaml.safe_load((tmp_path / "alarms.yaml").read_text())["Resources"]
    assert resources.keys() == {"Heartbeats", "Idle", "NeuronFleetUnhealthy"}


def test_exactly_three_metrics_reach_cloudwatch(tmp_path: Path, merged: Path) -> None:
    """The container's entry point runs with the container's environment; only the source, the
    endpoint and the folder of the volume are the test's."""
    if os.geteuid() != 0:
        pytest.skip("the entry point writes to the volume as root")
    container = exporter_of(json.loads(merged.read_text()))
    (volume,) = container["mountPoints"]
    environment = {
        name: value.replace(volume["containerPath"], str(tmp_path))
        for name, value in environment_of(container).items()
    }
    with (
        validating_endpoint() as front,
        ecs() as agent,
        supervised(
            tmp_path,
            {"source": simulated("--instance-type", "inf1.xlarge")},
            **CREDENTIALS,
            **environment,
            ECS_CONTAINER_METADATA_URI_V4=agent.url,
            NEURON_EXPORTER__CLOUDWATCH__ENDPOINT_URL=front.url,
            NEURON_EXPORTER__CLOUDWATCH__FLUSH_INTERVAL="2s",
        ) as exporter,
    ):
        exporter.wait_for_start(1)
        for name in METRICS:
            wait_for(lambda name=name: front.datums(name))
        assert exporter.stop() == 0
        assert_three_metrics(front)
