"""Metrics of the exporter itself that its parts set."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from neuron_exporter.config import Override, load
from neuron_exporter.facts.problems import RestartReason
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.sinks.exposition import write
from neuron_exporter.source.memory import LimitedGroup
from tests.support.waiting import wait_for
from tests.support.web_config import WebConfigFolder

EXPIRY = "neuron_exporter_web_certificate_expiry_timestamp_seconds"


def built(**prometheus: str) -> Pipeline:
    """Build the parts with these keys of `prometheus`."""
    flags = [Override("test", f"prometheus.{key}", value) for key, value in prometheus.items()]
    return build(load(flags=flags), environment={})


def value(parts: Pipeline, name: str, **labels: str) -> float | None:
    """Return the value of one of the exporter's own metrics; None if it is absent."""
    return parts.telemetry.registry.get_sample_value(name, labels)


def test_memory_of_the_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its use is read with each scrape. Both series are absent without a limit, and the use while
    it cannot be read."""
    (tmp_path / "memory.stat").write_text("inactive_file 5\n")
    group = LimitedGroup(96 * 2**20, tmp_path, is_v1=False)
    monkeypatch.setattr("neuron_exporter.pipeline.build.limited_group", lambda: group)
    parts = built()
    assert value(parts, "neuron_exporter_memory_limit_bytes") == 96 * 2**20
    assert value(parts, "neuron_exporter_memory_used_bytes") is None
    for used in (1000, 2000):
        (tmp_path / "memory.current").write_text(f"{used}\n")
        assert value(parts, "neuron_exporter_memory_used_bytes") == used - 5
    monkeypatch.setattr("neuron_exporter.pipeline.build.limited_group", lambda: None)
    assert "neuron_exporter_memory" not in write(built().telemetry.registry.collect()).decode()


def test_every_reason_of_a_restart_starts_at_zero() -> None:
    """Otherwise Prometheus would not see the first restart as an increase."""
    parts = built()
    for reason in RestartReason:
        assert value(parts, "neuron_exporter_source_restarts_total", reason=reason) == 0
    parts.processor.on_restart(RestartReason.EXITED.value, 1.0)
    assert value(parts, "neuron_exporter_source_restarts_total", reason="exited") == 1


def test_certificate_expiry_follows_reloads(tmp_path: Path) -> None:
    folder = WebConfigFolder(tmp_path)
    folder.write(tls_server_config=folder.tls)

    def in_file() -> float:
        content = (tmp_path / "server.pem").read_bytes()
        return x509.load_pem_x509_certificate(content).not_valid_after_utc.timestamp()

    parts = built(web_config_file=str(folder.path))
    assert parts.web_config is not None
    first = in_file()
    assert value(parts, EXPIRY) == first
    wait_for(lambda: folder.authority.sign("server") and in_file() > first)
    assert value(parts, EXPIRY) == first
    parts.web_config.refresh(at_once=True)
    assert value(parts, EXPIRY) == in_file()


def test_certificate_expiry_is_absent_without_tls(tmp_path: Path) -> None:
    assert value(built(), EXPIRY) is None
    folder = WebConfigFolder(tmp_path)
    assert value(built(web_config_file=folder.write()), EXPIRY) is None
