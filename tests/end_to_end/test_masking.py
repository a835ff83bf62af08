"""Secrets in the wrong place appear neither in error messages nor in the support bundle."""

from __future__ import annotations

import json
import signal
import tarfile
from pathlib import Path

import pytest

from tests.support.children import script
from tests.support.commands import run
from tests.support.exporter import running_exporter, simulated

INVALID = [
    "cloudwatch: {endpoint_url: ['https://me:geheim@host']}",
    "cloudwatch: {endpoint_url: {url: 'https://me:geheim@host'}}",
    "cloudwatch: {region: 'https://host/?sig=geheim'}",
    "cloudwatch: ['https://me:geheim@host']",
    "source: {command: 'neuron-monitor --token=geheim'}",
    "source: {command: ['neuron-monitor --token=geheim -c x']}",
    "source: {command: [neuron-monitor, {--token: geheim}]}",
    "source: 'neuron-monitor --auth geheim'",
    "source: {'--token=geheim': 1}",
    "source: {'--token=geheim': 1, '--token=geheim': 2}",
    "'https://me:geheim@host': 1",
    "- password=geheim",
    "password=geheim",
    "source: {period: !!int geheim}",
    "source: {period: !!bool geheim}",
    "source: {period: !!float geheim}",
    "log: {level: !!timestamp geheim}",
    "log: {level: 'Authorization: Bearer geheim'}",
    "prometheus: {web_config_file: '/no/such?token=geheim'}",
]


@pytest.mark.parametrize("text", INVALID)
def test_check_shows_no_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "exporter.yaml"
    path.write_text(text)
    finished = run("check", "--config", str(path))
    assert finished.status == 2
    assert finished.err.startswith(f"neuron-exporter: {path}")
    assert "geheim" not in finished.err + finished.out


def test_check_warns_without_secrets(tmp_path: Path) -> None:
    """A placeholder is named without its default, and a command not at all."""
    path = tmp_path / "exporter.yaml"
    path.write_text(
        "source: {command: [neuron-monitor, -c, x, --token, geheim]}\n"
        "identity: {cluster: '${CLUSTER:-geheim}'}\n"
    )
    finished = run("check", "--config", str(path))
    assert finished.status == 0
    assert finished.out.count("warning: ") == 2
    assert "geheim" not in finished.err + finished.out


@pytest.mark.parametrize(
    "text",
    [
        "tls_server_config: '-----BEGIN PRIVATE KEY----- geheim'",
        "tls_server_config: {key: [geheim=1], cert_file: a, min_version: 'token=geheim'}",
        "basic_auth_users: 'me:geheim@host'",
        "basic_auth_users: {me: geheim}",
        "- me:geheim@host",
    ],
)
def test_web_configuration_shows_no_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "web.yaml").write_text(text)
    path = tmp_path / "exporter.yaml"
    path.write_text(f"prometheus: {{web_config_file: {tmp_path}/web.yaml}}")
    finished = run("check", "--config", str(path))
    assert finished.status == 2
    assert "geheim" not in finished.err + finished.out


def test_reload_shows_no_secret(tmp_path: Path) -> None:
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        exporter.wait_for_event("started")
        (tmp_path / "exporter.yaml").write_text(
            "source: {command: [neuron-monitor, --token, geheim]}"
        )
        exporter.process.send_signal(signal.SIGHUP)
        exporter.wait_for_event("config_reload_rejected")
        assert "geheim" not in exporter.get("/api/v1/snapshot")[1]
        assert exporter.stop() == 0
        assert "geheim" not in "".join(exporter.raw_log)


def test_bundle_has_no_secret(tmp_path: Path) -> None:
    """Neither those in the configuration nor those that the child prints. The state of the source,
    which the page shows, has none either."""
    monitor = script(
        tmp_path / "monitor",
        "echo \"curl -H 'Authorization: Bearer geheim' https://me:geheim@host/?sig=geheim"
        ' --auth geheim AKIAGEHEIMGEHEIMGEHE" >&2; exit 1',
    )
    config = {
        "source": {"command": [str(monitor), "--auth", "geheim", "https://host/?sig=geheim"]},
        "cloudwatch": {"extra_dimensions": {"Team": "AKIAGEHEIMGEHEIMGEHE"}},
    }
    bundle = tmp_path / "bundle.tar.gz"
    with running_exporter(tmp_path, config) as exporter:
        state = exporter.wait_for_event("source_state", state="exited")
        path = tmp_path / "exporter.yaml"
        finished = run(
            "doctor",
            *("--config", str(path), "--bundle", str(bundle)),
            environment={"NEURON_EXPORTER__PROMETHEUS__LISTEN": f"127.0.0.1:{exporter.port}"},
        )
    assert "last stderr line" in finished.out
    with tarfile.open(bundle) as archive:
        parts = {Path(each.name).name: archive.extractfile(each) for each in archive}
        content = {name: part.read().decode() for name, part in parts.items() if part}
    assert "last stderr line" in json.loads(content["snapshot.json"])["source"]["reason"]
    for text in (state["detail"], finished.out, *content.values()):
        assert "geheim" not in text.lower()
