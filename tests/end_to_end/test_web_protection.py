"""Attacks on the protections of a running exporter: weaker files and guessed passwords."""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import exporter as exporter_process
from tests.support.clients import basic_auth, get
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.patched import patched
from tests.support.reloading import send_sighup
from tests.support.serving import AUTHORIZATION, USERS
from tests.support.waiting import wait_for
from tests.support.web_config import WebConfigFolder


@pytest.fixture
def folder(tmp_path: Path) -> WebConfigFolder:
    """A certificate authority, a server certificate, and a folder for configurations."""
    return WebConfigFolder(tmp_path)


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
