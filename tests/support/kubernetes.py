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
"""Path to which `make checkov` installs it, in an environment of its own: it pins old libraries."""

OLDEST_KUSTOMIZE = (5, 0)
"""The version in kubectl 1.27. Older ones handle components and patches differently."""


def _of_kind(kind: str) -> list[str]:
    return sorted(
        str(path.parent.relative_to(K8S))
        for path in K8S.rglob("kustomization.yaml")
        if yaml.safe_load(path.read_text())["kind"] == kind
    )


KUSTOMIZATIONS = _of_kind("Kustomization")
"""Folders below k8s/ that `kubectl apply -k` accepts."""

EXPORTERS = [name for name in KUSTOMIZATIONS if name.startswith(("base", "overlays/"))]
"""The kustomizations that run the exporter."""

COMPONENTS = [name for name in _of_kind("Component") if name.startswith("components/")]
"""Folders of the components that can be added to them."""


@cache
def missing() -> str:
    """Return the reason why this machine cannot render manifests; empty if it can."""
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
    """Return the output of `kubectl kustomize` for a folder."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return done.stdout


@cache
def _rendered(name: str) -> str:
    return kustomize(K8S / name)


def rendered(name: str) -> list[Object]:
    """Return the objects of a folder below k8s/."""
    return list(yaml.safe_load_all(_rendered(name)))


def with_components(folder: Path, overlay: str, components: Sequence[str]) -> list[Object]:
    """Write an overlay with these components into `folder`, and return its objects."""
    document = {
        "resources": [os.path.relpath(K8S / overlay, folder)],
        "components": [os.path.relpath(K8S / name, folder) for name in components],
        "namespace": namespace(rendered(overlay)) or "monitoring",
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return list(yaml.safe_load_all(kustomize(folder)))


def sources() -> Iterator[tuple[Path, Object]]:
    """Yield every document below k8s/ that is an object, without patches, kustomizations and the
    chart's templates."""
    for path in sorted(set(K8S.rglob("*.yaml")) - set((K8S / "chart").rglob("*.yaml"))):
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
    """Return the only object of these kinds."""
    (found,) = (each for each in objects if each["kind"] in kinds)
    return found


def workload(objects: Sequence[Object]) -> Object:
    """Return the DaemonSet or Deployment of the exporter."""
    return only(objects, "DaemonSet", "Deployment")


def pods(objects: Sequence[Object]) -> list[Object]:
    """Return the specifications of the pods of all workloads."""
    return [
        each["spec"]["template"]["spec"] for each in objects if "template" in each.get("spec", {})
    ]


def pod(objects: Sequence[Object]) -> Object:
    """Return the specification of the exporter's pod."""
    (spec,) = pods([workload(objects)])
    return spec


def container(objects: Sequence[Object]) -> Object:
    """Return the exporter's container."""
    (found,) = pod(objects)["containers"]
    return dict(found)


def namespace(objects: Sequence[Object]) -> str:
    """Return the namespace of the exporter, or "" if an overlay must set it."""
    return str(workload(objects)["metadata"].get("namespace", ""))


def configuration(objects: Sequence[Object]) -> str:
    """Return the configuration that the container finds at the path of its `--config` flag."""
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
    assert found["metadata"].get("namespace", "") == namespace(objects)
    return str(found["data"][path.name])


def config_path(objects: Sequence[Object]) -> Path:
    """Return the path in the container's `--config` flag."""
    arguments = container(objects)["args"]
    return Path(arguments[arguments.index("--config") + 1])
