"""The server with TLS and passwords: who gets in, over what, and who keeps nobody out."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.web import server as serving
from tests.support.clients import Answer, Client, basic, get
from tests.support.serving import ME, USERS, served
from tests.support.waiting import wait_for
from tests.support.web_config import WebFolder, hashed


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server looks around often, so that it closes soon."""
    monkeypatch.setattr(serving, "_SWEEP_SECONDS", 0.02)


@pytest.fixture
def folder(tmp_path: Path) -> WebFolder:
    """An authority and a server's certificate."""
    return WebFolder(tmp_path)


def refused(ask: Callable[[], Answer]) -> bool:
    """Whether a request breaks: in the handshake, or, as TLS 1.3 has it, right after."""
    try:
        ask()
    except (ssl.SSLError, ConnectionError):
        return True
    return False


# TLS


def test_the_server_shows_its_certificate(folder: WebFolder) -> None:
    """Whoever trusts the authority is answered over TLS 1.3, and told an https address."""
    with served(folder, tls_server_config=folder.tls) as serving:
        with Client(serving.port, tls=folder.client()) as client:
            assert client.get("/").body == b"hello\n"
            assert client.get("/healthz", "HEAD").status == 200
            assert isinstance(client.socket, ssl.SSLSocket)
            assert client.socket.version() == "TLSv1.3"
        assert serving.server.url == f"https://127.0.0.1:{serving.port}"

        stranger = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            get(serving.port, tls=stranger)
        assert serving.get().status == 200


def test_an_end_is_told_from_an_attack(folder: WebFolder) -> None:
    """The server takes its leave within TLS, so that a strict client sees a proper end."""
    with (
        served(folder, tls_server_config=folder.tls) as serving,
        Client(serving.port, tls=folder.client()) as client,
    ):
        assert isinstance(client.socket, ssl.SSLSocket)
        client.socket.suppress_ragged_eofs = False
        assert client.get("/", Connection="close").status == 200
        assert client.socket.recv(1) == b""


def test_whoever_speaks_in_the_clear_is_told(folder: WebFolder) -> None:
    """A request without TLS gets a reason, and nothing else."""
    with served(folder, tls_server_config=folder.tls) as serving:
        answer = get(serving.port)
    assert (answer.status, answer.body) == (400, b"this port speaks HTTPS\r\n")


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
def test_versions_are_kept_to(
    folder: WebFolder, server: dict[str, Any], client: str, version: str | None
) -> None:
    """min_version and max_version decide; the suites of TLS 1.3 alone are no TLS 1.2."""
    context = folder.client()
    context.maximum_version = getattr(ssl.TLSVersion, client)
    with served(folder, tls_server_config={**folder.tls, **server}) as serving:
        if version is None:
            assert refused(lambda: get(serving.port, tls=context))
            return
        with Client(serving.port, tls=context) as connection:
            assert connection.get("/").status == 200
            assert isinstance(connection.socket, ssl.SSLSocket)
            assert connection.socket.version() == version


@pytest.mark.parametrize(
    ("suite", "is_rsa", "cipher"),
    [
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", False, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", False, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", False, "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", False, "ECDHE-ECDSA-AES128-SHA"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", False, "ECDHE-ECDSA-AES256-SHA"),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", True, "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", True, "ECDHE-RSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", True, "ECDHE-RSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", True, "ECDHE-RSA-AES128-SHA"),
        ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", True, "ECDHE-RSA-AES256-SHA"),
    ],
)
def test_cipher_suites_go_by_their_names_in_go(
    folder: WebFolder, suite: str, is_rsa: bool, cipher: str
) -> None:
    """Each suite of TLS 1.2 that Go names is the one that is spoken."""
    folder.authority.sign("server", is_rsa=is_rsa)
    context = folder.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ALL")
    with (
        served(folder, tls_server_config={**folder.tls, "cipher_suites": [suite]}) as serving,
        Client(serving.port, tls=context) as client,
    ):
        assert isinstance(client.socket, ssl.SSLSocket)
        spoken = client.socket.cipher()
    assert spoken is not None
    assert spoken[0] == cipher


# Certificates of clients


