"""The `task-definition` command, and its output in the AWS CLI, moto's ECS and the exporter."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run, shell_environment
from tests.support.documents import block, text
from tests.support.fleet import CREDENTIALS
from tests.support.stacks import ACCOUNT
from tests.support.task_definitions import (
    EXAMPLES,
    FOLDER,
    committed,
    environment_of,
    exporter_of,
)

ADDED = {"taskDefinitionArn", "revision", "status", "compatibilities"}
"""Keys that ECS adds to a definition."""

EMPTY = {"mountPoints": [], "portMappings": [], "volumesFrom": []}
"""Defaults that ECS adds to a container."""


def aws(moto: str, *arguments: str) -> Any:
    """Run the AWS CLI and return its output."""
    done = subprocess.run(
        [Path(sys.executable).with_name("aws"), *arguments, "--endpoint-url", moto],
        capture_output=True,
        text=True,
        check=False,
        env=shell_environment(**CREDENTIALS, AWS_DEFAULT_REGION="us-east-1"),
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", EXAMPLES)
def test_aws_cli_registers_the_definition(moto: str, name: str) -> None:
    """ECS returns everything that the file has."""
    definition = committed(name)
    file = f"file://{FOLDER / name}.json"
    aws(moto, "ecs", "register-task-definition", "--cli-input-json", file)
    described = aws(
        moto, "ecs", "describe-task-definition", "--task-definition", definition["family"]
    )["taskDefinition"]
    kept = {key: value for key, value in described.items() if key not in ADDED}
    assert described["compatibilities"] == ["EC2"]
    assert kept == {
        **definition,
        "containerDefinitions": [{**EMPTY, **each} for each in definition["containerDefinitions"]],
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_environment_is_a_valid_configuration(name: str, tmp_path: Path) -> None:
    empty = tmp_path / "exporter.yaml"
    empty.touch()
    environment = environment_of(exporter_of(committed(name)))
    finished = run("check", "--config", str(empty), environment=environment)
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.startswith(f"{empty}: good\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("inf2.xlrge --with none --launch daemon", "--instance-type: unknown type; did you mean"),
        (
            "m5.large --with none --launch daemon",
            "--instance-type: has no Neuron devices; ",
        ),
        ("inf1.6xlarge --with none --launch sidecar", "--devices: must be set, such as"),
        ("inf1.6xlarge --with none --launch sidecar --devices 4", "--devices: inf1.6xlarge has d"),
    ],
)
def test_invalid_options(flags: str, message: str) -> None:
    finished = run("task-definition", "--instance-type", *flags.split())
    assert (finished.status, finished.out) == (2, "")
    (problem,) = finished.error_lines
    assert problem.startswith(message)


def test_commands_of_the_readme(tmp_path: Path) -> None:
    """Each command prints a definition; those that are registered have the names that are run, and
    stacks get the registered revision."""
    readme = text("ecs/README.md")
    steps = re.findall(r"\$ (neuron-exporter task-definition (?:.*\\\n)*.*)", readme)
    assert len(steps) == 9
    families = set()
    own = tmp_path / "task.json"
    own.write_text('{"family": "own", "containerDefinitions": [{"name": "own"}]}')
    for step in steps:
        flags = step.replace("\\\n", " ").replace("ACCOUNT", ACCOUNT).replace("REGION", "eu-west-1")
        arguments, _, file = flags.partition(" > ")
        finished = run(*shlex.split(arguments.replace("task.json", str(own)))[1:])
        assert finished.status == 0
        has_program = "--with none" in flags or "--workload-image" in flags
        warnings = [line for line in finished.error_lines if line.startswith("warning: ")]
        assert len(warnings) == (not has_program)
        definition = json.loads(finished.out)
        if file:
            assert has_program, step
            assert f"--cli-input-json file://{file.strip()}" in readme
            families |= {definition["family"]} - {"own"}
    used = re.findall(r"--task-definition (neuron-\S+)", readme)
    assert set(used) <= families
    deployed = re.findall(r"TaskDefinition=(\S+)", readme)
    registered = re.findall(r"\$ TASK=.*file://(inference|daemon)\.json", readme)
    assert (deployed, registered) == (["$TASK"] * 3, ["inference", "daemon", "daemon"])


@pytest.mark.usefixtures("needs_prometheus")
def test_scrape_configuration_of_sidecars(tmp_path: Path) -> None:
    """promtool accepts it. (That of daemons needs a newer promtool.)"""
    path = tmp_path / "prometheus.yml"
    path.write_text(block("ecs/README.md", "yaml", "file_sd_configs"))
    done = subprocess.run(
        ["promtool", "check", "config", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "SUCCESS" in done.stdout) == (0, True), done


@pytest.mark.parametrize(
    "invalid", ["--with train", "--launch service", "--memory 0", "--nonsense"]
)
def test_unknown_flags_and_choices(invalid: str) -> None:
    valid = "task-definition --instance-type inf2.xlarge --with inference --launch sidecar"
    finished = run(*valid.split(), *invalid.split())
    assert (finished.status, finished.out) == (2, "")
    assert invalid.split()[0] in finished.error_lines[-1]
