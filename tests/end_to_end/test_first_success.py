"""The commands of docs/install.md, "First success", run in a folder with a release's files."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from neuron_exporter import __version__
from tests.end_to_end.test_demo import cores, introduction
from tests.support import kubernetes
from tests.support.children import script
from tests.support.commands import shell_environment
from tests.support.documents import blocks, table
from tests.support.helm import HELM
from tests.support.kubernetes import only, pod
from tests.support.paths import ROOT
from tests.support.processes import ended, listening_port
from tests.support.registry import Registry
from tests.support.releases import clone, release, share_libraries
from tests.support.stacks import ACCOUNT, Account
from tests.support.steps import assigned, aws_variables, filled, run_step, steps
from tests.support.task_definitions import exporter_of
from tests.support.waiting import wait_for

PAGE = "docs/install.md"
TOOLLESS = f"{__version__}-toolless"
SOURCE = f"neuron-exporter-{__version__}"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def ways() -> dict[str, int]:
    """Return the number of commands that the table has for each way."""
    rows = table(PAGE, "| platform |")
    return {
        re.sub(r"\[(.*)\].*", r"\1", row[0]): int(re.match(r"\d+", row[1])[0])  # type: ignore[index]
        for row in rows
    }


def write_image(folder: Path) -> None:
    """Write the archive of an empty image, as a release writes that of its image."""
    release_py = runpy.run_path(str(ROOT / ".ci" / "release.py"))
    encoded, empty = release_py["encoded"], release_py["tar_of"]({}, 0)
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(empty).hexdigest()}"]}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
    with TemporaryDirectory() as parts:

        def add(content: bytes) -> dict[str, str]:
            digest = hashlib.sha256(content).hexdigest()
            Path(parts, digest).write_bytes(content)
            return {"digest": digest}

        manifest = {"config": add(encoded(config)), "layers": [add(gzip.compress(empty))]}
        Path(parts, "manifest.json").write_bytes(encoded(manifest))
        files = release_py["image_archive"](Path(parts), f"neuron-exporter:{TOOLLESS}")
    archive = folder / f"neuron-exporter-{TOOLLESS}-linux-amd64.oci.tar"
    archive.write_bytes(release_py["tar_of"](files, 0))


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a release, whose image is an empty one."""
    source = clone(tmp_path_factory.mktemp("clone") / "source")
    done = release(source, __version__)
    assert done.returncode == 0, done.stderr
    write_image(source / "dist")
    return source / "dist"


