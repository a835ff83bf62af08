"""The image's Dockerfile and the manifests for Kubernetes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.programs import PROGRAMS, Programs
from tests.workloads.conftest import NO_OTHERS, NOBODYS

pytestmark = pytest.mark.workloads

OLDEST_KUBECTL = 27


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    """What `kubectl apply -k` would apply, by kind."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    version = subprocess.run(
        ["kubectl", "version", "--client"], capture_output=True, text=True, check=True
    )
    found = re.search(r"Client Version: v1\.(\d+)", version.stdout)
    if found is None or int(found[1]) < OLDEST_KUBECTL:
        pytest.skip(f"kubectl is older than 1.{OLDEST_KUBECTL}")
    built = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / "k8s" / "workloads")],
        capture_output=True,
        text=True,
        check=True,
    )
    return {each["kind"]: each for each in yaml.safe_load_all(built.stdout)}


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pod that a Job or Deployment makes."""
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def test_every_manifest_is_valid(manifests: dict[str, dict[str, Any]]) -> None:
    """No field is unknown to Kubernetes."""
    assert set(manifests) == {"Namespace", "ServiceAccount", "ConfigMap", "Job", "Deployment"}
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, "1.37", strict=True)


@pytest.mark.parametrize(("kind", "tag"), [("Job", "compile"), ("Deployment", "inference")])
def test_each_pod_has_a_device_a_role_and_a_tag(
    manifests: dict[str, dict[str, Any]], kind: str, tag: str
) -> None:
    """Karpenter launches a machine for the device, S3 is by role, and the exporter names it."""
    spec = pod(manifests[kind])
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["aws.amazon.com/neuron"] == 1
    assert {"name": "NEURON_PROCESS_TAG", "value": tag} in container["env"]
    assert spec["serviceAccountName"] == manifests["ServiceAccount"]["metadata"]["name"]
    assert "node.kubernetes.io/instance-type" in spec["nodeSelector"]
    assert container["image"].rpartition(":")[2] not in ("", "latest")


@pytest.mark.parametrize("kind", ["Job", "Deployment"])
def test_each_command_line_is_one_that_the_program_takes(
    manifests: dict[str, dict[str, Any]], kind: str, tmp_path: Path
) -> None:
    """The flags are read, and the first thing that is missing here is no flag."""
    (container,) = pod(manifests[kind])["containers"]
    interpreter, program = container["command"]
    values = manifests["ConfigMap"]["data"]
    arguments = [
        re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], each) for each in container["args"]
    ]
    assert interpreter == "python3"
    assert any(values["MODEL"] in each for each in arguments)
    # Nobody listens there, which shows only after every flag was read.
    environment = {**NOBODYS, **NO_OTHERS, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    programs = Programs(Path(sys.executable), tmp_path, **environment)
    done = programs.run(Path(program).name, *arguments)
    assert done.status == 1, done.err
    assert "Could not connect" in done.err


def test_the_dockerfile_is_clean_and_has_every_program() -> None:
    """hadolint finds nothing, and both images hold what lies beside it."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [str(hadolint), str(PROGRAMS / "Dockerfile")], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")
    text = (PROGRAMS / "Dockerfile").read_text()
    assert text.count("COPY *.py /opt/workloads/") == text.count("\nFROM ") == 2
    assert not re.search(r":latest\b", text)
