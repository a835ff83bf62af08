"""The cipher suites of a server with TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.support.clients import Client
from tests.support.serving import running_server
from tests.support.web_config import WebConfigFolder


@pytest.fixture
def folder(tmp_path: Path) -> WebConfigFolder:
    """A certificate authority and a server certificate."""
    return WebConfigFolder(tmp_path)


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
def test_cipher_suites(folder: WebConfigFolder, suite: str, is_rsa: bool, cipher: str) -> None:
    """Go's name of each suite selects the right suite of OpenSSL."""
    folder.authority.sign("server", is_rsa=is_rsa)
    context = folder.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ALL")
    with (
        running_server(
            folder, tls_server_config={**folder.tls, "cipher_suites": [suite]}
        ) as serving,
        Client(serving.port, tls=context) as client,
    ):
        assert isinstance(client.socket, ssl.SSLSocket)
        cipher_in_use = client.socket.cipher()
    assert cipher_in_use is not None
    assert cipher_in_use[0] == cipher
