"""A planted spool file costs neither a delivery nor the machine, and nothing in it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint import Endpoint, cloudwatch_endpoint
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.fleet import CREDENTIALS
from tests.support.planted_spools import (
    ATTACKS,
    NAMESPACE,
    PLANTED,
    REGION,
    make_old,
    write_spool,
)
from tests.support.waiting import wait_for

MAX_MEMORY = 200 * 2**20
"""Bytes; the exporter has some 90 MiB at most, a payload of `bomb` 256 MiB."""

MAX_DISK = 32 * 2**20
"""Bytes of all spool files together."""

LEFT = "Left"
"""Name of the metric in the request of an ended task of the same configuration."""


def config(folder: Path, url: str) -> dict[str, Any]:
    """Return a configuration whose spools share a directory."""
    return {
        "source": simulated(),
        "cloudwatch": {
            "enabled": True,
            "endpoint_url": url,
            "namespace": NAMESPACE,
            "region": REGION,
            "flush_interval": "1s",
            "spool": {"path": str(folder / "{pod_uid}.db")},
        },
    }


@contextmanager
def exporter_of_pod(tmp_path: Path, folder: Path) -> Iterator[tuple[RunningExporter, Endpoint]]:
    """Run the exporter of the pod `mine`, which sends to the endpoint."""
    environment = {**CREDENTIALS, "POD_UID": "mine"}
    with (
        cloudwatch_endpoint() as endpoint,
        running_exporter(
            tmp_path, config(folder, endpoint.url), environment=environment
        ) as exporter,
    ):
        yield exporter, endpoint


def check_delivery(exporter: RunningExporter, endpoint: Endpoint, folder: Path) -> None:
    """Check that new and left requests are delivered, from disk, and no others."""
    wait_for(lambda: endpoint.datums(LEFT))
    seen = len(endpoint.datums("NeuronCoreUtilization"))
    wait_for(lambda: len(endpoint.datums("NeuronCoreUtilization")) > seen + 1)
    assert endpoint.datums(PLANTED) == []
    assert {request["Namespace"] for request in endpoint.requests} == {NAMESPACE}
    assert [each for each in endpoint.headers if f"/{REGION}/" not in each["Authorization"]] == []
    assert exporter.get("/healthz")[0] == 200
    assert exporter.value("neuron_exporter_sink_up") == 1
    assert exporter.value("neuron_exporter_spool_on_disk") == 1
    status = Path(f"/proc/{exporter.process.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) * 1024 < MAX_MEMORY
    assert sum(each.lstat().st_size for each in folder.rglob("*")) < MAX_DISK


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the directory of the spools, with the file of an ended task."""
    folder = tmp_path / "spools"
    folder.mkdir()
    write_spool(folder / "left.db", LEFT)
    make_old(folder / "left.db", 3_600)
    return folder


def test_planted_files_of_other_pods(tmp_path: Path, folder: Path) -> None:
    """They stay as they are, and each is named once."""
    for name, plant in ATTACKS.items():
        plant(folder / f"{name}.db")
        for each in folder.glob(f"{name}.db*"):
            make_old(each)
    with exporter_of_pod(tmp_path, folder) as (exporter, endpoint):
        check_delivery(exporter, endpoint, folder)
        exporter.wait_for_value("neuron_exporter_spool_other_requests", 2)
        exporter.wait_for_value("neuron_exporter_sink_dropped_requests_total", 1, reason="corrupt")
        check_delivery(exporter, endpoint, folder)
        left = [Path(event["path"]).stem for event in exporter.events("spool_orphan_kept")]
        assert sorted(left) == ["namespace", "region"]
        skipped = exporter.events("spool_orphan_skipped")
        assert {event["reason"] for event in skipped} == {"foreign"}
        names = [event["message"].partition(".db")[0].rpartition("/")[2] for event in skipped]
        assert sorted(names) == ["log", "owned", "trigger", "view", "writable"]
    remaining = {each.stem for each in folder.glob("*.db")}
    assert remaining == {*ATTACKS, "mine"} - {"bomb"}
    assert (folder / "target").read_text() == "unchanged"


@pytest.mark.parametrize("attack", ATTACKS)
def test_planted_file_in_place_of_the_own_one(tmp_path: Path, folder: Path, attack: str) -> None:
    ATTACKS[attack](folder / "mine.db")
    with exporter_of_pod(tmp_path, folder) as (exporter, endpoint):
        check_delivery(exporter, endpoint, folder)
        others = exporter.value("neuron_exporter_spool_other_requests")
        assert others == (attack in ("namespace", "region"))
        quarantined = len(exporter.events("spool_quarantined"))
        assert quarantined == (attack not in ("namespace", "region", "bomb"))
    assert not (folder / "mine.db").is_symlink()
    assert (folder / "mine.db").stat().st_mode & 0o777 == 0o600
    for target in folder.glob("target"):
        assert target.read_text() == "unchanged"
