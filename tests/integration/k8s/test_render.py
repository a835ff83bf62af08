"""Everything below k8s/ renders, and is what the API servers' own schemas allow."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support import kubernetes
from tests.support.kubernetes import COMPONENTS, EXPORTERS, KUSTOMIZATIONS
from tests.support.kubernetes_schemas import VERSIONS, all_problems, problems

can_render = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())


def test_every_source_is_a_legal_object() -> None:
    """Each document that is an object by itself is legal, rendered or not."""
    checked = [path for path, document in kubernetes.sources()]
    assert len(set(checked)) >= 8
    for version in VERSIONS:
        assert all_problems([each for _, each in kubernetes.sources()], version) == {}


@can_render
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_what_is_rendered_is_legal(name: str, version: str) -> None:
    """Every kustomization renders without a warning, and every object of it is legal, with no field
    that Kubernetes does not know."""
    objects = kubernetes.rendered(name)
    assert objects
    assert all_problems(objects, version) == {}


@can_render
@pytest.mark.parametrize("overlay", [name for name in EXPORTERS if name != "overlays/simulator"])
def test_every_component_goes_with_every_overlay(overlay: str, tmp_path: Path) -> None:
    """An overlay with a component, or with all of them, is legal and runs one container.

    A component that the overlay already has changes nothing."""
    already = yaml.safe_load((kubernetes.K8S / overlay / "kustomization.yaml").read_text())
    for components in [[name] for name in COMPONENTS] + [COMPONENTS]:
        objects = kubernetes.with_components(tmp_path, overlay, components)
        for version in VERSIONS:
            assert all_problems(objects, version) == {}
        mounts = {each["name"] for each in kubernetes.container(objects)["volumeMounts"]}
        assert mounts <= {each["name"] for each in kubernetes.pod(objects)["volumes"]}
        included = set(components) <= {
            each.removeprefix("../../") for each in already.get("components", ())
        }
        assert (objects == kubernetes.rendered(overlay)) == included


@can_render
@pytest.mark.parametrize("overlay", [name for name in EXPORTERS if name != "base"])
def test_nothing_is_left_out_of_the_namespace(overlay: str) -> None:
    """Every object is in the overlay's own namespace, which is made, too."""
    objects = kubernetes.rendered(overlay)
    (name,) = {each["metadata"]["namespace"] for each in objects if each["kind"] != "Namespace"}
    assert kubernetes.only(objects, "Namespace")["metadata"]["name"] == name


def test_a_wrong_field_is_found() -> None:
    """The schemas that all this relies on refuse a field that is not there."""
    wrong = {"readinesProbe": {}, "name": "a", "image": "b"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [wrong]},
    }
    assert all(problems(pod, version) for version in VERSIONS)
    pool = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "a"},
        "spec": {},
    }
    assert problems(pool, VERSIONS[0]) == ["$.spec: 'template' is a required property"]
