"""Names by which a client may ask for the server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.web import hosts
from neuron_exporter.web.hosts import AllowedHosts, own_names


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("node-1", True),
        ("NODE-1.:9415", True),
        ("node-1.example", False),
        ("a.b.example", True),
        ("b.example", False),
        ("a.b.example.org", False),
        ("10.0.0.1", True),
        ("10.0.0.1.", True),
        ("10.0.0", False),
        ("[::1]:80", True),
        ("[10.0.0.1]", True),
        ("::1", False),
        ("[::1", False),
        ("[:::]", False),
        ("localhost:", False),
        ("localhost:123456", False),
        ("user@localhost", False),
        ("localhost\n", False),
        ("l\u043ecalhost", False),
        ("*.svc", False),
        ("", False),
    ],
)
def test_hosts(host: str, is_allowed: bool) -> None:
    assert AllowedHosts(["Node-1", "*.B.example."]).admits(host) is is_allowed


@given(st.text())
def test_any_host_is_handled(host: str) -> None:
    AllowedHosts(()).admits(host)


def test_own_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 10.0.0.2\nsearch one.internal two.internal\noptions x\n")
    monkeypatch.setattr(hosts, "_RESOLVER", resolver)
    monkeypatch.setattr(socket, "gethostname", lambda: "node-1.zone")
    assert own_names() == {"node-1.zone", "node-1", "node-1.one.internal", "node-1.two.internal"}
    resolver.unlink()
    assert own_names() == {"node-1.zone", "node-1"}
