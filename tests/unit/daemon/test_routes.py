"""Paths that only some clients are served."""

from __future__ import annotations

import socket
from email.message import Message
from typing import Any

import pytest

from neuron_exporter.config import Override, load
from neuron_exporter.daemon.routes import SNAPSHOT, routes
from neuron_exporter.pipeline.build import build
from neuron_exporter.web import Request, Route


def make_routes(environment: dict[str, str] | None = None, **settings: Any) -> dict[str, Route]:
    """Return the routes of an exporter with these settings of `prometheus`."""
    flags = [Override("test", f"prometheus.{key}", value) for key, value in settings.items()]
    return routes(build(load(None, {}, flags), environment=environment or {}), list)


def request(path: str, host: str = "localhost", client: str = "127.0.0.1", **more: Any) -> Request:
    """Return a request of a client on this machine, unless it is given."""
    headers = Message()
    headers["Host"] = host
    return Request(path, headers, client=client, **more)


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("192.0.2.1", 403),
        ("2001:db8::1", 403),
        ("fe80::1%eth0", 403),
        ("0.0.0.0", 403),
        ("", 403),
    ],
)
def test_debug_is_local(client: str, status: int) -> None:
    path = "/debug/threads"
    route = make_routes()[path]
    assert route(request(path, client=client)).status == status
    assert route(request(path, "evil.example", client, is_authenticated=True)).status == 200
    assert make_routes()[SNAPSHOT](request(SNAPSHOT, client=client)).status == 200


def test_routes_of_prometheus_servers() -> None:
    """They are other names of the exporter's own, and not on the page."""
    made = make_routes()
    for path, other in (("/-/healthy", "/healthz"), ("/-/ready", "/readyz")):
        assert made[path](request(path)) == made[other](request(other))


def test_labels_are_on_every_series() -> None:
    route = make_routes(labels={"team": 'a "b"'})["/metrics"]
    parts = route(request("/metrics")).body
    lines = b"".join(parts).decode().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) > 50
    assert [line for line in samples if r'team="a \"b\""' not in line] == []


def test_own_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "machine-7.zone")
    for host in ("machine-7", "machine-7.zone:9415"):
        assert make_routes()[SNAPSHOT](request(SNAPSHOT, host)).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("listened", 200), ("[::7]:9415", 200), ("a.b", 200), ("node-7", 200), ("other", 421)],
)
def test_hosts_of_the_configuration(host: str, status: int) -> None:
    """The hosts in `listen`, those in `allowed_hosts`, and the name of the Kubernetes node."""
    served = make_routes(
        {"NODE_NAME": "node-7"}, listen=["listened:1", "[::7]:2", ":3"], allowed_hosts=["*.B"]
    )
    assert served[SNAPSHOT](request(SNAPSHOT, host)).status == status


def test_unknown_host_is_named_without_its_control_characters() -> None:
    answer = make_routes()[SNAPSHOT](request(SNAPSHOT, "evil\x1b[2J" + "x" * 1000))
    assert answer.status == 421
    assert isinstance(answer.body, bytes)
    assert b"\x1b" not in answer.body
    assert len(answer.body) < 500
