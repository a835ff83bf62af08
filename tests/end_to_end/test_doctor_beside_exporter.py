"""The doctor with other variables or permissions than the exporter that runs beside it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.doctor import (
    CREDENTIALS,
    NAMESPACES,
    WITH_FEW_RIGHTS,
    DoctorResult,
    beside,
    doctor,
    free_address,
    write,
)
from tests.support.exporter import running_exporter, simulated
from tests.support.validating_endpoint import validating_endpoint


def test_beside_an_exporter_that_simulates(tmp_path: Path, moto: str) -> None:
    """The identity of the simulated machine, and the region of an environment that the doctor does
    not have, are those that the exporter knows."""
    with validating_endpoint(moto) as front:
        config = {
            "source": {"kind": "simulator", "period": "1s"},
            "cloudwatch": {"enabled": True, "endpoint_url": front.url, "flush_interval": "1s"},
        }
        sts = {**CREDENTIALS, "AWS_ENDPOINT_URL_STS": moto}
        with beside(tmp_path, config, **sts, AWS_REGION="eu-west-1") as exporter:
            exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
            result = doctor("--config", str(tmp_path / "exporter.yaml"), **sts)
    problems = [each for each in result.findings if each.verdict == "failed"]
    assert problems == []
    assert result.status == 0
    seen = [each.seen for each in result.about("cloudwatch", "ok")]
    assert "complete dimension sets: InstanceId, InstanceType" in seen


def test_environment_without_the_credentials_of_the_exporter(tmp_path: Path, moto: str) -> None:
    """What only the doctor lacks is a warning; with --send it is a failure."""
    with validating_endpoint(moto) as front:
        config = {
            "source": {"kind": "simulator", "period": "1s"},
            "cloudwatch": {
                "enabled": True,
                "endpoint_url": front.url,
                "region": "us-west-2",
                "flush_interval": "1s",
            },
        }
        files = {name: path for name, path in CREDENTIALS.items() if name.endswith("_FILE")}
        flags = ("--config", str(tmp_path / "exporter.yaml"))
        with beside(tmp_path, config, **CREDENTIALS) as exporter:
            exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
            result = doctor(*flags, **files)
            assert result.status == 0
            (warned,) = result.about("cloudwatch", "warning")
            assert warned.seen.startswith("no credentials: ")
            assert warned.seen.endswith("the running exporter delivers, so its environment differs")
            assert "run the doctor in the environment of the exporter" in warned.fix
            assert doctor(*flags, "--send", **files).status == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to another user")
def test_folder_of_another_user(tmp_path: Path) -> None:
    """The spool's folder and the shared credentials are named; beside an exporter that can use the
    spool, it is no failure."""
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    credentials = tmp_path / "credentials"
    credentials.touch(0o000)
    config = {
        "source": {"kind": "simulator", "period": "1s"},
        "cloudwatch": {
            "enabled": True,
            "endpoint_url": "http://127.0.0.1:1",
            "region": "us-west-2",
            "flush_interval": "1s",
            "spool": {"path": str(folder / "spool.db")},
        },
    }
    environment = {**CREDENTIALS, "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}

    def result() -> DoctorResult:
        flags = ("--config", str(tmp_path / "exporter.yaml"))
        return doctor(*flags, within=WITH_FEW_RIGHTS, **environment)

    with beside(tmp_path, config, **environment) as exporter:
        exporter.wait_for_value("neuron_exporter_spool_on_disk", 1)
        os.chown(folder, 12345, 12345)
        (spool,) = result().about("spool")
        assert spool.verdict == "skipped"
        assert spool.seen == (
            f"{folder} cannot be written: Permission denied (user 0); the running exporter, as "
            "another user, can use it"
        )
    alone = result()
    (spool,) = alone.about("spool")
    assert spool.verdict == "failed"
    assert spool.seen == f"{folder} cannot be written: Permission denied (user 0)"
    assert "run the doctor as that user" in spool.fix
    warned = [each.seen for each in alone.about("cloudwatch", "warning")]
    assert f"{credentials} cannot be read (user 0)" in warned


def test_unreadable_kubelet_folder(tmp_path: Path) -> None:
    """The exporter runs without the kubelet, and the doctor names the folder."""
    hidden = (
        "mount -t tmpfs none /var/lib && mkdir -p -m 700 /var/lib/kubelet "
        '&& chown 12345 /var/lib/kubelet && exec "$@"'
    )
    within = [*NAMESPACES, "sh", "-c", hidden, "sh", *WITH_FEW_RIGHTS]
    if subprocess.run([*within, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the tests may not mount (they are not run by root)")
    config = {"source": simulated()}
    with running_exporter(tmp_path, config, within=within) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
    path = write(tmp_path, source={"kind": "stdin"}, prometheus={"listen": free_address()})
    result = doctor("--config", str(path), within=within)
    (warned,) = result.about("owners", "warning")
    assert warned.seen == (
        "the kubelet is not asked: /var/lib/kubelet/pod-resources: Permission denied (user 0)"
    )
    assert "run as root" in warned.fix
