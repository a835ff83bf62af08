"""The unit file under a real systemd, with all of its restrictions."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.children import script
from tests.support.exporter import EXPORTER, clean_environment, simulated
from tests.support.fleet import CREDENTIALS
from tests.support.paths import ROOT
from tests.support.systemd import CONFIG, PROGRAM, UNIT, Service, service
from tests.support.waiting import wait_for

FOLDER = "/etc/systemd/system"
LOG = "/run/exporter.log"

CAP_IPC_LOCK = 1 << 14

MORE = f"""
[Service]
StandardError=append:{LOG}
BindReadOnlyPaths={ROOT}
"""
"""The log, without a journal; the program, which may be below the /tmp that PrivateTmp replaces."""

CLOUDWATCH = {"enabled": True, "region": "eu-west-1", "flush_interval": "1s"}


class Exporter:
    """The exporter as a service."""

    def __init__(self, systemd: Service, config: Path) -> None:
        self.systemd = systemd
        self.config = config

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log events of this name so far, of all starts."""
        lines = self.systemd.path(LOG).read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if event["event"] == name]

    def get(self, path: str) -> str:
        """Return the body of a response."""
        url = wait_for(lambda: self.events("started"))[-1]["url"] + path
        with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 (loopback)
            return str(response.read().decode())

    def wait_for_state(self, state: str) -> None:
        """Wait until systemd says that the service is in this state."""
        wait_for(lambda: self.systemd.show("ActiveState") == state)


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """Run the unit file with a simulated machine and an endpoint that refuses connections."""
    script(tmp_path / "program", f'exec {" ".join(EXPORTER)} "$@"')
    config = tmp_path / "exporter.yaml"
    document = {
        "source": simulated(),
        "prometheus": {"listen": "127.0.0.1:0"},
        "cloudwatch": {**CLOUDWATCH, "endpoint_url": "http://127.0.0.1:1"},
        "log": {"format": "json"},
    }
    config.write_text(yaml.safe_dump(document))
    text = UNIT.read_text()
    for written, file in ((PROGRAM, "program"), (CONFIG, "exporter.yaml")):
        assert written in text
        text = text.replace(written, f"{FOLDER}/{file}")
    (tmp_path / UNIT.name).write_text(text)
    kept = {"AWS_EC2_METADATA_DISABLED": clean_environment()["AWS_EC2_METADATA_DISABLED"]}
    settings = "".join(
        f"Environment={name}={value}\n" for name, value in (CREDENTIALS | kept).items()
    )
    with service(tmp_path, UNIT.name, more=MORE + settings) as systemd:
        yield Exporter(systemd, config)


def test_service_works_with_its_restrictions(exporter: Exporter) -> None:
    """The exporter starts its child, serves and spools, without capabilities and without access to
    the rest of the file system."""
    exporter.wait_for_state("active")
    wait_for(lambda: "\nneuron_exporter_up 1.0" in exporter.get("/metrics"))
    status = Path(f"/proc/{exporter.systemd.pid}/status").read_text()
    assert int(status.partition("CapBnd:")[2].split()[0], 16) == CAP_IPC_LOCK
    assert "NoNewPrivs:\t1" in status
    wait_for(exporter.systemd.path("/var/lib/neuron-exporter/spool.db").exists)
    assert not os.access(f"/proc/{exporter.systemd.pid}/root/usr", os.W_OK)


def test_restart_and_reload(exporter: Exporter) -> None:
    """A killed exporter starts again. A reload reaches it. After an invalid configuration it stays
    ended, as a failure."""
    exporter.wait_for_state("active")
    os.kill(exporter.systemd.pid, signal.SIGKILL)
    wait_for(lambda: exporter.systemd.show("NRestarts") == "1")
    exporter.wait_for_state("active")

    document = yaml.safe_load(exporter.config.read_text())
    document["log"]["level"] = "debug"
    exporter.config.write_text(yaml.safe_dump(document))
    exporter.systemd.systemctl("reload")
    wait_for(lambda: exporter.events("config_reloaded"))

    exporter.config.write_text("no_such_key: 1\n")
    exporter.systemd.systemctl("restart")
    exporter.wait_for_state("failed")
    assert exporter.systemd.show("Result") == "exit-code"
    assert exporter.systemd.show("ExecMainStatus") == "2"
    assert exporter.systemd.show("NRestarts") == "0"
