"""The commands of docs/install.md, "First success", run in a folder with a release's files."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_exporter import __version__
from tests.conftest import missing
from tests.end_to_end.test_demo import cores, introduction
from tests.integration.release.test_release import clone, release
from tests.support import kubernetes
from tests.support.children import script
from tests.support.commands import shell_environment
from tests.support.documents import blocks, section, table
from tests.support.fleet import CREDENTIALS
from tests.support.helm import HELM
from tests.support.kubernetes import only, pod
from tests.support.paths import ROOT
from tests.support.processes import ended, listening_port
from tests.support.registry import USER, Registry, running_registry
from tests.support.stacks import ACCOUNT, Account, account
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


def steps(way: str) -> list[str]:
    """Return the commands of a way."""
    (block,) = re.findall(r"```console\n(.*?)```", section(PAGE, way), re.DOTALL)
    return [step.strip() for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]


def write_image(folder: Path) -> None:
    """Write the archive of an empty image, as a release writes that of its image."""
    release_py = runpy.run_path(str(ROOT / ".ci" / "release.py"))
    layer = release_py["gzip"].compress(release_py["tar_of"]({}, 0), mtime=0)
    digests = {}
    empty = hashlib.sha256(release_py["tar_of"]({}, 0)).hexdigest()
    config: dict[str, Any] = {"architecture": "amd64", "os": "linux", "config": {}}
    config["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{empty}"]}
    parts = folder / "parts"
    parts.mkdir()
    for name, content in (("config", json.dumps(config).encode()), ("layer", layer)):
        digests[name] = hashlib.sha256(content).hexdigest()
        (parts / digests[name]).write_bytes(content)
    manifest = {"config": {"digest": digests["config"]}, "layers": [{"digest": digests["layer"]}]}
    (parts / "manifest.json").write_text(json.dumps(manifest))
    files = release_py["image_archive"](parts, f"neuron-exporter:{TOOLLESS}")
    archive = folder / f"neuron-exporter-{TOOLLESS}-linux-amd64.oci.tar"
    archive.write_bytes(release_py["tar_of"](files, 0))
    shutil.rmtree(parts)


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
    make, install, _ = steps("Laptop")
    run(make, folder)
    (packages,) = (folder / "venv" / "lib").glob("*/site-packages")
    line = f"import sys; sys.path.insert(0, {sysconfig.get_path('purelib')!r})\n"
    (packages / "libraries.pth").write_text(line)
    run(install, folder, PIP_NO_INDEX="1", PIP_NO_DEPS="1")
    return folder


def run(command: str, folder: Path, **variables: str) -> str:
    """Run a command in a shell and return its output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=shell_environment(**{"PATH": path, **variables}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture
def opened() -> Iterator[Account]:
    """An empty account."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with account() as empty:
            yield empty


@pytest.fixture
def registry(opened: Account, tmp_path: Path) -> Iterator[Registry]:
    """An empty registry with the account's password, in place of ECR's."""
    for program in ("docker-registry", "skopeo"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed (make docker-registry)")
    (token,) = opened.ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
    assert user == USER
    (tmp_path / "registry").mkdir()
    with running_registry(tmp_path / "registry", password) as started:
        yield started


def on_aws(
    way: str, folder: Path, opened: Account, registry: Registry, tmp_path: Path, **names: str
) -> None:
    """Run the commands of a way against moto and the registry."""
    programs = tmp_path / "programs"
    programs.mkdir()
    # The registry has no certificate.
    script(programs / "skopeo", f'exec {shutil.which("skopeo")} "$@" --dest-tls-verify=false')
    values = {
        "REGISTRY": registry.address,
        "ACCOUNT": ACCOUNT,
        "REGION": "us-east-1",
        **names,
    }
    for step in steps(way):
        pattern = "|".join(rf"\b{name}\b" for name in sorted(values, key=len, reverse=True))
        run(
            re.sub(pattern, lambda found: values[found[0]], step),
            folder,
            **CREDENTIALS,
            AWS_DEFAULT_REGION="us-east-1",
            AWS_ENDPOINT_URL=opened.url,
            PATH=os.pathsep.join(
                [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
        )
    assert registry.configuration("neuron-exporter", TOOLLESS) == {}  # the empty image's


def test_at_most_five_commands() -> None:
    """The table counts what the sections have."""
    assert len(ways()) == 6
    for way, number in ways().items():
        assert len(steps(way)) == number, way
        assert number <= 5, way


def test_laptop(downloads: Path) -> None:
    demo = shlex.split(steps("Laptop")[-1])
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
    make, install, touch, copy, enable = map(shlex.split, steps("Host"))
    unit = downloads / copy[1]
    program = Path(make[-1]) / "bin"
    start = f"ExecStart={program}/neuron-exporter run --config {touch[-1]}\n"
    assert start in unit.read_text()
    assert install[0] == f"{program}/pip"
    assert (downloads / install[-1]).is_file()
    assert unit.read_bytes() == (ROOT / "docs" / unit.name).read_bytes()
    assert f"{enable[-1]}.service" == unit.name


def test_own_ecs_task(downloads: Path, opened: Account, registry: Registry, tmp_path: Path) -> None:
    container = {"name": "ranking", "image": "ranking:7", "memory": 6144}
    role = opened.iam.create_role(RoleName="task", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    opened.ecs.register_task_definition(
        family="ranking", taskRoleArn=role, containerDefinitions=[container]
    )
    opened.ecs.create_cluster(clusterName="prod")
    opened.ecs.create_service(
        cluster="prod", serviceName="web", taskDefinition="ranking", desiredCount=1
    )
    names = {"FAMILY": "ranking", "ROLE": "task", "CLUSTER": "prod", "SERVICE": "web"}
    on_aws("Own ECS task", downloads, opened, registry, tmp_path, **names)
    definition = opened.ecs.describe_task_definition(taskDefinition="ranking")["taskDefinition"]
    assert definition["revision"] == 2
    ecr = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
    assert exporter_of(definition)["image"] == f"{ecr}/neuron-exporter:{TOOLLESS}"
    policy = opened.iam.get_role_policy(RoleName="task", PolicyName="neuron-exporter")
    assert "cloudwatch:PutMetricData" in json.dumps(policy["PolicyDocument"])


def test_new_ecs_cluster(
    downloads: Path, opened: Account, registry: Registry, tmp_path: Path
) -> None:
    subnet = opened.ec2.describe_subnets()["Subnets"][0]
    names = {"VPC": subnet["VpcId"], "SUBNET,SUBNET": subnet["SubnetId"]}
    on_aws("New ECS cluster", downloads, opened, registry, tmp_path, **names)
    (group,) = opened.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    assert group["MinSize"] == 1
    (service,) = opened.ecs.list_services(cluster="neuron")["serviceArns"]
    assert service.endswith("/neuron-exporter")
    names = [each["repositoryName"] for each in opened.ecr.describe_repositories()["repositories"]]
    assert "neuron-exporter" in names


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
    push, install, look = steps("EKS with Helm")
    (tmp_path / "helm").symlink_to(HELM)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    objects = list(
        yaml.safe_load_all(
            run(install.replace("helm install", "helm template"), downloads, PATH=path)
        )
    )
    image = re.search(r"docker://(\S+)", push)
    assert image is not None
    with_host_tools([each for each in objects if each["kind"] != "Pod"], image[1])
    assert f"daemonset/{only(objects, 'DaemonSet')['metadata']['name']} " in look


@pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())
def test_eks_with_kustomize(downloads: Path) -> None:
    push, apply, look = steps("EKS with kustomize")
    mine = downloads / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(blocks(PAGE, "yaml", f"{SOURCE}/k8s")[0])
    output = run(apply.replace("apply -k", "kustomize"), downloads)
    objects = list(yaml.safe_load_all(output))
    image = re.search(r"docker://(\S+)", push)
    assert image is not None
    with_host_tools(objects, image[1])
    assert f"-n {kubernetes.namespace(objects)} " in look
