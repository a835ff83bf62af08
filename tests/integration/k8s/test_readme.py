"""Tables, commands and examples of k8s/README.md agree with the manifests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from neuron_exporter import __version__
from neuron_exporter.config import load
from tests.support import kubernetes
from tests.support.documents import block, calls, commands, table
from tests.support.kubernetes import COMPONENTS, EXPORTERS, K8S, rendered
from tests.support.paths import ROOT

README = "k8s/README.md"

can_render = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())


def named(heading: str) -> list[str]:
    """Return the names in the first column of a table."""
    return sorted(row[0].strip("`") for row in table(README, heading))


def test_every_overlay_and_component_is_named() -> None:
    """The tables have each overlay and each component, and no other."""
    overlays = [name for name in EXPORTERS if name != "base"]
    assert named("| overlay |") == [name.partition("/")[2] for name in overlays]
    assert named("| component |") == [name.partition("/")[2] for name in COMPONENTS]


@can_render
def test_the_example_of_an_overlay_renders(tmp_path: Path) -> None:
    """The example has an image by digest and a configuration of its own, and adds a PodMonitor in
    the namespace of the overlay below it. It edits no file of this repository."""
    (tmp_path / "k8s").symlink_to(K8S)
    (tmp_path / "mine").mkdir()
    text = block(README, "yaml", "components: [")
    (tmp_path / "mine" / "kustomization.yaml").write_text(text)
    config = block(README, "yaml", "mine/exporter.yaml")
    (tmp_path / "mine" / "exporter.yaml").write_text(config)
    objects = list(yaml.safe_load_all(kubernetes.kustomize(tmp_path / "mine")))
    monitor = kubernetes.only(objects, "PodMonitor")
    assert monitor["metadata"]["namespace"] == kubernetes.namespace(objects)
    (container,) = kubernetes.pod(objects)["containers"]
    assert container["image"] == "REGISTRY/neuron-exporter@sha256:DIGEST"
    assert kubernetes.only(objects, "ConfigMap")["data"] == {"exporter.yaml": config}
    assert load(str(tmp_path / "mine" / "exporter.yaml")).config.identity.cluster == "CLUSTER"


@can_render
def test_the_role_fits_the_overlay() -> None:
    """Commands and policies name the service account of the overlays and the namespace that the
    overlay publishes to."""
    objects = rendered("overlays/eks")
    account = kubernetes.only(objects, "ServiceAccount")["metadata"]
    assert kubernetes.pod(objects)["serviceAccountName"] == account["name"]
    (words,) = [each for each in calls(README, "aws") if "create-pod-identity-association" in each]
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    assert flags["--namespace"] == account["namespace"]
    assert flags["--service-account"] == account["name"]
    trusted = json.loads(block(README, "json", "OIDC:sub"))["Statement"][0]["Condition"]
    subject = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    assert trusted["StringEquals"]["OIDC:sub"] == subject
    pods = json.loads(block(README, "json", "pods.eks"))["Statement"][0]
    assert sorted(pods["Action"]) == ["sts:AssumeRole", "sts:TagSession"]
    rights = json.loads((ROOT / "ecs" / "policies" / "publish.json").read_text())["Statement"][0]
    allowed = rights["Condition"]["StringEquals"]["cloudwatch:namespace"]
    assert (
        allowed == load(str(K8S / "overlays" / "eks" / "exporter.yaml")).config.cloudwatch.namespace
    )


@pytest.mark.parametrize("document", [README, "README.md", "docker/workloads/README.md"])
def test_files_in_commands_exist(document: str) -> None:
    for path in re.findall(r" ((?:k8s|ecs)/[\w./-]+)", "\n".join(commands(document))):
        assert (ROOT / path).exists(), path


def test_the_image_has_this_versions_tag() -> None:
    pushed = block(README, "console", "docker push")
    assert set(re.findall(r"neuron-exporter:(\S+)", pushed)) == {__version__}
