"""What README says of k8s/ is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from neuron_exporter import __version__
from neuron_exporter.config import load
from tests.support import kubernetes, readme
from tests.support.kubernetes import COMPONENTS, EXPORTERS, K8S, rendered
from tests.support.paths import ROOT

can_render = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())


def named(heading: str) -> list[str]:
    """The names in the first column of a table."""
    return sorted(row[0].strip("`") for row in readme.table(heading))


def test_every_overlay_and_component_is_named() -> None:
    """README's tables name each overlay and each component, and no other."""
    overlays = [name for name in EXPORTERS if name != "base"]
    assert named("| overlay |") == [name.partition("/")[2] for name in overlays]
    assert named("| component |") == [name.partition("/")[2] for name in COMPONENTS]


@can_render
def test_the_overlay_of_ones_own_renders(tmp_path: Path) -> None:
    """The example is an overlay that adds what it says."""
    (tmp_path / "k8s").symlink_to(K8S)
    (tmp_path / "mine").mkdir()
    text = readme.block("yaml", "components: [")
    (tmp_path / "mine" / "kustomization.yaml").write_text(text)
    objects = list(yaml.safe_load_all(kubernetes.kustomize(tmp_path / "mine")))
    monitor = kubernetes.only(objects, "PodMonitor")
    assert monitor["metadata"]["namespace"] == kubernetes.namespace(objects)


@can_render
def test_the_role_is_for_the_account_that_there_is() -> None:
    """The commands and policies for a role name the service account of the overlays, and the rights
    are on the namespace that is published to."""
    objects = rendered("overlays/eks")
    account = kubernetes.only(objects, "ServiceAccount")["metadata"]
    assert kubernetes.pod(objects)["serviceAccountName"] == account["name"]
    command = readme.block("console", "create-pod-identity-association").replace("\\\n", " ")
    given = dict(re.findall(r"--([a-z-]+) +(\S+)", command.splitlines()[-1]))
    assert (given["namespace"], given["service-account"]) == (account["namespace"], account["name"])
    trusted = json.loads(readme.block("json", "OIDC:sub"))["Statement"][0]["Condition"]
    subject = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    assert trusted["StringEquals"]["OIDC:sub"] == subject
    pods = json.loads(readme.block("json", "pods.eks"))["Statement"][0]
    assert sorted(pods["Action"]) == ["sts:AssumeRole", "sts:TagSession"]
    rights = json.loads(readme.block("json", "cloudwatch:PutMetricData"))["Statement"][0]
    allowed = rights["Condition"]["StringEquals"]["cloudwatch:namespace"]
    assert (
        allowed == load(str(K8S / "overlays" / "eks" / "exporter.yaml")).config.cloudwatch.namespace
    )


def test_the_commands_name_what_is_there() -> None:
    """Files and folders of k8s/ that README names exist, and the image has this version's tag."""
    for path in re.findall(r"[`( ](k8s/[\w./-]+)", readme.TEXT):
        assert (ROOT / path.rstrip(".")).exists(), path
    commands = readme.block("console", "docker push")
    assert set(re.findall(r"neuron-exporter:(\S+)", commands)) == {__version__}
