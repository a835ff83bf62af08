"""The acceptance reads the reports of a running exporter over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from neuron_exporter.doctor.acceptance import feed as subject
from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.feed import ExporterFeed, FeedError, make_feed
from neuron_exporter.doctor.acceptance.listener import AcceptanceListener
from neuron_exporter.doctor.acceptance.recording import Recording
from neuron_exporter.doctor.server import Server
from neuron_exporter.source import SourceError
from tests.support.children import LINE
from tests.support.doctor import make_context
from tests.support.http import serving


@contextmanager
def answering(*answers: tuple[int, bytes]) -> Iterator[tuple[Server, threading.Event]]:
    """Answer requests in turn, and then none; yield the server, and an event for the last one."""
    left, exhausted = list(answers), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/debug/report"
            if not left:
                exhausted.set()
                ended.wait(60)
                return
            status, body = left.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    ended = threading.Event()
    with serving(Handler) as url:
        yield Server(url.removeprefix("http://"), tls=False), exhausted
        ended.set()


@contextmanager
def listening(feed: ExporterFeed, folder: Path) -> Iterator[tuple[AcceptanceListener, Evidence]]:
    """Yield a listener with its evidence, which records into this folder."""
    recording = Recording(str(folder / "reports.ndjson"))
    evidence = Evidence(is_masked=True)
    try:
        yield AcceptanceListener(feed, evidence, recording, print), evidence
    finally:
        recording.close()


def test_next_reports_until_the_stop(tmp_path: Path) -> None:
    """A busy exporter is asked again, and the end does not wait for another report."""
    with answering((200, LINE), (503, b"another request waits"), (200, LINE)) as (server, last):
        feed = ExporterFeed(server)
        with listening(feed, tmp_path) as (listener, evidence):
            stopping = threading.Thread(target=lambda: last.wait(60) and feed.stop())
            stopping.start()
            feed.run(listener)
            stopping.join()
    assert evidence.stream.reports == 2
    assert len((tmp_path / "reports.ndjson").read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    "answer", [(404, b"not found"), (403, b"only loopback"), (421, b"unknown host")]
)
def test_refused_requests(tmp_path: Path, answer: tuple[int, bytes]) -> None:
    with answering(answer) as (server, _):
        feed = ExporterFeed(server)
        status, body = answer
        expected = f"the running exporter answers {status}: {body.decode()}"
        with listening(feed, tmp_path) as (listener, _), pytest.raises(SourceError, match=expected):
            feed.run(listener)


def test_exporter_that_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_MAX_SILENCE", 0.2)
    monkeypatch.setattr(subject, "_RETRY_DELAY", 0.05)
    with answering() as (server, _):
        pass
    feed = ExporterFeed(server)
    with listening(feed, tmp_path) as (listener, _), pytest.raises(SourceError, match="nothing"):
        feed.run(listener)
    assert not (tmp_path / "reports.ndjson").exists()


def test_exporter_whose_state_cannot_be_read() -> None:
    """It may require a password: no second neuron-monitor is started beside it."""
    context = make_context()
    context.is_running = True
    with pytest.raises(FeedError, match="an exporter runs here and its state cannot be read"):
        make_feed(context, Evidence())


def test_stream_that_the_exporter_has_not_configured(tmp_path: Path) -> None:
    """Its period and its groups are not judged."""
    path = tmp_path / "reports.ndjson"
    path.write_bytes(LINE)
    evidence = Evidence()
    make_feed(make_context(source__kind="file", source__path=str(path)), evidence)
    assert (evidence.period, evidence.requested, evidence.is_own_child) == (
        None,
        frozenset(),
        False,
    )
