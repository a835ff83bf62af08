"""The server with TLS and passwords."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Client, ClientResponse, basic_auth, get
from tests.support.serving import AUTHORIZATION, USERS, running_server
from tests.support.waiting import wait_for
from tests.support.web_config import WebConfigFolder, bcrypt_hash


@pytest.fixture
def folder(tmp_path: Path) -> WebConfigFolder:
    """A certificate authority and a server certificate."""
    return WebConfigFolder(tmp_path)


def fails(ask: Callable[[], ClientResponse]) -> bool:
    """Return whether a request fails, during the handshake or (with TLS 1.3) right after it."""
    try:
        ask()
    except (ssl.SSLError, ConnectionError):
        return True
    return False


# TLS


def test_server_certificate(folder: WebConfigFolder) -> None:
    with running_server(folder, tls_server_config=folder.tls) as serving:
        with Client(serving.port, tls=folder.client_context()) as client:
            assert client.get("/").body == b"hello\n"
            assert client.get("/healthz", "HEAD").status == 200
            assert isinstance(client.socket, ssl.SSLSocket)
            assert client.socket.version() == "TLSv1.3"
        assert serving.server.url == f"https://127.0.0.1:{serving.port}"

        untrusted = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            get(serving.port, tls=untrusted)
        assert serving.get().status == 200


def test_close_notify(folder: WebConfigFolder) -> None:
    """A strict client sees a proper end of the connection."""
    with (
        running_server(folder, tls_server_config=folder.tls) as serving,
        Client(serving.port, tls=folder.client_context()) as client,
    ):
        assert isinstance(client.socket, ssl.SSLSocket)
        client.socket.suppress_ragged_eofs = False
        assert client.get("/", Connection="close").status == 200
        assert client.socket.recv(1) == b""


def test_plain_http_to_tls_port(folder: WebConfigFolder) -> None:
    with running_server(folder, tls_server_config=folder.tls) as serving:
        response = get(serving.port)
    assert (response.status, response.body) == (400, b"this port speaks HTTPS\r\n")


@pytest.mark.parametrize(
    ("server", "client", "version"),
    [
        ({}, "TLSv1_2", "TLSv1.2"),
        ({"max_version": "TLS12"}, "TLSv1_3", "TLSv1.2"),
        ({"min_version": "TLS13"}, "TLSv1_3", "TLSv1.3"),
        ({"min_version": "TLS13"}, "TLSv1_2", None),
        ({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, "TLSv1_2", None),
    ],
)
def test_versions(
    folder: WebConfigFolder, server: dict[str, Any], client: str, version: str | None
) -> None:
    context = folder.client_context()
    context.maximum_version = getattr(ssl.TLSVersion, client)
    with running_server(folder, tls_server_config={**folder.tls, **server}) as serving:
        if version is None:
            assert fails(lambda: get(serving.port, tls=context))
            return
        with Client(serving.port, tls=context) as connection:
            assert connection.get("/").status == 200
            assert isinstance(connection.socket, ssl.SSLSocket)
            assert connection.socket.version() == version


# Certificates of clients


@pytest.mark.parametrize(
    ("policy", "without", "untrusted", "trusted"),
    [
        ("NoClientCert", True, True, True),
        ("RequestClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, False, True),
        ("RequireAndVerifyClientCert", False, False, True),
    ],
)
def test_client_certificates(
    folder: WebConfigFolder, policy: str, without: bool, untrusted: bool, trusted: bool
) -> None:
    (folder.folder / "untrusted_pair").mkdir()
    untrusted_pair = WebConfigFolder(folder.folder / "untrusted_pair").authority.sign_client(
        "untrusted"
    )
    trusted_pair = folder.authority.sign_client("trusted")
    section = {**folder.tls, "client_auth_type": policy}
    if "Verify" in policy:
        section["client_ca_file"] = "authority.pem"
    with running_server(folder, tls_server_config=section) as serving:
        accepted = [
            not fails(lambda each=each: serving.get(certificate=each))
            for each in (None, untrusted_pair, trusted_pair)
        ]
        assert accepted == [without, untrusted, trusted]


@pytest.mark.parametrize(
    ("allowed", "names", "accepted"),
    [
        (["scraper.example"], ["scraper.example"], True),
        (["other", "scraper.example"], ["more", "scraper.example"], True),
        (["scraper.example"], ["scraper.example.org"], False),
        (["scraper.example"], [], False),
        (["10.1.2.3"], ["10.1.2.3"], True),
        (["fd00::1"], ["fd00:0:0::1"], True),
        (["me@example.org"], ["me@example.org"], True),
        (["spiffe://here/scraper"], ["spiffe://here/scraper"], True),
        (["spiffe://here/scraper"], ["spiffe://here/other"], False),
    ],
)
def test_allowed_client_names(
    folder: WebConfigFolder, allowed: list[str], names: list[str], accepted: bool
) -> None:
    certificate = folder.authority.sign_client("client", *names)
    section = {**folder.mutual_tls, "client_allowed_sans": allowed}
    with running_server(folder, tls_server_config=section) as serving:
        assert fails(lambda: serving.get(certificate=certificate)) is not accepted


# Passwords and headers


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_passwords_protect_every_path(folder: WebConfigFolder, path: str, method: str) -> None:
    with running_server(folder, basic_auth_users=USERS) as serving:
        for headers in ({}, {"Authorization": basic_auth("me", "wrong")}):
            with Client(serving.port) as client:
                response = client.get(path, method, **headers)
                assert client.closed()
            assert (response.status, response.body) == (
                401,
                b"" if method == "HEAD" else UNAUTHORIZED,
            )
            assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
        with Client(serving.port) as client:
            for _ in range(2):
                response = client.get(path, method, Authorization=AUTHORIZATION)
                assert response.status == (404 if path == "/nothing" else 200)


UNAUTHORIZED = b"unauthorized\n"


def test_tls_with_passwords(folder: WebConfigFolder) -> None:
    with running_server(folder, tls_server_config=folder.tls, basic_auth_users=USERS) as serving:
        assert serving.get().status == 401
        assert serving.get(Authorization=AUTHORIZATION).body == b"hello\n"


def test_configured_headers(folder: WebConfigFolder) -> None:
    """Configured headers override the defaults, and an empty value removes one."""
    headers = {
        "X-Frame-Options": "deny",
        "Strict-Transport-Security": "max-age=1",
        "Content-Security-Policy": "default-src 'self'",
        "X-Content-Type-Options": "",
    }
    section = {"http2": True, "headers": headers}
    with running_server(folder, http_server_config=section, basic_auth_users=USERS) as serving:
        for response in (get(serving.port), get(serving.port, Authorization=AUTHORIZATION)):
            for name, value in headers.items():
                assert response.headers.get(name, "") == value
            assert response.headers["Referrer-Policy"] == "no-referrer"


# Reload


def test_reload_certificate(folder: WebConfigFolder) -> None:
    """New connections get the new certificate, and idle ones are closed."""
    with (
        running_server(folder, tls_server_config=folder.tls) as serving,
        Client(serving.port, tls=folder.client_context()) as idle,
    ):
        assert idle.get("/").status == 200
        folder.authority.sign("renewed")
        serving.reload(tls_server_config={"cert_file": "renewed.pem", "key_file": "renewed.key"})
        assert idle.closed()
        with Client(serving.port, tls=folder.client_context()) as client:
            assert isinstance(client.socket, ssl.SSLSocket)
            certificate = client.socket.getpeercert()
        assert certificate is not None
        assert "renewed" in str(certificate["subject"])


def test_enabling_tls_closes_idle_connections(folder: WebConfigFolder) -> None:
    with running_server(folder) as serving, Client(serving.port) as idle:
        assert idle.get("/").status == 200
        serving.reload(tls_server_config=folder.tls)
        assert idle.closed()
        assert serving.get().status == 200


@pytest.mark.parametrize(("requires_certificate", "status"), [(False, 200), (True, 401)])
def test_enabling_tls_during_request(
    folder: WebConfigFolder, requires_certificate: bool, status: int
) -> None:
    """The pending request is served unless a certificate is required now, then the connection is
    closed."""
    with running_server(folder) as serving, Client(serving.port) as client:
        assert client.get("/").status == 200
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        connections = serving.server._connections
        wait_for(lambda: not any(each.is_idle for each in connections._open))
        serving.reload(tls_server_config=folder.mutual_tls if requires_certificate else folder.tls)
        client.send(b"\r\n")
        response = client.read_response()
        assert (response.status, response.headers["Connection"]) == (status, "close")
        assert client.closed()


def test_new_password_applies_to_open_connections(folder: WebConfigFolder) -> None:
    with running_server(folder, basic_auth_users=USERS) as serving, Client(serving.port) as kept:
        assert kept.get("/", Authorization=AUTHORIZATION).status == 200
        serving.reload(basic_auth_users={"me": bcrypt_hash("new")})
        assert kept.get("/", Authorization=AUTHORIZATION).status == 401
        assert get(serving.port, Authorization=basic_auth("me", "new")).status == 200


# Who is known


@pytest.mark.parametrize(
    ("client_auth", "users", "known"),
    [
        ("NoClientCert", None, b"no\n"),
        ("RequestClientCert", None, b"no\n"),
        ("VerifyClientCertIfGiven", None, b"no\n"),
        ("RequireAndVerifyClientCert", None, b"yes\n"),
        ("NoClientCert", USERS, b"yes\n"),
    ],
)
def test_is_authenticated(
    folder: WebConfigFolder, client_auth: str, users: dict[str, str] | None, known: bytes
) -> None:
    """Optional client certificates do not count, since clients without one are accepted too."""
    section = {**folder.tls, "client_auth_type": client_auth}
    if "Verify" in client_auth:
        section["client_ca_file"] = "authority.pem"
    certificate = folder.authority.sign_client("me")
    users_section = {} if users is None else {"basic_auth_users": users}
    with running_server(folder, tls_server_config=section, **users_section) as serving:
        assert serving.get("/known", certificate, Authorization=AUTHORIZATION).body == known
