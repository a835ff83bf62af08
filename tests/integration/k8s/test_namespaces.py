"""Namespaces of the manifests: who creates them, and the pods that their level admits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.support import kubernetes
from tests.support.documents import block
from tests.support.kubernetes import EXPORTERS, K8S, KUSTOMIZATIONS, rendered
from tests.support.pod_security import baseline_violations, strictest_level

pytestmark = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())

OVERLAYS = [name for name in EXPORTERS if name != "base"]
WITH_PODS = [*OVERLAYS, "workloads"]


@pytest.mark.parametrize("name", WITH_PODS)
def test_namespace_admits_its_pods(name: str) -> None:
    """The level that the namespace enforces is the strictest that admits every pod, whatever the
    cluster's default is."""
    objects = rendered(name)
    labels = kubernetes.only(objects, "Namespace")["metadata"]["labels"]
    levels = {strictest_level(pod) for pod in kubernetes.pods(objects)}
    order = ("privileged", "baseline", "restricted")
    assert labels["pod-security.kubernetes.io/enforce"] == min(levels, key=order.index)


def test_workloads_exceed_baseline_by_one_capability() -> None:
    """The comment in the namespace is right: without IPC_LOCK, `baseline` admits the pods."""
    for pod in kubernetes.pods(rendered("workloads")):
        assert [each.partition(": ")[2] for each in baseline_violations(pod)] == ["IPC_LOCK"]


@pytest.mark.parametrize("name", [each for each in KUSTOMIZATIONS if each not in WITH_PODS])
def test_only_overlays_create_namespaces(name: str) -> None:
    kinds = [each["kind"] for each in rendered(name)]
    assert ("Namespace" in kinds) == (name == "namespace")


def test_base_in_an_existing_namespace(tmp_path: Path) -> None:
    """The example for an existing namespace puts everything into it, with the user's configuration,
    and neither changes the namespace nor deletes it with `kubectl delete -k`."""
    text = block("k8s/README.md", "yaml", "k8s/base]")
    (tmp_path / "k8s").symlink_to(os.path.relpath(K8S, tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(text)
    (tmp_path / "mine" / "exporter.yaml").write_text("log: {level: debug}\n")
    objects = list(yaml.safe_load_all(kubernetes.kustomize(tmp_path / "mine")))
    assert "Namespace" not in {each["kind"] for each in objects}
    wanted = yaml.safe_load(text)["namespace"]
    assert {each["metadata"]["namespace"] for each in objects} == {wanted}
    assert kubernetes.configuration(objects) == "log: {level: debug}\n"
