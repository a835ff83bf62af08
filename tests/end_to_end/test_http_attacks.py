"""Malformed and foreign requests to a running exporter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Client, get
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.network import own_network
from tests.support.processes import cpu_seconds
from tests.support.serving import AUTHORIZATION, USERS
from tests.support.web_config import WebConfigFolder

GUARDED = ("/api/v1/snapshot", "/debug/threads", "/debug/report")


@pytest.fixture
def folder(tmp_path: Path) -> WebConfigFolder:
    """A certificate authority, a server certificate, and a folder for configurations."""
    return WebConfigFolder(tmp_path)


@pytest.fixture(scope="module")
def unprotected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """An exporter without authentication that has read a report."""
    config = {
        "source": simulated(),
        "prometheus": {"allowed_hosts": ["neuron.example", "*.proxy.example"]},
    }
    with running_exporter(tmp_path_factory.mktemp("unprotected"), config) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        yield exporter


# Requests within other requests

SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH = str(len(SMUGGLED)).encode()


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 0", b"Content-Length: " + LENGTH],
        [b"Content-Length: " + LENGTH, b"Content-Length: 0"],
        [b"Content-Length: 0", b"Content-Length: 0"],
        [b"Content-Length: 0, " + LENGTH],
        [b"Content-Length : " + LENGTH],
        [b"Content-Length\t: " + LENGTH],
        [b" Content-Length: " + LENGTH],
        [b"no colon", b"Content-Length: " + LENGTH],
        [b"no colon", b"Transfer-Encoding: chunked"],
        [b": no name", b"Content-Length: " + LENGTH],
        [b"Content-Length: " + LENGTH],
        [b"content-length: " + LENGTH],
        [b"Content-Length: +0"],
        [b"Content-Length: 00"],
        [b"Content-Length: -0"],
        [b"Content-Length: "],
        [b"Content-Length: 0\x0b"],
        [b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding : chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 0"],
        [b"X: a", b"\tContent-Length: " + LENGTH],
        [b"X: a\rContent-Length: " + LENGTH],
        [b"X: a\nContent-Length: " + LENGTH],
        [b"X: a\0b"],
        [b"X\0: a"],
        [b"X: a\x0bb"],
        [b"X Y: a"],
        [b"X\xe9: a"],
        [b"Content-Length\xa0: " + LENGTH],
        [b"Host: localhost"],
        [b"Authorization: Basic eA==", b"Authorization: Basic eQ=="],
    ],
)
def test_defective_headers(unprotected: RunningExporter, lines: list[bytes]) -> None:
    """A request with a body, or with headers that may be read in two ways, is refused, and what
    follows it is not read as a request."""
    head = b"\r\n".join([b"GET /healthz HTTP/1.1", b"Host: localhost", *lines, b"", b""])
    assert answers(unprotected, head + SMUGGLED) == [400]


@pytest.mark.parametrize(
    ("start", "filling"),
    [
        (b'Content-Type: multipart/mixed; "', b";"),
        (b"Accept: ", b","),
        (b"Accept-Encoding: ", b","),
    ],
)
def test_long_headers_cost_little(
    unprotected: RunningExporter, start: bytes, filling: bytes
) -> None:
    """A header of eight times the length takes about eight times the CPU time, not 64 times."""
    short, long = (cost(unprotected, start + filling * length) for length in (7_750, 62_000))
    assert long < 20 * max(short, 0.05)  # the kernel counts in steps of 0.01


def cost(exporter: RunningExporter, header: bytes) -> float:
    """Return the CPU time of 20 scrapes with a header, in seconds."""
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    before = cpu_seconds(exporter.process.pid)
    for _ in range(20):
        assert answers(exporter, request + header + b"\r\n\r\n") == [200]
    return cpu_seconds(exporter.process.pid) - before


@pytest.mark.parametrize(
    "first",
    [
        b"GET /healthz HTTP/1.1\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\n\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET\x0b/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz\xa0HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1 \r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.10\r\nHost: localhost\r\n\r\n",
        b"GET /heal\0thz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_defective_request_lines(unprotected: RunningExporter, first: bytes) -> None:
    assert answers(unprotected, first + SMUGGLED) == [400]


def test_expected_continue_is_not_sent(unprotected: RunningExporter) -> None:
    request = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert answers(unprotected, request) == [200]


def answers(exporter: RunningExporter, data: bytes) -> list[int]:
    """Return the statuses of all responses to this data, up to the end of the connection."""
    with Client(exporter.port) as client:
        client.send(data)
        received = client.read_to_end()
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


# Names of other sites


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9415",
        "EVIL.example.",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "evil.example:80@localhost",
        "neuron.example.evil.example",
        "evilneuron.example",
        "proxy.example",
        "svc",
        ".svc",
        "x.svc.evil.example",
        "xsvc.cluster.local",
        "localhost, evil.example",
        "localhost evil.example",
        "[::1].evil.example",
        "[evil.example]",
        "localhost:",
        "localhost:port",
        "localhost..",
        "",
    ],
)
@pytest.mark.parametrize("path", GUARDED)
def test_foreign_host(unprotected: RunningExporter, path: str, host: str) -> None:
    """A page whose name leads to this machine (DNS rebinding) reads no data of it; metrics, probes
    and the page stay reachable by every name."""
    with Client(unprotected.port) as client:
        response = client.get(path, Host=host, X_Forwarded_Host="localhost", Forwarded="host=::1")
        assert response.status == 421
        assert b"prometheus.allowed_hosts" in response.body
        for free in ("/", "/metrics", "/healthz", "/readyz", "/page/main.js"):
            assert client.get(free, Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:1",
        "localhost.",
        "127.0.0.1",
        "192.0.2.9:9415",
        "[::1]",
        "[2001:db8::1]:9415",
        "[::ffff:192.0.2.1]",
        "[fe80::1%25eth0]:9415",
        "exporter.monitoring.svc",
        "Exporter.Monitoring.SVC.cluster.local.:9415",
        "neuron.example",
        "NEURON.example.:80",
        "a.proxy.example",
        "a.b.proxy.example",
    ],
)
def test_own_host(unprotected: RunningExporter, host: str) -> None:
    assert get(unprotected.port, "/api/v1/snapshot", Host=host).status == 200


def test_missing_host(unprotected: RunningExporter) -> None:
    for path, status in (("/metrics", 200), ("/api/v1/snapshot", 421)):
        request = f"GET {path} HTTP/1.0\r\n\r\n".encode()
        assert answers(unprotected, request) == [status]


@pytest.mark.parametrize("target", ["http://localhost", "http://evil.example", "//localhost"])
def test_absolute_target(unprotected: RunningExporter, target: str) -> None:
    """A request target with a host does not replace the header."""
    response = get(unprotected.port, f"{target}/api/v1/snapshot", Host="evil.example")
    assert response.status == 404


def test_host_with_authentication(folder: WebConfigFolder) -> None:
    """A page of another site has no credentials, so that every host is served."""
    config = {
        "source": simulated(),
        "prometheus": {"web_config_file": folder.write(basic_auth_users=USERS)},
    }
    with running_exporter(folder.folder, config) as exporter:
        for path in GUARDED:
            with Client(exporter.port) as client:
                known = client.get(path, Host="evil.example", Authorization=AUTHORIZATION)
                assert known.status == 200
                assert client.get(path, Host="evil.example").status == 401


# Clients from elsewhere


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
@pytest.mark.parametrize("listen", [":0", "[::]:0"])
def test_debug_of_remote_clients(
    tmp_path: Path, folder: WebConfigFolder, address: str, listen: str
) -> None:
    """Without authentication, `/debug` answers loopback addresses only."""
    config: dict[str, Any] = {"source": simulated(), "prometheus": {"listen": listen}}
    statuses = []
    with own_network(f"{address}/{128 if ':' in address else 32}"):
        with running_exporter(tmp_path, config) as exporter:
            exporter.wait_for_event("source_state", state="ok")
            for host in (address, "127.0.0.1"):
                for path in ("/debug/threads", "/debug/report", "/api/v1/snapshot"):
                    with Client(exporter.port, host=host) as client:
                        statuses.append(client.get(path, X_Forwarded_For="127.0.0.1").status)
        assert statuses == [403, 403, 200, 200, 200, 200]
        config["prometheus"]["web_config_file"] = folder.write(basic_auth_users=USERS)
        with (
            running_exporter(tmp_path, config) as exporter,
            Client(exporter.port, host=address) as client,
        ):
            assert client.get("/debug/threads", Authorization=AUTHORIZATION).status == 200
