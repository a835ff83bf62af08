"""What brings the dashboards into a Grafana: provisioning, ConfigMaps, and compose."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_exporter.config import load
from tests.support import dashboards, kubernetes
from tests.support.paths import ROOT

GRAFANA = ROOT / "grafana"
COMPOSE = ROOT / "docker" / "compose.yaml"

MOST_OF_ANNOTATIONS = 262_144
"""Bytes of all annotations of an object, where `kubectl apply` keeps the object as it was."""

can_render = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())


def read(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text())


def services() -> dict[str, Any]:
    """The services of compose."""
    found: dict[str, Any] = read(COMPOSE)["services"]
    return found


@can_render
def test_kubernetes_gets_every_dashboard(tmp_path: Path) -> None:
    """Each is a ConfigMap with the sidecar's label, as it is, and small enough to be applied."""
    objects = kubernetes.with_components(
        tmp_path, "overlays/eks", ["components/grafana-dashboards"]
    )
    labelled = [
        each
        for each in objects
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    shown = {name: text for each in labelled for name, text in each["data"].items()}
    assert shown == {path.name: path.read_text() for path in dashboards.FOLDER.glob("*.json")}
    for each in labelled:
        assert each["kind"] == "ConfigMap"
        assert each["metadata"]["namespace"] == kubernetes.namespace(objects)
        assert len(json.dumps(each)) < MOST_OF_ANNOTATIONS


def test_provisioning_has_the_data_sources_that_dashboards_ask() -> None:
    """Each kind of data source is there once, and Prometheus' knows how often it scrapes."""
    sources = read(GRAFANA / "provisioning" / "datasources" / "neuron.yaml")["datasources"]
    kinds = [each["type"] for each in sources]
    assert sorted(kinds) == sorted({
        dashboards.source(dashboards.load(path)) for path in dashboards.FOLDER.glob("*.json")
    })  # fmt: skip
    (prometheus,) = (each for each in sources if each["type"] == "prometheus")
    scraped = read(ROOT / "docker" / "compose" / "prometheus.yaml")["global"]["scrape_interval"]
    assert prometheus["jsonData"]["timeInterval"] == scraped


def test_compose_mounts_what_there_is() -> None:
    """Files that are mounted exist; Grafana finds the dashboards where provisioning says."""
    mounted = {}
    for service in services().values():
        for volume in service.get("volumes", []):
            outside, inside, *_ = volume.split(":")
            if outside.startswith("."):
                mounted[inside] = (COMPOSE.parent / outside).resolve()
    assert [path for path in mounted.values() if not path.exists()] == []
    (provider,) = read(GRAFANA / "provisioning" / "dashboards" / "neuron.yaml")["providers"]
    assert mounted[provider["options"]["path"]] == dashboards.FOLDER
    assert mounted["/etc/grafana/provisioning"] == GRAFANA / "provisioning"
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (dashboards.FOLDER / Path(home).name).exists()


def test_compose_gives_grafana_what_provisioning_asks_for() -> None:
    """Each variable of the environment that provisioning names is set, to a service that is
    there."""
    text = (GRAFANA / "provisioning" / "datasources" / "neuron.yaml").read_text()
    given = services()["grafana"]["environment"]
    names = re.findall(r"\$(\w+)", text)
    assert names
    for name in names:
        url = re.fullmatch(r"http://(\w+):(\d+)", given[name])
        assert url is None or url[1] in services()


def test_compose_runs_the_exporter_on_the_simulator() -> None:
    """The image has no tools of AWS's, its configuration is legal, and sends to the service that
    stands for CloudWatch; Prometheus scrapes it."""
    exporter = services()["exporter"]
    assert exporter["build"]["args"] == {"NEURON_TOOLS": "none"}
    assert (COMPOSE.parent / exporter["build"]["context"]).resolve() == ROOT
    assert (ROOT / exporter["build"]["dockerfile"]).exists()
    config = load(str(COMPOSE.parent / "compose" / "exporter.yaml"), {}).config
    assert config.cloudwatch.endpoint_url == "http://cloudwatch:5000"
    (job,) = read(COMPOSE.parent / "compose" / "prometheus.yaml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["exporter:9415"]}]


def test_compose_opens_ports_to_this_machine_only() -> None:
    """Nobody else reaches a Grafana without a password."""
    for service in services().values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        tag = service["image"].partition(":")[2]
        assert tag, "an image without a version"
        assert tag != "latest"


@pytest.mark.usefixtures("needs_prometheus")
def test_prometheus_takes_its_configuration() -> None:
    """promtool finds nothing wrong with it."""
    subprocess.run(
        ["promtool", "check", "config", str(COMPOSE.parent / "compose" / "prometheus.yaml")],
        check=True,
        capture_output=True,
    )


def composer() -> list[str] | None:
    """A client that reads compose files, as a command: Docker's plugin, or the older program."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    return None


def test_docker_takes_the_compose_file() -> None:
    """`docker compose config` finds nothing wrong, where a client has that command."""
    command = composer()
    if command is None:
        pytest.skip("neither docker's compose plugin nor docker-compose is installed")
    subprocess.run(
        [*command, "-f", str(COMPOSE), "config", "--quiet"], check=True, capture_output=True
    )
