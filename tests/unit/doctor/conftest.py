"""Fixtures for the tests of the doctor."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.identity import local_http
from neuron_exporter.identity.owners import kubelet
from tests.support.doctor import hide_kubernetes


@pytest.fixture(autouse=True)
def _long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lookups succeed on a busy machine; tests of timeouts set their own."""
    monkeypatch.setattr(local_http, "TIMEOUT", 30.0)
    monkeypatch.setattr(kubelet, "TIMEOUT", 30.0)


@pytest.fixture
def no_folder(tmp_path: Path) -> Path:
    """Return a folder that does not exist."""
    return tmp_path / "none"


@pytest.fixture(autouse=True)
def _no_kubernetes_node(monkeypatch: pytest.MonkeyPatch, no_folder: Path) -> None:
    """Hide what Kubernetes keeps on the machine that runs the tests."""
    hide_kubernetes(monkeypatch, no_folder)
