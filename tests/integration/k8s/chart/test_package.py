"""The chart passes Helm's checks, and its package is complete."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import yaml

from neuron_exporter import __version__
from tests.support.helm import CHART, HELM, IMAGE, all_rendered, helm
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("needs_helm")

EVERYTHING = {
    "config": {"cloudwatch": {"enabled": True}},
    "dashboards": {"enabled": True},
    "monitor": {"kind": "ServiceMonitor"},
    "networkPolicy": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "tools": "host",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The packaged chart."""
    done = helm("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / f"neuron-exporter-{__version__}.tgz"


@pytest.mark.parametrize("simulator", ["true", "false"])
def test_lint(simulator: str) -> None:
    done = helm(
        *("lint", "--strict", CHART, "--set", f"image.repository={IMAGE['repository']}"),
        *("--set", f"simulator.enabled={simulator}"),
    )
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout + done.stderr


def test_versions() -> None:
    """Chart and exporter have one version; the Makefile installs the Helm of these tests."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    (helm_version,) = (
        line.rpartition(" ")[2]
        for line in (ROOT / "Makefile").read_text().splitlines()
        if line.startswith("HELM_VERSION")
    )
    assert f"v{helm_version}" in helm("version").stdout
    assert HELM.exists()


def test_package_renders_as_the_folder(package: Path) -> None:
    assert all_rendered(EVERYTHING, package) == all_rendered(EVERYTHING)


def test_package_has_files_only(package: Path) -> None:
    """The package has the linked files in place of the links, nothing of kustomize's own, and is
    small: Helm stores it in a Secret, which may have 1 MiB in base64."""
    with tarfile.open(package) as archive:
        members = archive.getmembers()
    assert all(each.isfile() for each in members)
    paths = {each.name.removeprefix("neuron-exporter/") for each in members}
    assert not [path for path in paths if path.endswith("kustomization.yaml")]
    dashboards = {
        f"files/dashboards/{path.name}" for path in (ROOT / "grafana/dashboards").iterdir()
    }
    assert dashboards <= paths
    assert {"values.schema.json", "templates/NOTES.txt", "files/base/daemonset.yaml"} <= paths
    assert package.stat().st_size < 300_000


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((), "helm test mine --namespace monitoring --logs"),
        ((), "daemonset/neuron-exporter 9415:metrics"),
        ((), "Prometheus does not scrape it yet"),
        (("monitor.kind=PodMonitor",), "if your Prometheus selects this PodMonitor"),
        (("config.cloudwatch.enabled=true",), "--service-account neuron-exporter --role-arn ROLE"),
        (("simulator.enabled=true",), "its numbers are not measured"),
    ],
)
def test_notes(values: tuple[str, ...], said: str) -> None:
    """After an installation, Helm prints what to do next, with names of this release."""
    flags = [f"--set={each}" for each in (f"image.repository={IMAGE['repository']}", *values)]
    done = helm("install", "mine", CHART, "--namespace=monitoring", "--dry-run=client", *flags)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout.partition("NOTES:")[2]
