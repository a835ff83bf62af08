"""The chart in k8s/chart, rendered by Helm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.kubernetes import K8S, Object
from tests.support.paths import ROOT

CHART = K8S / "chart"

HELM = ROOT / ".helm" / "helm" / "helm"
"""Path to which `make helm` installs it."""

IMAGE = {"repository": "registry.example.com/neuron-exporter"}
"""The only value that has no default: the image of k8s/image."""

NAMESPACE = "neuron-exporter"

SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text())
"""What the values may be."""

Values = Mapping[str, Any]


def helm(*arguments: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm, which reports the links of the chart on standard error."""
    return subprocess.run(
        [HELM, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def template(
    values: Values | None = None, *, chart: Path = CHART, namespace: str = NAMESPACE
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with these values beside the image's name."""
    return subprocess.run(
        [HELM, "template", "exporter", chart, f"--namespace={namespace}", "--values=-"],
        input=json.dumps({"image": IMAGE, **(values or {})}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def rendered(
    values: Values | None = None, *, chart: Path = CHART, namespace: str = NAMESPACE
) -> list[Object]:
    """Return the objects of a release, without those of its tests."""
    return [each for each in all_rendered(values, chart, namespace) if not is_test(each)]


def pod_of_test(values: Values | None = None) -> Object:
    """Return the pod that `helm test` runs."""
    (found,) = (each for each in all_rendered(values) if is_test(each))
    return found


def all_rendered(
    values: Values | None = None, chart: Path = CHART, namespace: str = NAMESPACE
) -> list[Object]:
    """Return the objects of a release and of its tests."""
    done = template(values, chart=chart, namespace=namespace)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def is_test(document: Object) -> bool:
    """Return whether `helm test` creates an object, rather than `helm install`."""
    return document["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"


def problem(values: Values) -> str:
    """Return why Helm rejects values, without what it says of the chart's links."""
    done = template(values)
    assert done.returncode != 0, "Helm accepts the values"
    return "\n".join(line for line in done.stderr.splitlines() if "symbolic link" not in line)


def defaults() -> Object:
    """Return the chart's default values."""
    return dict(yaml.safe_load((CHART / "values.yaml").read_text()))
