"""The steps of ecs/README.md, "From nothing to metrics", run on moto with the real commands."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.support.commands import shell_environment
from tests.support.documents import section
from tests.support.fleet import CREDENTIALS
from tests.support.paths import ROOT
from tests.support.registry import Registry, add_docker, running_registry, without_run
from tests.support.stacks import ACCOUNT, Account, account
from tests.support.supervised import programs

STEPS = section("ecs/README.md", "From nothing to metrics")
ECR = "ACCOUNT.dkr.ecr.REGION.amazonaws.com"


def steps() -> list[str]:
    """Return the commands in their order."""
    blocks = re.findall(r"```console\n(.*?)```", STEPS, re.DOTALL)
    return [step.strip() for block in blocks for step in re.split(r"^ *\$ ", block, flags=re.M)[1:]]


@pytest.fixture
def empty() -> Iterator[Account]:
    """Return an empty account."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with account() as opened:
            yield opened


@pytest.fixture
def registry(empty: Account, tmp_path: Path) -> Iterator[Registry]:
    """Return an empty registry with the account's password, in place of ECR's."""
    for program in ("docker-registry", "buildah"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed (make docker-registry)")
    (token,) = empty.ecr.get_authorization_token()["authorizationData"]
    folder = tmp_path / "registry"
    folder.mkdir()
    user_and_password = base64.b64decode(token["authorizationToken"]).decode()
    with running_registry(folder, user_and_password.partition(":")[2]) as started:
        yield started


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a copy of this repository whose images are quick to build."""
    folder = tmp_path / "repository"
    for name in ("docker", "ecs", "exporter"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("exporter", "workloads"):
        without_run(folder / "docker" / name / "Dockerfile")
    return folder


def add_machine(opened: Account) -> None:
    """Add a machine of the scaling group to the cluster, which moto does not do."""
    (image,) = opened.ec2.describe_images(Owners=["amazon"])["Images"][:1]
    started = opened.ec2.run_instances(
        ImageId=image["ImageId"], InstanceType="inf2.xlarge", MinCount=1, MaxCount=1
    )
    document = {"instanceId": started["Instances"][0]["InstanceId"]}
    opened.ecs.register_container_instance(
        cluster="neuron", instanceIdentityDocument=json.dumps(document)
    )


def replaced(step: str, values: Mapping[str, str]) -> str:
    """Return a command with the values of the names in capitals."""
    return re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], step)


def test_from_nothing_to_metrics(
    empty: Account, registry: Registry, repository: Path, tmp_path: Path
) -> None:
    """Every command succeeds as written, against moto and a registry on this machine. At the end
    both services and the compile task run, and each container's program is in its image."""
    subnet = empty.ec2.describe_subnets()["Subnets"][0]
    known = {
        "ACCOUNT": ACCOUNT,
        "REGION": "us-east-1",
        "VPC": subnet["VpcId"],
        "SUBNET,SUBNET": subnet["SubnetId"],
        "PROVIDER": "FARGATE",  # moto makes no provider of the stack's
        "TOPIC": f"arn:aws:sns:us-east-1:{ACCOUNT}:topic",
    }
    folder = programs(tmp_path / "programs")
    add_docker(folder, tmp_path)
    path = [folder, Path(sys.executable).parent, os.environ["PATH"]]
    environment = shell_environment(
        **CREDENTIALS,
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL=empty.url,
        PATH=os.pathsep.join(map(str, path)),
    )
    for step in steps():
        if "run-task" in step:
            add_machine(empty)
        if "GROUP" in step:
            (group,) = empty.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
            known["GROUP"] = group["AutoScalingGroupName"]
        ecr = {ECR: registry.address} if "docker " in step else {}
        command = replaced(step, {**ecr, **known})
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert "warning: " not in done.stderr, done.stderr
    services = empty.ecs.list_services(cluster="neuron")["serviceArns"]
    assert {arn.rpartition("/")[2] for arn in services} == {"inference", "neuron-exporter"}
    (task,) = empty.ecs.list_tasks(cluster="neuron", family="neuron-compile-inf2-xlarge")[
        "taskArns"
    ]
    assert task
    repositories = empty.ecr.describe_repositories()["repositories"]
    assert registry.repositories() == {each["repositoryName"] for each in repositories}
    families = empty.ecs.list_task_definitions()["taskDefinitionArns"]
    assert len(families) == 3
    for family in families:
        definition = empty.ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
        for container in definition["containerDefinitions"]:
            assert_program_exists(container, registry)


def assert_program_exists(container: Mapping[str, Any], registry: Registry) -> None:
    """Check that the registry has the container's image, and the image has what it starts."""
    host, _, name = container["image"].partition("/")
    assert host == replaced(ECR, {"ACCOUNT": ACCOUNT, "REGION": "us-east-1"})
    image = name.split(":")
    default = registry.configuration(*image)
    words = [
        *(container.get("entryPoint") or default.get("Entrypoint") or ()),
        *(container.get("command") or default.get("Cmd") or ()),
    ]
    files = [word for word in words if word.startswith("/")]
    assert files, words
    assert set(files) <= registry.files(*image)
