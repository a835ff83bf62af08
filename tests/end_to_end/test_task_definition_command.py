"""The command `task-definition`, and its output in the hands of aws, ECS and the exporter."""

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
from tests.support.fleet import CREDENTIALS
from tests.support.readme import TEXT, block
from tests.support.stacks import ACCOUNT
from tests.support.task_definitions import (
    EXAMPLES,
    FOLDER,
    committed,
    environment_of,
    exporter_of,
)

ADDED = {"taskDefinitionArn", "revision", "status", "compatibilities"}
"""What ECS says of a definition besides."""

EMPTY = {"mountPoints": [], "portMappings": [], "volumesFrom": []}
"""What ECS fills in where a container has none."""


def aws(moto: str, *arguments: str) -> Any:
    """What the aws command line prints."""
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
def test_aws_registers_it_and_reads_it_back(moto: str, name: str) -> None:
    """The aws command line takes a committed file as it is, and ECS keeps all of it."""
    given = committed(name)
    file = f"file://{FOLDER / name}.json"
    aws(moto, "ecs", "register-task-definition", "--cli-input-json", file)
    described = aws(moto, "ecs", "describe-task-definition", "--task-definition", given["family"])[
        "taskDefinition"
    ]
    kept = {key: value for key, value in described.items() if key not in ADDED}
    assert described["compatibilities"] == ["EC2"]
    assert kept == {
        **given,
        "containerDefinitions": [{**EMPTY, **each} for each in given["containerDefinitions"]],
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_exporter_takes_its_environment(name: str, tmp_path: Path) -> None:
    """What a definition tells the exporter is a configuration that it finds nothing wrong with."""
    nothing = tmp_path / "exporter.yaml"
    nothing.touch()
    environment = environment_of(exporter_of(committed(name)))
    finished = run("check", "--config", str(nothing), environment=environment)
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.startswith(f"{nothing}: good\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("inf2.xlrge --with none --launch daemon", "--instance-type: unknown type; did you mean"),
        (
            "m5.large --with none --launch daemon",
            "--instance-type: is no type with Neuron devices; ",
        ),
        ("inf1.6xlarge --with none --launch sidecar", "--devices: must be given, since inf1.6x"),
        ("inf1.6xlarge --with none --launch sidecar --devices 4", "--devices: inf1.6xlarge has d"),
    ],
)
def test_what_cannot_be_used_is_one_line(flags: str, message: str) -> None:
    """A mistake costs one line and status 2, and prints nothing that could be registered."""
    finished = run("task-definition", "--instance-type", *flags.split())
    assert (finished.status, finished.out) == (2, "")
    (said,) = finished.complaints
    assert said.startswith(message)


def test_readmes_commands_make_what_readme_registers() -> None:
    """Each command in README prints a definition, and those that are registered there have the
    names by which README then runs them."""
    steps = re.findall(r"\$ (neuron-exporter task-definition .*?)\n(?! {7})", TEXT, re.DOTALL)
    assert len(steps) == 6
    families = set()
    for step in steps:
        flags = step.replace("\\\n", " ").replace("ACCOUNT", ACCOUNT).replace("REGION", "eu-west-1")
        arguments, _, file = flags.partition(" > ")
        finished = run(*shlex.split(arguments)[1:])
        assert (finished.status, finished.err) == (0, "")
        definition = json.loads(finished.out)
        if file:
            assert f"--cli-input-json file://{file.strip()}" in TEXT
            families.add(definition["family"])
    used = re.findall(r"(?:TaskDefinition=|--task-definition )(neuron-\S+)", TEXT)
    assert set(used) == families


@pytest.mark.usefixtures("needs_prometheus")
def test_prometheus_takes_readmes_way_to_sidecars(tmp_path: Path) -> None:
    """promtool finds nothing wrong with it. (The daemons' needs a newer one than tests have.)"""
    path = tmp_path / "prometheus.yml"
    path.write_text(block("yaml", "file_sd_configs"))
    done = subprocess.run(
        ["promtool", "check", "config", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "SUCCESS" in done.stdout) == (0, True), done


@pytest.mark.parametrize("wrong", ["--with train", "--launch service", "--memory 0", "--nonsense"])
def test_flags_that_there_are_not_are_refused(wrong: str) -> None:
    """The parser names the flag, and what it may be."""
    right = "task-definition --instance-type inf2.xlarge --with inference --launch sidecar"
    finished = run(*right.split(), *wrong.split())
    assert (finished.status, finished.out) == (2, "")
    assert wrong.split()[0] in finished.complaints[-1]
