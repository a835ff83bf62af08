"""The files below k8s/, rendered as `kubectl apply -k` would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT

Object = dict[str, Any]

K8S = ROOT / "k8s"

CHECKOV = ROOT / ".checkov" / "bin" / "checkov"
"""Where `make checkov` puts it: an environment of its own, since it pins what others need newer."""

OLDEST_KUSTOMIZE = (5, 0)
"""kubectl 1.27 has 5.0. Before 5.0, components and patches behave in other ways."""


def _of_kind(kind: str) -> list[str]:
    return sorted(
        str(path.parent.relative_to(K8S))
        for path in K8S.rglob("kustomization.yaml")
        if yaml.safe_load(path.read_text())["kind"] == kind
    )


KUSTOMIZATIONS = _of_kind("Kustomization")
"""Folders below k8s/ that can be applied."""

EXPORTERS = [name for name in KUSTOMIZATIONS if name.startswith(("base", "overlays/"))]
"""Those that run the exporter."""

COMPONENTS = [name for name in _of_kind("Component") if name.startswith("components/")]
"""Folders of what can be added to those."""


@cache
def missing() -> str:
    """Why nothing can be rendered here; empty if it can."""
    if shutil.which("kubectl") is None:
        return "kubectl, which renders k8s/, is not installed"
    version = subprocess.run(
        ["kubectl", "version", "--client", "--output=json"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    found = json.loads(version.stdout).get("kustomizeVersion", "v0.0")
    if tuple(map(int, found.removeprefix("v").split(".")[:2])) < OLDEST_KUSTOMIZE:
        return f"kubectl's kustomize is {found}, and k8s/ needs 5.0 (kubectl 1.27)"
    return ""


def kustomize(folder: Path) -> str:
    """What `kubectl kustomize` makes of a folder."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"it warns: {done.stderr}"
    return done.stdout


@cache
def _rendered(name: str) -> str:
    return kustomize(K8S / name)


def rendered(name: str) -> list[Object]:
    """The objects of a folder below k8s/."""
    return list(yaml.safe_load_all(_rendered(name)))


def with_components(folder: Path, overlay: str, components: Sequence[str]) -> list[Object]:
    """The objects of an overlay of one's own, written into `folder`, that adds components."""
    document = {
        "resources": [os.path.relpath(K8S / overlay, folder)],
        "components": [os.path.relpath(K8S / name, folder) for name in components],
        "namespace": namespace(rendered(overlay)),
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return list(yaml.safe_load_all(kustomize(folder)))


def sources() -> Iterator[tuple[Path, Object]]:
    """Every document below k8s/ that is an object by itself: no patch, no kustomization."""
    for path in sorted(K8S.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if (
                isinstance(document, dict)
                and {"apiVersion", "kind", "metadata"} <= document.keys()
                and path not in _PATCHES
            ):
                yield path, document


def _patches() -> set[Path]:
    return {
        (path.parent / patch["path"]).resolve()
        for path in K8S.rglob("kustomization.yaml")
        for patch in yaml.safe_load(path.read_text()).get("patches", [])
        if "path" in patch
    }


_PATCHES = _patches()


def only(objects: Sequence[Object], *kinds: str) -> Object:
    """The one object of these kinds."""
    (found,) = (each for each in objects if each["kind"] in kinds)
    return found


def workload(objects: Sequence[Object]) -> Object:
    """What runs the exporter."""
    return only(objects, "DaemonSet", "Deployment")


def pod(objects: Sequence[Object]) -> Object:
    """The pod's specification."""
    spec: Object = workload(objects)["spec"]["template"]["spec"]
    return spec


def container(objects: Sequence[Object]) -> Object:
    """The exporter's container."""
    (found,) = pod(objects)["containers"]
    return dict(found)


def namespace(objects: Sequence[Object]) -> str:
    """Where the exporter runs."""
    return str(workload(objects)["metadata"]["namespace"])


def configuration(objects: Sequence[Object]) -> str:
    """The exporter's configuration, as the container finds it at the path that it is run with."""
    path = config_path(objects)
    (volume,) = (
        mount["name"]
        for mount in container(objects)["volumeMounts"]
        if mount["mountPath"] == str(path.parent)
    )
    (name,) = (
        each["configMap"]["name"] for each in pod(objects)["volumes"] if each["name"] == volume
    )
    found = only(objects, "ConfigMap")
    assert found["metadata"]["name"] == name
    assert found["metadata"]["namespace"] == namespace(objects)
    return str(found["data"][path.name])


def config_path(objects: Sequence[Object]) -> Path:
    """The path of the configuration that the container is run with."""
    arguments = container(objects)["args"]
    return Path(arguments[arguments.index("--config") + 1])