@pytest.fixture(scope="module")
def downloads(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a release's files and the unpacked source, and with the program installed. Its
    libraries are this environment's, in place of the package index."""
    folder = tmp_path_factory.mktemp("user") / "downloads"
    shutil.copytree(dist, folder)
    with tarfile.open(folder / f"{SOURCE}-source.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    make, install, _ = steps(PAGE, "Laptop")
    run_step(make, folder)
    share_libraries(folder / "venv")
    run_step(install, folder, PIP_NO_INDEX="1", PIP_NO_DEPS="1")
    return folder


def on_aws(
    way: str, folder: Path, empty_account: Account, registry: Registry, tmp_path: Path, **names: str
) -> None:
    """Run the commands of a way against moto and the registry."""
    programs = tmp_path / "programs"
    programs.mkdir()
    # The registry has no certificate.
    script(programs / "skopeo", f'exec {shutil.which("skopeo")} "$@" --dest-tls-verify=false')
    names |= {"REGISTRY": registry.address, "ACCOUNT": ACCOUNT, "REGION": "us-east-1"}
    variables = aws_variables(empty_account.url)
    for step in steps(PAGE, way):
        done = run_step(filled(step, names), folder, programs, **variables)
        variables |= assigned(step, done)
    assert registry.configuration("neuron-exporter", TOOLLESS) == {}  # the empty image's


def test_at_most_five_commands() -> None:
    """The table counts what the sections have."""
    assert len(ways()) == 6
    for way, number in ways().items():
        assert len(steps(PAGE, way)) == number, way
        assert number <= 5, way


def test_laptop(downloads: Path) -> None:
    demo = shlex.split(steps(PAGE, "Laptop")[-1])
    process = subprocess.Popen(
        [*demo, "--listen", "127.0.0.1:0"],
        cwd=downloads,
        env=shell_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended(process):
        introduction(process)
        port = listening_port(process.pid)
        wait_for(lambda: cores(port) == 32)


def test_host(downloads: Path) -> None:
    """The unit starts the program that was installed, with the file that was created; how systemd
    starts it is tested in test_systemd_service.py."""
    make, install, touch, copy, enable = map(shlex.split, steps(PAGE, "Host"))
    unit = downloads / copy[1]
    program = Path(make[-1]) / "bin"
    start = f"ExecStart={program}/neuron-exporter run --config {touch[-1]}\n"
    assert start in unit.read_text()
    assert install[0] == f"{program}/pip"
    assert (downloads / install[-1]).is_file()
    assert unit.read_bytes() == (ROOT / "docs" / unit.name).read_bytes()
    assert f"{enable[-1]}.service" == unit.name


def test_own_ecs_task(
    downloads: Path, empty_account: Account, registry: Registry, tmp_path: Path
) -> None:
    container = {"name": "ranking", "image": "ranking:7", "memory": 6144}
    iam, ecs = empty_account.iam, empty_account.ecs
    role = iam.create_role(RoleName="task", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    ecs.register_task_definition(
        family="ranking", taskRoleArn=role, containerDefinitions=[container]
    )
    ecs.create_cluster(clusterName="prod")
    ecs.create_service(cluster="prod", serviceName="web", taskDefinition="ranking", desiredCount=1)
    names = {"FAMILY": "ranking", "ROLE": "task", "CLUSTER": "prod", "SERVICE": "web"}
    on_aws("Own ECS task", downloads, empty_account, registry, tmp_path, **names)
    definition = ecs.describe_task_definition(taskDefinition="ranking")["taskDefinition"]
    assert definition["revision"] == 2
    repositories = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
    assert exporter_of(definition)["image"] == f"{repositories}/neuron-exporter:{TOOLLESS}"
    policy = iam.get_role_policy(RoleName="task", PolicyName="neuron-exporter")
    assert "cloudwatch:PutMetricData" in json.dumps(policy["PolicyDocument"])


def test_new_ecs_cluster(
    downloads: Path, empty_account: Account, registry: Registry, tmp_path: Path
) -> None:
    subnet = empty_account.ec2.describe_subnets()["Subnets"][0]
    names = {"VPC": subnet["VpcId"], "SUBNET,SUBNET": subnet["SubnetId"]}
    on_aws("New ECS cluster", downloads, empty_account, registry, tmp_path, **names)
    (group,) = empty_account.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    assert group["MinSize"] == 1
    (service,) = empty_account.ecs.list_services(cluster="neuron")["serviceArns"]
    assert service.endswith("/neuron-exporter")
    described = empty_account.ecs.describe_services(cluster="neuron", services=[service])
    assert described["services"][0]["taskDefinition"].endswith("/neuron-exporter-inf2-xlarge:1")
    repositories = empty_account.ecr.describe_repositories()["repositories"]
    assert "neuron-exporter" in [each["repositoryName"] for each in repositories]


def with_host_tools(objects: list[Mapping[str, Any]], image: str) -> None:
    """Check that the exporter of these objects runs this image with the host's tools."""
    found = pod(objects)
    (container,) = found["containers"]
    assert container["image"] == image
    (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == "/opt/aws"]
    (volume,) = [each for each in found["volumes"] if each["name"] == mount["name"]]
    assert volume["hostPath"]["path"] == "/opt/aws"


@pytest.mark.usefixtures("needs_helm")
def test_eks_with_helm(downloads: Path, tmp_path: Path) -> None:
    """The command renders what it would install; the image is that of `skopeo copy`."""
    push, install, look = steps(PAGE, "EKS with Helm")
    (tmp_path / "helm").symlink_to(HELM)
    rendered = run_step(install.replace("helm install", "helm template"), downloads, tmp_path)
    objects = list(yaml.safe_load_all(rendered.stdout))
    image = re.search(r"docker://(\S+)", push)
    assert image is not None
    with_host_tools([each for each in objects if each["kind"] != "Pod"], image[1])
    assert f"daemonset/{only(objects, 'DaemonSet')['metadata']['name']} " in look


@pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())
def test_eks_with_kustomize(downloads: Path) -> None:
    push, apply, look = steps(PAGE, "EKS with kustomize")
    mine = downloads / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(blocks(PAGE, "yaml", f"{SOURCE}/k8s")[0])
    rendered = run_step(apply.replace("apply -k", "kustomize"), downloads)
    objects = list(yaml.safe_load_all(rendered.stdout))
    image = re.search(r"docker://(\S+)", push)
    assert image is not None
    with_host_tools(objects, image[1])
    assert f"-n {kubernetes.namespace(objects)} " in look
