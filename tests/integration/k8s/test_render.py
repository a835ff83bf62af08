"""Everything below k8s/ renders, and is what the API servers' own schemas allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.support import kubernetes
from tests.support.kubernetes import COMPONENTS, EXPORTERS, KUSTOMIZATIONS, Object

VERSIONS = ("1.34.0", "1.37.0")
"""The newest of Kubernetes whose schemas are at hand, and one that is a year older."""

CUSTOM = {
    schema["properties"]["kind"]["const"]: schema
    for path in sorted((Path(kubernetes.__file__).parent / "crds").glob("*.yaml"))
    for schema in [yaml.safe_load(path.read_text())]
}
"""Our own schemas of the resources that operators add, by kind."""

can_render = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())


def problems(document: Object, version: str) -> list[str]:
    """What is wrong with an object."""
    if document["kind"] in CUSTOM:
        schema: dict[str, Any] = CUSTOM[document["kind"]]
        return [
            f"{error.json_path}: {error.message}"
            for error in Draft202012Validator(schema).iter_errors(document)
        ]
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return [str(error)]
    return []


def all_problems(objects: list[Object], version: str) -> dict[str, list[str]]:
    """What is wrong with each object of which something is."""
    found = {
        f"{each['kind']} {each['metadata']['name']}": problems(each, version) for each in objects
    }
    return {name: wrong for name, wrong in found.items() if wrong}


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
