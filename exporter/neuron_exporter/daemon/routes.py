"""What the exporter answers over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neuron_exporter.daemon.snapshot_api import Live
from neuron_exporter.daemon.thread_dump import stacks
from neuron_exporter.pipeline.build import Pipeline
from neuron_exporter.report import Masker
from neuron_exporter.sinks.exposition import FORMATS, Format, negotiate, write
from neuron_exporter.web import Request, Response, Route
from neuron_exporter.web.page import files

SNAPSHOT = "/api/v1/snapshot"
"""What the page shows, as JSON."""

REPORT_SECONDS = 7.0
"""That whoever wants a report waits for it: a request has ten."""


def routes(
    pipeline: Pipeline,
    silent_threads: Callable[[], Sequence[str]],
    configuration: Callable[[], Mapping[str, Any]] = dict,
) -> dict[str, Route]:
    """The routes of a pipeline; `silent_threads` names the threads that seem to be dead,
    `configuration` tells where it comes from and what became of its last reload."""
    endpoints = Endpoints(pipeline, silent_threads)
    known: dict[str, Route] = {
        "/healthz": endpoints.healthz,
        "/readyz": endpoints.readyz,
    }
    if pipeline.prometheus is not None:
        known["/metrics"] = endpoints.metrics
    links = [*sorted(known), SNAPSHOT]
    if pipeline.config.web.page:
        known |= {"/debug/threads": endpoints.threads, "/debug/report": endpoints.report}
        known |= files()
        known[SNAPSHOT] = Live(pipeline, configuration, tuple(links)).answer
    return known


class Endpoints:
    """Answers from the parts of one pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        silent_threads: Callable[[], Sequence[str]],
    ) -> None:
        self._pipeline = pipeline
        self._silent_threads = silent_threads
        self._counted: tuple[object, dict[Format, bytes]] = None, {}

    def metrics(self, request: Request) -> Response:
        """The hardware's series and the exporter's own, in the format that is asked for."""
        assert self._pipeline.prometheus is not None  # noqa: S101 (there is no such route else)
        started, now = time.perf_counter(), time.monotonic()
        telemetry, sink = self._pipeline.telemetry, self._pipeline.prometheus
        format = negotiate(request.header("Accept"))
        hardware = sink.expose(now, format)
        own = write(telemetry.registry.collect(), format)
        counts = self._series_counts(sink.series(now), format)
        telemetry.scrape_seconds.observe(time.perf_counter() - started)
        return Response((hardware, own, counts, format.end), format.content_type)

    def _series_counts(self, series: Mapping[str, int], format: Format) -> bytes:
        """How many series there are, written anew only when there are others."""
        counted, texts = self._counted
        if counted is not series:
            family = self._pipeline.telemetry.series_counts(series)
            texts = {each: write([family], each) for each in FORMATS}
            self._counted = series, texts
        return texts[format]

    def healthz(self, _: Request) -> Response:
        """Whether every thread lives; the source and the sinks may be as sick as they want."""
        silent = self._silent_threads()
        if silent:
            return Response(f"no sign of life from {', '.join(silent)}\n".encode(), status=503)
        return Response(b"ok\n")

    def readyz(self, _: Request) -> Response:
        """Whether the first attempt to get a report has ended, well or badly."""
        if not self._pipeline.intake.has_verdict:
            return Response(b"waiting for the first report\n", status=503)
        return Response(b"ready\n")

    def threads(self, _: Request) -> Response:
        """What every thread is doing, for the support bundle."""
        return Response(stacks().encode())

    def report(self, _: Request) -> Response:
        """The next report, names and ids masked, for the support bundle."""
        line = self._pipeline.intake.next_report(REPORT_SECONDS)
        if line is None:
            late = f"no report within {REPORT_SECONDS:g} s, or somebody else waits for one\n"
            return Response(late.encode(), status=503)
        return Response(Masker().line(line) + b"\n", "application/json")
