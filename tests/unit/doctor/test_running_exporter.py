"""What is made of whoever answers at the exporter's address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from neuron_exporter.doctor import running_exporter as subject
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.running_exporter import examine
from neuron_exporter.web import Response, Server
from neuron_exporter.web.config_file import WebConfigFile
from tests.support.doctoring import case, of
from tests.support.http import serving
from tests.support.web_config import WebFolder, hashed

METRICS = """neuron_exporter_build_info{version="0"} 1
neuron_exporter_source_state{state="exited"} 1
neuron_exporter_reports_total 12
neuron_exporter_source_restarts_total{reason="exited"} 4
neuron_exporter_last_report_timestamp_seconds 1000
neuron_exporter_report_period_seconds 5
neuron_exporter_config_last_reload_successful 0
neuron_exporter_sink_up{sink="cloudwatch"} 0
neuron_exporter_sink_requests_total{sink="cloudwatch",outcome="retried"} 3
neuron_exporter_sink_queue_requests{sink="cloudwatch"} 3
"""

SNAPSHOT = '{"source": {"why": "its last words: bad <driver>"}}'


@contextmanager
def answering(answers: dict[str, tuple[int, str]]) -> Iterator[Case]:
    """The case of a configuration whose address is that of a server with these answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, "no"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield case(prometheus__listen=url.removeprefix("http://"))


@contextmanager
def serving_metrics(file: WebConfigFile) -> Iterator[int]:
    """The exporter's own server with this web configuration; gives its port."""
    metrics = Response(METRICS.encode())
    server = Server("127.0.0.1:0", {"/metrics": lambda _: metrics}, lambda: None, file.access)
    server.start()
    try:
        yield server.port
    finally:
        server.close()


def test_a_sick_exporter_says_what_is_wrong_with_it() -> None:
    """State with its reason, age, losses, reloads and sinks: each that is bad is a finding."""
    answers = {
        "/metrics": (200, METRICS),
        "/api/v1/snapshot": (200, SNAPSHOT),
        "/healthz": (503, "main is silent"),
    }
    with answering(answers) as told:
        findings = list(examine(told))
    bad = of(findings, Verdict.FAILED)
    assert bad[0] == "/healthz: main is silent"
    assert bad[1] == "the state of its source is exited: its last words: bad <driver>"
    assert bad[2].startswith("its last report is ")
    assert bad[3].startswith("its sink cloudwatch is down: nothing delivered yet, 3 waiting")
    restarts, reload = of(findings, Verdict.WARNING)
    assert restarts == "restarts of its source since its start: exited 4"
    assert reload.startswith("the newest config was refused")
    assert told.is_running


def test_nobody_listens() -> None:
    """No exporter is a warning: the doctor may be called before one is started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = case(prometheus__listen=f"127.0.0.1:{free.getsockname()[1]}")
        findings = list(examine(told))
    assert of(findings, Verdict.WARNING)[0].startswith("nobody listens at 127.0.0.1:")
    assert not told.is_running


@pytest.mark.parametrize("answer", [(200, "up 1\n"), (200, "<html>"), (404, "no"), (500, "")])
def test_another_program_at_the_address(answer: tuple[int, str]) -> None:
    """Whatever else answers there keeps the exporter from starting."""
    with answering({"/metrics": answer}) as told:
        (seen,) = of(examine(told), Verdict.FAILED)
    assert seen.startswith("another program answers at ")


def test_somebody_who_accepts_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for no longer than seconds (here a fifth of one)."""
    monkeypatch.setattr(subject, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = case(prometheus__listen=f"127.0.0.1:{silent.getsockname()[1]}")
        (seen,) = of(examine(told), Verdict.FAILED)
    assert "does not answer" in seen


def test_an_unknown_port_and_no_metrics() -> None:
    """What cannot be asked is skipped with its reason."""
    (seen,) = of(examine(case(prometheus__listen="127.0.0.1:0")), Verdict.SKIPPED)
    assert "known to nobody" in seen
    with answering({"/healthz": (200, "ok")}) as told:
        off = case(
            prometheus__listen=told.config.prometheus.listen[0],
            prometheus__enabled=False,
            cloudwatch__enabled=True,
        )
        (seen,) = of(examine(off), Verdict.SKIPPED)
    assert "prometheus.enabled is false" in seen


def test_tls_passwords_and_certificates(tmp_path: Path) -> None:
    """TLS is spoken; what asks for a password or a certificate is skipped, with how to ask it."""
    folder = WebFolder(tmp_path)
    for sections, wanted in (
        ({"tls_server_config": folder.tls}, []),
        ({"tls_server_config": folder.mutual}, ["certificate of the client"]),
        (
            {"tls_server_config": folder.tls, "basic_auth_users": {"me": hashed("x")}},
            ["asks for a password"],
        ),
    ):
        with serving_metrics(WebConfigFile(folder.write(**sections))) as port:
            told = case(
                prometheus__listen=f"127.0.0.1:{port}",
                prometheus__web_config_file=str(folder.path),
            )
            skipped = of(examine(told), Verdict.SKIPPED)
        assert told.is_running
        assert (told.exposed is not None) is (not wanted)
        assert len(skipped) == len(wanted)
        assert all(words in seen for words, seen in zip(wanted, skipped, strict=True))
