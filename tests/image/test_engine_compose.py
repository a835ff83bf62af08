"""The exporter's service of docker/compose.yaml, started by docker-compose on a real engine."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import missing
from tests.support.docker_engine import IMAGE, Engine, EngineContainer
from tests.support.paths import ROOT
from tests.support.validating_endpoint import validating_endpoint
from tests.support.waiting import wait_for

pytestmark = pytest.mark.image

COMPOSE = ROOT / "docker" / "compose.yaml"
GATEWAY = "{{(index .IPAM.Config 0).Gateway}}"
SERVER = "cloudwatch:5000"


def written_for_this_machine(folder: Path, network: str, gateway: str, port: int) -> Path:
    """Write the compose file with the exporter alone, and return its path.

    The image is not built, because its base needs a registry; the published port is a free one;
    moto, whose image needs a registry, runs on this machine; and requests are sent more often.
    """
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    exporter = document["services"]["exporter"]
    del exporter["build"]
    (published,) = exporter["ports"]
    assert published == "127.0.0.1:9415:9415"
    exporter["ports"] = ["127.0.0.1::9415"]
    (server,) = exporter.pop("depends_on")
    exporter["extra_hosts"] = [f"{server}:{gateway}"]
    exporter["environment"]["NEURON_EXPORTER__CLOUDWATCH__FLUSH_INTERVAL"] = "5s"
    document["services"] = {"exporter": exporter}
    document["networks"] = {"default": {"external": True, "name": network}}
    mounted = COMPOSE.parent / "compose" / "exporter.yaml"
    (folder / "compose").mkdir()
    configuration = mounted.read_text()
    assert SERVER in configuration
    (folder / "compose" / mounted.name).write_text(
        configuration.replace(SERVER, f"cloudwatch:{port}")
    )
    path = folder / COMPOSE.name
    path.write_text(yaml.safe_dump(document))
    return path


def test_exporter_service(engine: Engine, network: str, moto: str, tmp_path: Path) -> None:
    """docker-compose starts the exporter with a read-only root and no capabilities; it publishes to
    moto and to the port, and stops with 0."""
    if shutil.which("docker-compose") is None:
        missing("docker-compose is not installed (Debian: docker-compose)")
    gateway = engine.output("network", "inspect", f"--format={GATEWAY}", network)
    with validating_endpoint(moto, host=gateway) as front:
        port = int(front.url.rpartition(":")[2])
        path = written_for_this_machine(tmp_path, network, gateway, port)
        (name,) = yaml.safe_load(path.read_text())["services"]
        image = yaml.safe_load(path.read_text())["services"][name]["image"]
        engine.output("tag", IMAGE, image)

        def compose(*arguments: str) -> str:
            command = ["docker-compose", f"--file={path}", "--project-name=exporter", *arguments]
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=engine.environment,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        try:
            compose("up", "--detach", "--no-build")
            container = compose("ps", "--quiet", name)
            address = compose("port", name, "9415")
            with closing(EngineContainer(engine, container)) as exporter:
                settings = exporter.inspect()["HostConfig"]
                assert settings["ReadonlyRootfs"]
                assert settings["CapDrop"] == ["ALL"]
                exporter.reached_at = f"http://{address}"
                exporter.wait_for_value("neuron_exporter_up", 1)
                exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
                wait_for(lambda: front.datums("NeuronCoreUtilization"), every=0.2)
                assert front.rejected == []
                compose("stop")
                assert exporter.wait() == 0
        finally:
            compose("down", "--volumes")
