"""ECS Managed Daemons: the definition in the AWS CLI, and the documented commands in botocore's
model. moto does not have these operations."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import OperationModel, StructureShape
from botocore.validate import ParamValidator

from tests.support.commands import shell_environment
from tests.support.documents import block, section
from tests.support.task_definitions import FOLDER, MANAGED

README = "ecs/README.md"
MODEL = botocore.session.get_session().get_service_model("ecs")


def problems(value: Mapping[str, Any], shape: Any) -> str:
    """Return what botocore's model finds wrong."""
    return str(ParamValidator().validate(value, shape).generate_report())


def documented() -> list[list[str]]:
    """Return the words after `aws ecs` of each command of the section."""
    text = section(README, "Managed Instances and Managed Daemons").replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^ *\$ aws ecs (.*)$", text, re.MULTILINE)]


def operation(command: str) -> OperationModel:
    """Return the operation that a command of the AWS CLI calls."""
    names = {xform_name(name, "-"): name for name in MODEL.operation_names}
    return MODEL.operation_model(names[command])


def parameters(shape: StructureShape, words: list[str]) -> dict[str, Any]:
    """Return the parameters that the flags set, as the AWS CLI does: a boolean has two flags."""
    members = {f"--{xform_name(name, '-')}": name for name in shape.members}
    values: dict[str, Any] = {}
    flags = iter(words)
    for flag in flags:
        is_off = flag.startswith("--no-")
        name = members[flag.replace("--no-", "--") if is_off else flag]
        match shape.members[name].type_name:
            case "boolean":
                values[name] = not is_off
            case "list":
                values[name] = [next(flags)]
            case "structure":
                assert next(flags) == "file://provider.json"
                values[name] = json.loads(block(README, "json", "infrastructureRoleArn"))
            case _:
                values[name] = next(flags)
    return values


def test_the_section_has_every_step() -> None:
    assert [words[0] for words in documented()] == [
        *("create-capacity-provider", "register-daemon-task-definition"),
        *("create-daemon", "describe-daemon"),
    ]


@pytest.mark.parametrize(
    "words", [words for words in documented() if "--cli-input-json" not in words], ids=" ".join
)
def test_documented_commands_are_those_of_the_api(words: list[str]) -> None:
    """Their flags exist, and the required ones are there. AWS's CLI may be older than the model."""
    command, *flags = words
    shape = operation(command).input_shape
    assert isinstance(shape, StructureShape)
    assert problems(parameters(shape, flags), shape) == ""


def test_the_daemon_is_not_critical() -> None:
    (words,) = [words for words in documented() if words[0] == "create-daemon"]
    shape = operation("create-daemon").input_shape
    assert isinstance(shape, StructureShape)
    assert parameters(shape, words[1:])["critical"] is False


def test_update_takes_the_arguments_of_create() -> None:
    """As the text says: with the daemon's ARN in place of its name."""
    create, update = (
        set(MODEL.operation_model(name).input_shape.required_members)
        for name in ("CreateDaemon", "UpdateDaemon")
    )
    assert create - {"daemonName"} == update - {"daemonArn"}
    assert "critical" in MODEL.operation_model("UpdateDaemon").input_shape.members


def skeleton(name: str) -> subprocess.CompletedProcess[str]:
    """Have the AWS CLI check a file, and print an answer of ECS without a request."""
    command = (
        *("ecs", "register-daemon-task-definition", "--generate-cli-skeleton", "output"),
        *("--cli-input-json", f"file://{FOLDER / name}.json"),
    )
    return subprocess.run(
        [Path(sys.executable).with_name("aws"), *command],
        capture_output=True,
        text=True,
        check=False,
        env=shell_environment(AWS_DEFAULT_REGION="us-east-1"),
    )


@pytest.mark.parametrize("name", MANAGED)
def test_the_aws_cli_takes_the_definition(name: str) -> None:
    done = skeleton(name)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "daemonTaskDefinitionArn" in json.loads(done.stdout)


def test_the_aws_cli_refuses_the_definition_of_other_daemons() -> None:
    done = skeleton("inf2-daemon")
    assert done.returncode != 0
    assert "networkMode" in done.stderr
