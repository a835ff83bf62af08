"""Whoever comes to TLS or to passwords in bad faith keeps nobody out."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from neuron_exporter.web import connections as web
from neuron_exporter.web import server as serving
from tests.support.clients import Client, basic, get
from tests.support.processes import threads
from tests.support.serving import ME, served
from tests.support.web_config import WebFolder, hashed


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server looks around often, so that it closes soon."""
    monkeypatch.setattr(serving, "_SWEEP_SECONDS", 0.02)


@pytest.fixture
def folder(tmp_path: Path) -> WebFolder:
    """An authority and a server's certificate."""
    return WebFolder(tmp_path)


@pytest.mark.parametrize(
    "sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 20]
)
def test_silent_clients_keep_nobody_out(folder: WebFolder, sent: bytes) -> None:
    """Among 100 connections that never finish their handshake, a scrape is answered every time,
    and workers stay within their bound."""
    with served(folder, tls_server_config=folder.tls) as serving, ExitStack() as stack:
        most = 0
        for number in range(100):
            client = stack.enter_context(Client(serving.port))
            client.send(sent)
            if number % 20 == 19:
                before = time.monotonic()
                assert serving.get().body == b"hello\n"
                assert time.monotonic() - before < 1
                most = max(most, len(threads("http-worker")))
        assert 1 < most <= 32


def test_a_handshake_has_the_deadline_of_a_request(
    monkeypatch: pytest.MonkeyPatch, folder: WebFolder
) -> None:
    """A client that says nothing is cut off, though nobody wants its place."""
    monkeypatch.setattr(web, "REQUEST_SECONDS", 0.3)
    with served(folder, tls_server_config=folder.tls) as serving, Client(serving.port) as silent:
        before = time.monotonic()
        assert silent.closed()
        assert 0.2 < time.monotonic() - before < 5


@pytest.mark.parametrize("data", [b"\0" * 100, b"\x16\x03\x01\x00\x05hello", b"\x80\x01" * 50])
def test_garbage_ends_its_connection_alone(folder: WebFolder, data: bytes) -> None:
    """What is no TLS is no reason to end, to log an error, or to leak a socket."""
    with served(folder, tls_server_config=folder.tls) as serving:
        with Client(serving.port) as client:
            client.send(data)
            client.socket.recv(100)
        assert serving.get().status == 200


def test_guesses_of_passwords_keep_nobody_out(folder: WebFolder) -> None:
    """While 40 connections guess passwords, who is known is answered."""
    users = {"me": hashed("secret"), "slow": hashed("x", 8)}
    with served(folder, basic_auth_users=users) as serving, ExitStack() as stack:
        assert get(serving.port, Authorization=ME).status == 200
        for number in range(40):
            client = stack.enter_context(Client(serving.port))
            client.request("/", Authorization=basic("slow", str(number)))
        before = time.monotonic()
        assert get(serving.port, Authorization=ME).status == 200
        assert time.monotonic() - before < 2
