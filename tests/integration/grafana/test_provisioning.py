"""Installation of the dashboards: provisioning, ConfigMaps, and compose."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_exporter.config import load
from tests.support import dashboards, kubernetes
from tests.support.paths import ROOT

GRAFANA = ROOT / "grafana"
COMPOSE = ROOT / "docker" / "compose.yaml"

MAX_ANNOTATIONS_SIZE = 262_144
"""Maximum bytes of an object's annotations, in which `kubectl apply` stores the object itself."""

can_render = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())


def read(path: Path) -> Any:
    """Read a YAML file."""
    return yaml.safe_load(path.read_text())


def services() -> dict[str, Any]:
    """Return the services of the compose file."""
    found: dict[str, Any] = read(COMPOSE)["services"]
    return found


@can_render
def test_kubernetes_config_maps(tmp_path: Path) -> None:
    """Each dashboard is in a ConfigMap that Grafana's sidecar finds and `kubectl apply` accepts."""
    objects = kubernetes.with_components(
        tmp_path, "overlays/eks", ["components/grafana-dashboards"]
    )
    labelled = [
        each
        for each in objects
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    mapped = {name: text for each in labelled for name, text in each["data"].items()}
    assert mapped == {path.name: path.read_text() for path in dashboards.FOLDER.glob("*.json")}
    for each in labelled:
        assert each["kind"] == "ConfigMap"
        assert each["metadata"]["namespace"] == kubernetes.namespace(objects)
        assert len(json.dumps(each)) < MAX_ANNOTATIONS_SIZE


def test_provisioned_data_sources() -> None:
    """Each kind of data source exists once; Prometheus' has the right scrape interval."""
    sources = read(GRAFANA / "provisioning" / "datasources" / "neuron.yaml")["datasources"]
    kinds = [each["type"] for each in sources]
    documents = map(dashboards.load, dashboards.FOLDER.glob("*.json"))
    assert sorted(kinds) == sorted(set(map(dashboards.datasource_kind, documents)))
    (prometheus,) = (each for each in sources if each["type"] == "prometheus")
    scraped = read(ROOT / "docker" / "compose" / "prometheus.yaml")["global"]["scrape_interval"]
    assert prometheus["jsonData"]["timeInterval"] == scraped


def test_compose_mounts_existing_files() -> None:
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


def test_compose_sets_the_variables_of_provisioning() -> None:
    text = (GRAFANA / "provisioning" / "datasources" / "neuron.yaml").read_text()
    environment = services()["grafana"]["environment"]
    names = re.findall(r"\$(\w+)", text)
    assert names
    for name in names:
        url = re.fullmatch(r"http://(\w+):(\d+)", environment[name])
        assert url is None or url[1] in services()


def test_compose_exporter() -> None:
    """The image has no AWS tools, its configuration is valid, and Prometheus scrapes it."""
    exporter = services()["exporter"]
    assert exporter["build"]["args"] == {"NEURON_TOOLS": "none"}
    assert (COMPOSE.parent / exporter["build"]["context"]).resolve() == ROOT
    assert (ROOT / exporter["build"]["dockerfile"]).exists()
    config = load(str(COMPOSE.parent / "compose" / "exporter.yaml"), {}).config
    assert config.cloudwatch.endpoint_url == "http://cloudwatch:5000"
    (job,) = read(COMPOSE.parent / "compose" / "prometheus.yaml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["exporter:9415"]}]


def test_compose_publishes_ports_on_loopback_only() -> None:
    for service in services().values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        tag = service["image"].partition(":")[2]
        assert tag, "an image without a version"
        assert tag != "latest"


def test_compose_cloudwatch_has_the_exporters_protocol() -> None:
    """The exporter's botocore sends JSON to CloudWatch. The first moto that reads it is 5.1.12
    (getmoto/moto#9253); tests run with at least that version, too."""
    server, _, tag = services()["cloudwatch"]["image"].partition(":")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (needed,) = re.findall(r"moto\[.*\]>=(.*)", "\n".join(project["optional-dependencies"]["dev"]))
    versions = [tag, needed, importlib.metadata.version("moto")]
    assert server == "motoserver/moto"
    for version in versions:
        assert tuple(map(int, version.split("."))) >= (5, 1, 12), versions


@pytest.mark.usefixtures("needs_prometheus")
def test_prometheus_configuration_is_valid() -> None:
    subprocess.run(
        ["promtool", "check", "config", str(COMPOSE.parent / "compose" / "prometheus.yaml")],
        check=True,
        capture_output=True,
    )


def compose_command() -> list[str] | None:
    """Return the command of Docker's compose plugin or docker-compose, if one is installed."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    return None


def test_compose_file_is_valid() -> None:
    command = compose_command()
    if command is None:
        pytest.skip("neither docker's compose plugin nor docker-compose is installed")
    subprocess.run(
        [*command, "-f", str(COMPOSE), "config", "--quiet"], check=True, capture_output=True
    )
