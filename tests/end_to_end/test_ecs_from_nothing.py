"""The steps of ecs/README.md, "From nothing to metrics", run on moto with the real commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.registry import Registry, add_docker, without_run
from tests.support.stacks import ACCOUNT, Account
from tests.support.steps import assigned, aws_variables, filled, run_step, steps
from tests.support.supervised import programs

ECR = "ACCOUNT.dkr.ecr.REGION.amazonaws.com"


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


def groups(opened: Account) -> list[Any]:
    """Return the account's scaling groups."""
    found: list[Any] = opened.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    return found


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


def test_from_nothing_to_metrics(
    empty_account: Account, registry: Registry, repository: Path, tmp_path: Path
) -> None:
    """Every command succeeds as written, against moto and a registry on this machine. At the end
    both services and the compile task run, and each container's program is in its image. The
    commands that delete the stacks leave neither a stack nor a scaling group."""
    subnet = empty_account.ec2.describe_subnets()["Subnets"][0]
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
    variables = aws_variables(empty_account.url)
    for step in steps("ecs/README.md", "From nothing to metrics"):
        if "run-task" in step:
            add_machine(empty_account)
        if "GROUP" in step:
            (group,) = groups(empty_account)
            known["GROUP"] = group["AutoScalingGroupName"]
        ecr = {ECR: registry.address} if "docker " in step else {}
        done = run_step(filled(step, {**ecr, **known}), repository, folder, **variables)
        variables |= assigned(step, done)
        assert "warning: " not in done.stderr, done.stderr
    services = empty_account.ecs.list_services(cluster="neuron")["serviceArns"]
    assert {arn.rpartition("/")[2] for arn in services} == {"inference", "neuron-exporter"}
    (task,) = empty_account.ecs.list_tasks(cluster="neuron", family="neuron-compile-inf2-xlarge")[
        "taskArns"
    ]
    assert task
    repositories = empty_account.ecr.describe_repositories()["repositories"]
    assert registry.repositories() == {each["repositoryName"] for each in repositories}
    families = empty_account.ecs.list_task_definitions()["taskDefinitionArns"]
    assert len(families) == 3
    for family in families:
        described = empty_account.ecs.describe_task_definition(taskDefinition=family)
        for container in described["taskDefinition"]["containerDefinitions"]:
            assert_program_exists(container, registry)
    for step in steps("ecs/README.md", "Delete the stacks"):
        run_step(filled(step, known), repository, folder, **variables)
        if "--force-delete" in step:
            assert groups(empty_account) == []
            # AWS deletes a stack whose group is gone, moto does not.
            empty_account.autoscaling.create_auto_scaling_group(
                AutoScalingGroupName=group["AutoScalingGroupName"],
                LaunchTemplate={"LaunchTemplateId": group["LaunchTemplate"]["LaunchTemplateId"]},
                VPCZoneIdentifier=subnet["SubnetId"],
                MinSize=0,
                MaxSize=0,
            )
    assert empty_account.cloudformation.describe_stacks()["Stacks"] == []
    assert groups(empty_account) == []
    (cluster,) = empty_account.ecs.describe_clusters(clusters=["neuron"])["clusters"] or [{}]
    assert not cluster.get("capacityProviders")


def assert_program_exists(container: Mapping[str, Any], registry: Registry) -> None:
    """Check that the registry has the container's image, and the image has what it starts."""
    host, _, name = container["image"].partition("/")
    assert host == filled(ECR, {"ACCOUNT": ACCOUNT, "REGION": "us-east-1"})
    image = name.split(":")
    default = registry.configuration(*image)
    words = [
        *(container.get("entryPoint") or default.get("Entrypoint") or ()),
        *(container.get("command") or default.get("Cmd") or ()),
    ]
    files = [word for word in words if word.startswith("/")]
    assert files, words
    assert set(files) <= registry.files(*image)
