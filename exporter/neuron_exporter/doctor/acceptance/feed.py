"""The source of the reports: neuron-monitor, or an exporter that runs it already."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue

from neuron_exporter.config import ConfigError
from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.server import NO_ANSWER, Server
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import SourceState, Timestamp
from neuron_exporter.pipeline.source import groups_of, make_source, source_kind
from neuron_exporter.source import Source, SourceError, SourceListener
from neuron_exporter.text import safe_message

REPORT = "/debug/report"
"""Route that returns the next report, masked."""

_REQUEST_TIMEOUT = 12.0
_RETRY_DELAY = 0.5
_MAX_SILENCE = 60.0
_BUSY = 503


class FeedError(Exception):
    """No reports can be read here; the message says what to do."""


class ExporterFeed:
    """Source of the reports of a running exporter.

    It asks for the next report again and again: no second neuron-monitor is started, which would
    use one of the 16 process slots of each device.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._answers: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._is_stopped = threading.Event()

    def run(self, listener: SourceListener) -> None:
        """Pass each report to the listener until `stop`.

        Raises:
            SourceError: the exporter does not return reports.
        """
        threading.Thread(target=self._request, name="reports", daemon=True).start()
        last = time.monotonic()
        while not self._is_stopped.is_set():
            try:
                answer = self._answers.get(timeout=_REQUEST_TIMEOUT)
            except Empty:
                answer = 0, b"no answer"
            if answer is None:
                return
            status, body = answer
            if status == 200:
                last = time.monotonic()
                listener.on_line(memoryview(body.rstrip(b"\n")), Timestamp(time.time(), last))
            elif status not in (0, _BUSY) or time.monotonic() - last > _MAX_SILENCE:
                text = safe_message(body.decode("utf-8", "replace").strip())
                raise SourceError(f"the running exporter answers {status or 'nothing'}: {text}")

    def stop(self) -> None:
        """Make `run` return soon. It may be called from a signal handler."""
        self._is_stopped.set()
        self._answers.put(None)

    def pause_or_resume(self) -> bool | None:
        """Return None: the reports of another process cannot be paused."""
        return None

    def _request(self) -> None:
        while not self._is_stopped.is_set():
            try:
                answer = self._server.get(REPORT, _REQUEST_TIMEOUT)
            except NO_ANSWER as error:
                answer = 0, str(error).encode()
            self._answers.put(answer)
            if answer[0] != 200:
                self._is_stopped.wait(_RETRY_DELAY)


def make_feed(context: Context, evidence: Evidence) -> Source:
    """Return the source, and note its properties in the evidence.

    Raises:
        FeedError: an exporter runs whose reports cannot be read.
        ConfigError: the section `source` is invalid.
    """
    config = context.config.source
    evidence.max_line = config.max_line
    is_configured = config.kind in ("neuron-monitor", "simulator")
    evidence.period = config.period if is_configured else None
    if context.is_running:
        if is_configured and context.pipeline is not None:
            evidence.requested = groups_of(context.pipeline.rows)
        evidence.is_masked, evidence.source = True, "the running exporter (masked by it)"
        return _beside(context)
    if context.pipeline is None:
        raise ConfigError(["the configuration is invalid: `neuron-exporter check` has the errors"])
    if is_configured:
        evidence.requested = groups_of(CATALOGUE)
    evidence.is_own_child, evidence.source = is_configured, source_kind(config)
    return make_source(context.loaded, CATALOGUE)


def _beside(context: Context) -> ExporterFeed:
    if context.scraped is None or context.server is None:
        raise FeedError(
            "an exporter runs here and its state cannot be read (`neuron-exporter doctor` prints "
            "the reason); stop it during the check, or run it without authentication"
        )
    if context.scraped.source_state == SourceState.PAUSED:
        raise FeedError(
            "the exporter is paused, perhaps to reset the driver: resume it with SIGUSR1 first"
        )
    if not context.config.web.page:
        raise FeedError(
            f"the running exporter has no {REPORT} (web.page is false); set web.page to true, or "
            "stop the exporter during the check"
        )
    return ExporterFeed(context.server)
