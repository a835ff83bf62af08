"""The check of the running exporter, against servers with all kinds of answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.running_exporter import check
from neuron_exporter.model import SourceState
from neuron_exporter.web import Response, Server
from neuron_exporter.web.config_file import WebConfigFile
from tests.support.doctor import make_context, seen_with
from tests.support.http import serving
from tests.support.web_config import WebConfigFolder, bcrypt_hash

METRICS = """neuron_exporter_build_info{version="0"} 1
neuron_exporter_source_state{state="exited"} 1
neuron_exporter_reports_total 12
neuron_exporter_source_restarts_total{reason="exited"} 4
neuron_exporter_last_report_timestamp_seconds 1000
neuron_exporter_report_period_seconds 5.00047
neuron_exporter_config_last_reload_successful 0
neuron_exporter_sink_up{sink="cloudwatch"} 0
neuron_exporter_sink_requests_total{sink="cloudwatch",outcome="retried"} 3
neuron_exporter_sink_queue_requests{sink="cloudwatch"} 3
"""

SNAPSHOT = '{"source": {"reason": "its last stderr line: bad <driver>"}}'


@contextmanager
def answering(answers: dict[str, tuple[int, str]]) -> Iterator[Context]:
    """Serve these answers, and yield the context of a configuration with the server's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, "no"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield make_context(prometheus__listen=url.removeprefix("http://"))


@contextmanager
def serving_metrics(file: WebConfigFile) -> Iterator[int]:
    """Run the exporter's own server with this web configuration, and yield its port."""
    metrics = Response(METRICS.encode())
    server = Server("127.0.0.1:0", {"/metrics": lambda _: metrics}, lambda: None, file.access)
    server.start()
    try:
        yield server.port
    finally:
        server.close()


def test_unhealthy_exporter() -> None:
    """State, age, losses, reloads and sinks each have a finding."""
    answers = {
        "/metrics": (200, METRICS),
        "/api/v1/snapshot": (200, SNAPSHOT),
        "/healthz": (503, "main is silent"),
    }
    with answering(answers) as context:
        findings = list(check(context))
    failures = seen_with(findings, Verdict.FAILED)
    assert failures[0] == "/healthz: main is silent"
    assert failures[1] == "the state of its source is exited: its last stderr line: bad <driver>"
    assert failures[2].startswith("its last report is ")
    assert failures[2].endswith(" s old (one every 5 s)")
    assert failures[3].startswith("its sink cloudwatch is down: nothing delivered yet, 3 waiting")
    restarts, reload = seen_with(findings, Verdict.WARNING)
    assert restarts == "restarts of the source since its start: exited 4"
    assert reload.startswith("the last config reload failed")
    assert context.is_running


_VERDICTS = {
    "ok": Verdict.OK,
    "starting": Verdict.WARNING,
    "paused": Verdict.WARNING,
    "of_a_later_version": Verdict.SKIPPED,
}


@pytest.mark.parametrize("state", [*SourceState, "of_a_later_version"])
def test_state_of_the_source(state: str) -> None:
    """A source that starts or is paused does not work now, and may work later."""
    metrics = METRICS.replace('state="exited"', f'state="{state}"')
    with answering({"/metrics": (200, metrics)}) as context:
        (found,) = [each for each in check(context) if "state of its source" in each.seen]
    assert found.verdict is _VERDICTS.get(state, Verdict.FAILED)


def test_no_exporter_is_a_warning() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        context = make_context(prometheus__listen=f"127.0.0.1:{free.getsockname()[1]}")
        findings = list(check(context))
    assert seen_with(findings, Verdict.WARNING)[0].startswith("nothing listens at 127.0.0.1:")
    assert not context.is_running


@pytest.mark.parametrize("answer", [(200, "up 1\n"), (200, "<html>"), (404, "no"), (500, "")])
def test_another_program_answers(answer: tuple[int, str]) -> None:
    with answering({"/metrics": answer}) as context:
        (seen,) = seen_with(check(context), Verdict.FAILED)
    assert seen.startswith("another program answers at ")


def test_unreadable_state_is_skipped() -> None:
    (seen,) = seen_with(check(make_context(prometheus__listen="127.0.0.1:0")), Verdict.SKIPPED)
    assert "the port is unknown" in seen
    with answering({"/healthz": (200, "ok")}) as context:
        off = make_context(
            prometheus__listen=context.config.prometheus.listen[0],
            prometheus__enabled=False,
            cloudwatch__enabled=True,
        )
        (seen,) = seen_with(check(off), Verdict.SKIPPED)
    assert "prometheus.enabled is false" in seen


def test_tls_and_authentication(tmp_path: Path) -> None:
    """TLS is supported; a required password or client certificate is reported."""
    folder = WebConfigFolder(tmp_path)
    for sections, expected in (
        ({"tls_server_config": folder.tls}, []),
        ({"tls_server_config": folder.mutual_tls}, ["client certificate"]),
        (
            {"tls_server_config": folder.tls, "basic_auth_users": {"me": bcrypt_hash("x")}},
            ["requires a password"],
        ),
    ):
        with serving_metrics(WebConfigFile(folder.write(**sections))) as port:
            context = make_context(
                prometheus__listen=f"127.0.0.1:{port}",
                prometheus__web_config_file=str(folder.path),
            )
            skipped = seen_with(check(context), Verdict.SKIPPED)
        assert context.is_running
        assert (context.scraped is not None) is (not expected)
        assert len(skipped) == len(expected)
        assert all(words in seen for words, seen in zip(expected, skipped, strict=True))