@pytest.mark.parametrize(
    ("policy", "nobody", "stranger", "friend"),
    [
        ("NoClientCert", True, True, True),
        ("RequestClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, False, True),
        ("RequireAndVerifyClientCert", False, False, True),
    ],
)
def test_clients_show_who_they_are(
    folder: WebFolder, policy: str, nobody: bool, stranger: bool, friend: bool
) -> None:
    """client_auth_type decides over clients with no certificate, a strange, and a good one."""
    (folder.folder / "strange").mkdir()
    strange = WebFolder(folder.folder / "strange").authority.sign_client("stranger")
    friendly = folder.authority.sign_client("friend")
    section = {**folder.tls, "client_auth_type": policy}
    if "Verify" in policy:
        section["client_ca_file"] = "authority.pem"
    with served(folder, tls_server_config=section) as serving:
        got = [
            not refused(lambda each=each: serving.get(certificate=each))
            for each in (None, strange, friendly)
        ]
        assert got == [nobody, stranger, friend]


@pytest.mark.parametrize(
    ("allowed", "names", "let_in"),
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
def test_names_of_clients_can_be_demanded(
    folder: WebFolder, allowed: list[str], names: list[str], let_in: bool
) -> None:
    """client_allowed_sans lets in those whose certificate has one of the names, of any kind."""
    certificate = folder.authority.sign_client("client", *names)
    section = {**folder.mutual, "client_allowed_sans": allowed}
    with served(folder, tls_server_config=section) as serving:
        assert refused(lambda: serving.get(certificate=certificate)) is not let_in


# Passwords and headers


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_passwords_protect_every_path(folder: WebFolder, path: str, method: str) -> None:
    """Without a right password nothing is told, not even which paths there are."""
    with served(folder, basic_auth_users=USERS) as serving:
        for headers in ({}, {"Authorization": basic("me", "wrong")}):
            with Client(serving.port) as client:
                answer = client.get(path, method, **headers)
                assert client.closed()
            assert (answer.status, answer.body) == (401, b"" if method == "HEAD" else REFUSAL)
            assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
        with Client(serving.port) as client:
            for _ in range(2):
                answer = client.get(path, method, Authorization=ME)
                assert answer.status == (404 if path == "/nothing" else 200)


REFUSAL = b"unauthorized\n"


def test_tls_and_passwords_go_together(folder: WebFolder) -> None:
    """Both at once are the usual way: no password in the clear."""
    with served(folder, tls_server_config=folder.tls, basic_auth_users=USERS) as serving:
        assert serving.get().status == 401
        assert serving.get(Authorization=ME).body == b"hello\n"


def test_headers_are_set_and_left_out(folder: WebFolder) -> None:
    """What the file says of headers goes before what we would say, on every answer."""
    headers = {
        "X-Frame-Options": "deny",
        "Strict-Transport-Security": "max-age=1",
        "Content-Security-Policy": "default-src 'self'",
        "X-Content-Type-Options": "",
    }
    section = {"http2": True, "headers": headers}
    with served(folder, http_server_config=section, basic_auth_users=USERS) as serving:
        for answer in (get(serving.port), get(serving.port, Authorization=ME)):
            for name, value in headers.items():
                assert answer.headers.get(name, "") == value
            assert answer.headers["Referrer-Policy"] == "no-referrer"


# Reload


def test_connections_move_to_a_new_certificate(folder: WebFolder) -> None:
    """A renewed certificate is shown to newcomers, and idle connections begin anew."""
    with (
        served(folder, tls_server_config=folder.tls) as serving,
        Client(serving.port, tls=folder.client()) as idle,
    ):
        assert idle.get("/").status == 200
        folder.authority.sign("renewed")
        serving.reload(tls_server_config={"cert_file": "renewed.pem", "key_file": "renewed.key"})
        assert idle.closed()
        with Client(serving.port, tls=folder.client()) as client:
            assert isinstance(client.socket, ssl.SSLSocket)
            shown = client.socket.getpeercert()
        assert shown is not None
        assert "renewed" in str(shown["subject"])


def test_a_connection_in_the_clear_ends_when_tls_begins(folder: WebFolder) -> None:
    """Nobody goes on in the clear once there is TLS."""
    with served(folder) as serving, Client(serving.port) as idle:
        assert idle.get("/").status == 200
        serving.reload(tls_server_config=folder.tls)
        assert idle.closed()
        assert serving.get().status == 200


def test_a_request_under_way_is_the_last_in_the_clear(folder: WebFolder) -> None:
    """Who is in the middle of a request when TLS begins gets an answer, and the end."""
    with served(folder) as serving, Client(serving.port) as client:
        assert client.get("/").status == 200
        client.send(b"GET / HTTP/1.1\r\n")
        connections = serving.server._connections
        wait_for(lambda: not any(each.is_idle for each in connections._open))
        serving.reload(tls_server_config=folder.tls)
        client.send(b"\r\n")
        assert client.answer().headers["Connection"] == "close"
        assert client.closed()


def test_a_new_password_holds_for_open_connections(folder: WebFolder) -> None:
    """A kept connection does not keep its old password."""
    with served(folder, basic_auth_users=USERS) as serving, Client(serving.port) as kept:
        assert kept.get("/", Authorization=ME).status == 200
        serving.reload(basic_auth_users={"me": hashed("new")})
        assert kept.get("/", Authorization=ME).status == 401
        assert get(serving.port, Authorization=basic("me", "new")).status == 200


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
def test_routes_are_told_whether_everybody_is_known(
    folder: WebFolder, client_auth: str, users: dict[str, str] | None, known: bytes
) -> None:
    """Only a password, or a certificate that is asked of everybody and verified, makes a client
    known: what may come in without is nobody in particular, even where it shows one."""
    section = {**folder.tls, "client_auth_type": client_auth}
    if "Verify" in client_auth:
        section["client_ca_file"] = "authority.pem"
    certificate = folder.authority.sign_client("me")
    users_section = {} if users is None else {"basic_auth_users": users}
    with served(folder, tls_server_config=section, **users_section) as serving:
        assert serving.get("/known", certificate, Authorization=ME).body == known
