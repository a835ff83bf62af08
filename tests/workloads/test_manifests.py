"""The image's Dockerfile and the Kubernetes manifests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import kubernetes
from tests.support.kubernetes import Object
from tests.support.programs import PROGRAMS, Programs
from tests.workloads.conftest import FAKE_CREDENTIALS, NO_AWS_FILES

pytestmark = pytest.mark.workloads


@pytest.fixture(scope="module")
def manifests() -> dict[str, Object]:
    """Return the objects that `kubectl apply -k` applies, by kind."""
    if kubernetes.missing():
        pytest.skip(kubernetes.missing())
    return {each["kind"]: each for each in kubernetes.rendered("workloads")}


@pytest.mark.parametrize(("kind", "tag"), [("Job", "compile"), ("Deployment", "inference")])
def test_pods_have_a_device_a_role_and_a_tag(
    manifests: dict[str, Object], kind: str, tag: str
) -> None:
    (spec,) = kubernetes.pods([manifests[kind]])
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["aws.amazon.com/neuron"] == "1"
    assert {"name": "NEURON_PROCESS_TAG", "value": tag} in container["env"]
    assert spec["serviceAccountName"] == manifests["ServiceAccount"]["metadata"]["name"]
    assert "node.kubernetes.io/instance-type" in spec["nodeSelector"]
    assert container["image"].rpartition(":")[2] not in ("", "latest")


@pytest.mark.parametrize("kind", ["Job", "Deployment"])
def test_command_lines_are_valid(manifests: dict[str, Object], kind: str, tmp_path: Path) -> None:
    """The program parses its flags and fails only later, at connecting to S3."""
    (pod,) = kubernetes.pods([manifests[kind]])
    (container,) = pod["containers"]
    interpreter, program = container["command"]
    values = manifests["ConfigMap"]["data"]
    arguments = [
        re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], each) for each in container["args"]
    ]
    assert interpreter == "python3"
    assert any(values["MODEL"] in each for each in arguments)
    # Port 1 refuses connections.
    environment = {**FAKE_CREDENTIALS, **NO_AWS_FILES, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    programs = Programs(Path(sys.executable), tmp_path, **environment)
    done = programs.run(Path(program).name, *arguments)
    assert done.status == 1, done.err
    assert "Could not connect" in done.err


def test_dockerfile() -> None:
    """hadolint finds nothing, both stages copy all programs, and no image has the tag latest."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [str(hadolint), str(PROGRAMS / "Dockerfile")], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")
    text = (PROGRAMS / "Dockerfile").read_text()
    assert text.count("COPY *.py /opt/workloads/") == text.count("\nFROM ") == 2
    assert not re.search(r":latest\b", text)
