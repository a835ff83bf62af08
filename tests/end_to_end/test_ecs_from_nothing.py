"""The steps of ecs/README.md, "From nothing to metrics", run on moto with the real commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import shell_environment
from tests.support.documents import section
from tests.support.fleet import CREDENTIALS
from tests.support.paths import ROOT
from tests.support.stacks import ACCOUNT, Account, account
from tests.support.supervised import programs

STEPS = section("ecs/README.md", "From nothing to metrics")


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


def machine(opened: Account) -> None:
    """Add a machine of the scaling group to the cluster, which moto does not do."""
    (image,) = opened.ec2.describe_images(Owners=["amazon"])["Images"][:1]
    started = opened.ec2.run_instances(
        ImageId=image["ImageId"], InstanceType="inf2.xlarge", MinCount=1, MaxCount=1
    )
    document = {"instanceId": started["Instances"][0]["InstanceId"]}
    opened.ecs.register_container_instance(
        cluster="neuron", instanceIdentityDocument=json.dumps(document)
    )


def test_from_nothing_to_metrics(empty: Account, tmp_path: Path) -> None:
    """Every command succeeds as written; at the end both services and the compile task run."""
    subnet = empty.ec2.describe_subnets()["Subnets"][0]
    known = {
        "ACCOUNT": ACCOUNT,
        "REGION": "us-east-1",
        "VPC": subnet["VpcId"],
        "SUBNET,SUBNET": subnet["SubnetId"],
        "PROVIDER": "FARGATE",  # moto makes no provider of the stack's
        "TOPIC": f"arn:aws:sns:us-east-1:{ACCOUNT}:topic",
    }
    path = [programs(tmp_path / "programs"), Path(sys.executable).parent, os.environ["PATH"]]
    environment = shell_environment(
        **CREDENTIALS,
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL=empty.url,
        PATH=os.pathsep.join(map(str, path)),
    )
    (tmp_path / "ecs").symlink_to(ROOT / "ecs")
    for step in steps():
        if "run-task" in step:
            machine(empty)
        if "GROUP" in step:
            (group,) = empty.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
            known["GROUP"] = group["AutoScalingGroupName"]
        command = re.sub("|".join(map(re.escape, known)), lambda found: known[found[0]], step)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    services = empty.ecs.list_services(cluster="neuron")["serviceArns"]
    assert {arn.rpartition("/")[2] for arn in services} == {"inference", "neuron-exporter"}
    (task,) = empty.ecs.list_tasks(cluster="neuron", family="neuron-compile-inf2-xlarge")[
        "taskArns"
    ]
    assert task
