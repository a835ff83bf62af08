"""Fixtures for all tests of identity and owners."""

from __future__ import annotations

import pytest

from neuron_exporter.identity import local_http
from neuron_exporter.identity.owners import pod_labels


@pytest.fixture(autouse=True)
def _long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lookups succeed on a busy machine; tests of timeouts set their own."""
    monkeypatch.setattr(local_http, "TIMEOUT", 30.0)
    monkeypatch.setattr(pod_labels, "TIMEOUT", 30.0)
