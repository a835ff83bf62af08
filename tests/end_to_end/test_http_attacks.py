"""Attacks on the HTTP server of a running exporter."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import exporter as exporter_process
from tests.support.clients import Client, basic_auth, get
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.network import own_network
from tests.support.patched import patched
from tests.support.processes import cpu_seconds
from tests.support.reloading import send_sighup
from tests.support.waiting import wait_for
from tests.support.web_config import WebConfigFolder, bcrypt_hash

AUTHORIZATION = basic_auth("me", "secret")
USERS = {"me": bcrypt_hash("secret")}
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


# Reloads that remove a protection


def admits(exporter: RunningExporter, context: ssl.SSLContext) -> bool:
    """Return whether a client with these TLS settings gets an answer."""
    try:
        return get(exporter.port, "/healthz", tls=context).status == 200
    except (ssl.SSLError, ConnectionError):
        return False


def test_reload_keeps_every_protection(folder: WebConfigFolder) -> None:
    """A truncated or weaker web configuration is refused; the log has place, old and new value."""
    other = folder.folder / "other"
    other.mkdir()
    strangers = WebConfigFolder(other).authority
    both = folder.authority.file.read_bytes() + strangers.file.read_bytes()
    (folder.folder / "both.pem").write_bytes(both)
    stranger = folder.client_context(strangers.sign_client("stranger", "scraper.example"))
    named_otherwise = folder.client_context(folder.authority.sign_client("o", "other.example"))
    anyone = folder.client_context()
    scraper = folder.client_context(folder.authority.sign_client("s", "scraper.example"))
    tls = {
        **folder.mutual_tls,
        "client_allowed_sans": ["scraper.example"],
        "min_version": "TLS13",
        "curve_preferences": ["CurveP256"],
    }
    headers = {"headers": {"Strict-Transport-Security": "max-age=1"}}

    def without(*names: str, **more: Any) -> dict[str, Any]:
        left = {name: value for name, value in tls.items() if name not in names}
        return {"tls_server_config": {**left, **more}, "http_server_config": headers}

    sans, policy = "client_allowed_sans", "client_auth_type"
    required = "client_auth_type: RequireAndVerifyClientCert ->"
    weaker: dict[str, dict[str, Any]] = {
        f"{required} NoClientCert": {"tls_server_config": folder.tls},
        f"{required} RequestClientCert": without(
            policy, sans, "client_ca_file", client_auth_type="RequestClientCert"
        ),
        f"{required} VerifyClientCertIfGiven": without(
            sans, client_auth_type="VerifyClientCertIfGiven"
        ),
        "client_allowed_sans: scraper.example -> every name": without(sans),
        "client_allowed_sans: scraper.example -> other.example, scraper.example": without(
            client_allowed_sans=["other.example", "scraper.example"]
        ),
        "client_ca_file: ": without(client_ca_file="both.pem"),
        "min_version: TLS13 -> TLS12": without("min_version"),
        "curve_preferences: CurveP256 -> every curve": without("curve_preferences"),
        "tls_server_config: set -> not set": {},
        "Strict-Transport-Security: sent -> not sent": {"tls_server_config": tls},
    }
    config = {
        "source": simulated(),
        "prometheus": {"web_config_file": folder.write(**without())},
    }
    with running_exporter(folder.folder, config, tls=scraper) as exporter:
        exporter.wait_for_event("started")
        for problem, sections in weaker.items():
            before = len(refusals(exporter))
            folder.write(**sections)
            send_sighup(exporter)
            wait_for(lambda seen=before, text=problem: text in str(refusals(exporter)[seen:]))
            assert str(folder.path) in refusals(exporter)[-1]
            for refused in (anyone, stranger, named_otherwise):
                assert not admits(exporter, refused)
            assert admits(exporter, scraper)
        folder.write(**without(), basic_auth_users=USERS)
        send_sighup(exporter)
        exporter.wait_for_event("web_config_reloaded")
        assert exporter.get("/healthz")[0] == 401
        folder.write(**without())
        send_sighup(exporter)
        wait_for(lambda: any("basic_auth_users: set -> not set" in r for r in refusals(exporter)))
        assert exporter.get("/healthz")[0] == 401


def refusals(exporter: RunningExporter) -> list[str]:
    """Return the problems of the rejected reloads so far."""
    return [event["problem"] for event in exporter.events("web_config_reload_rejected")]


# Wrong passwords


def test_wrong_passwords_hold_up_nothing(
    folder: WebConfigFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While comparisons last and 200 clients send wrong passwords, scrapes and probes with
    credentials that were verified before are answered, and further guesses are refused."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("held-passwords"))
    held = tmp_path / "held"
    config = {
        "source": simulated(),
        "prometheus": {"web_config_file": folder.write(basic_auth_users=USERS)},
    }
    environment = {"HOLDS_PASSWORDS": str(held)}
    with (
        running_exporter(tmp_path, config, environment=environment) as exporter,
        ExitStack() as stack,
    ):
        exporter.wait_for_event("source_state", state="ok")
        assert exporter.get("/healthz", Authorization=AUTHORIZATION)[0] == 200
        held.touch()
        guesses = Guesses(exporter.port, stack)
        guesses.start(200)
        wait_for(lambda: guesses.statuses[503] >= 100)
        for _ in range(10):
            for path in ("/metrics", "/healthz", "/readyz"):
                assert exporter.get(path, Authorization=AUTHORIZATION)[0] == 200
        assert guesses.statuses[401] == 0
        assert int(guesses.headers["Retry-After"]) > 0
        guesses.stop()
        held.unlink()
        new = basic_auth("me", "secret ")
        wait_for(lambda: exporter.get("/healthz", Authorization=new)[0] == 401)


class Guesses:
    """Clients on this machine that send wrong passwords, each on one connection after the other."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self.statuses: Counter[int] = Counter()
        self.headers: dict[str, str] = {}
        self._port = port
        self._ended = threading.Event()
        stack.callback(self.stop)

    def start(self, number: int) -> None:
        """Start this number of clients."""
        for each in range(number):
            threading.Thread(target=self._guess, args=(each,), daemon=True).start()

    def stop(self) -> None:
        """Let every client end after its request."""
        self._ended.set()

    def _guess(self, number: int) -> None:
        while not self._ended.wait(0.2):
            with suppress(OSError):
                response = get(self._port, "/", Authorization=basic_auth("me", f"no {number}"))
                self.statuses[response.status] += 1
                if response.status == 503:
                    self.headers = response.headers


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
    "header",
    [
        b'Content-Type: multipart/mixed; "' + b";" * 62_000,
        b"Accept: " + b"," * 62_000,
        b"Accept-Encoding: " + b"," * 62_000,
    ],
)
def test_long_headers_cost_little(unprotected: RunningExporter, header: bytes) -> None:
    """The cost does not grow with the square of the length: 20 requests took more than a minute."""
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    before = cpu_seconds(unprotected.process.pid)
    for _ in range(20):
        assert answers(unprotected, request + header + b"\r\n\r\n") == [200]
    assert cpu_seconds(unprotected.process.pid) - before < 20


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
    """Without authentication, `/debug` answers clients on the machine only."""
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
        with running_exporter(tmp_path, config) as exporter:
            port = exporter.port
            connection = http.client.HTTPConnection(address, port, timeout=60)
            connection.request("GET", "/debug/threads", headers={"Authorization": AUTHORIZATION})
            assert connection.getresponse().status == 200
            connection.close()
