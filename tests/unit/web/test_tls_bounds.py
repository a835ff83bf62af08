"""Limits with TLS and passwords: hostile clients cannot block others."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from neuron_exporter.web import connections, passwords
from tests.support.clients import Client, basic_auth, get
from tests.support.processes import threads
from tests.support.serving import AUTHORIZATION, USERS, running_server
from tests.support.web_config import WebConfigFolder


@pytest.fixture
def folder(tmp_path: Path) -> WebConfigFolder:
    """A certificate authority and a server certificate."""
    return WebConfigFolder(tmp_path)


@pytest.mark.parametrize(
    "sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 20]
)
def test_incomplete_handshakes(folder: WebConfigFolder, sent: bytes) -> None:
    """Among 100 incomplete handshakes, every scrape is answered."""
    with running_server(folder, tls_server_config=folder.tls) as serving, ExitStack() as stack:
        workers = 0
        for number in range(100):
            client = stack.enter_context(Client(serving.port))
            client.send(sent)
            if number % 20 == 19:
                assert serving.get().body == b"hello\n"
                workers = max(workers, len(threads("http-worker")))
        assert 1 < workers <= 32


def test_handshake_timeout(monkeypatch: pytest.MonkeyPatch, folder: WebConfigFolder) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.3)
    with (
        running_server(folder, tls_server_config=folder.tls) as serving,
        Client(serving.port) as silent,
    ):
        started = time.monotonic()
        assert silent.closed()
        assert time.monotonic() - started > 0.2


@pytest.mark.parametrize("data", [b"\0" * 100, b"\x16\x03\x01\x00\x05hello", b"\x80\x01" * 50])
def test_garbage(folder: WebConfigFolder, data: bytes) -> None:
    with running_server(folder, tls_server_config=folder.tls) as serving:
        with Client(serving.port) as client:
            client.send(data)
            client.socket.recv(100)
        assert serving.get().status == 200


def test_guessed_passwords(monkeypatch: pytest.MonkeyPatch, folder: WebConfigFolder) -> None:
    """While bcrypt compares guessed passwords, cached credentials are accepted at once."""
    comparing, release = threading.Event(), threading.Event()

    def compare(password: bytes, hashed: bytes) -> bool:
        comparing.set()
        release.wait(60)
        return False

    with running_server(folder, basic_auth_users=USERS) as serving, ExitStack() as stack:
        stack.callback(release.set)
        assert get(serving.port, Authorization=AUTHORIZATION).status == 200
        monkeypatch.setattr(passwords.bcrypt, "checkpw", compare)
        for number in range(20):
            client = stack.enter_context(Client(serving.port))
            client.request("/", Authorization=basic_auth("me", str(number)))
        assert comparing.wait(60)
        assert get(serving.port, Authorization=AUTHORIZATION).status == 200
