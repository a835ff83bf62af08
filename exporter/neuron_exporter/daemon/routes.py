"""HTTP routes of the exporter."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from neuron_exporter.daemon.snapshot_api import SnapshotEndpoint
from neuron_exporter.model import Labels
from neuron_exporter.pipeline.build import Pipeline
from neuron_exporter.report import Masker
from neuron_exporter.sinks.exposition import FORMATS, Format, negotiate, write
from neuron_exporter.text import truncated_repr
from neuron_exporter.web import Request, Response, Route
from neuron_exporter.web.hosts import AllowedHosts, own_names
from neuron_exporter.web.page import page_routes

SNAPSHOT = "/api/v1/snapshot"
"""The data of the page as JSON."""

REPORT_SECONDS = 7.0
"""Time that /debug/report waits for a report; a request may take ten seconds."""

_MAX_SHOWN = 100


def routes(
    pipeline: Pipeline,
    silent_threads: Callable[[], Sequence[str]],
    configuration: Callable[[], Mapping[str, Any]] = dict,
) -> dict[str, Route]:
    """Return the handler of each path.

    Args:
        silent_threads: returns the names of unresponsive threads.
        configuration: returns the file and the result of the last reload.
    """
    endpoints = Endpoints(pipeline, silent_threads)
    handlers: dict[str, Route] = {"/healthz": endpoints.healthz, "/readyz": endpoints.readyz}
    if pipeline.prometheus is not None:
        handlers["/metrics"] = endpoints.metrics
    links = [*sorted(handlers), SNAPSHOT]
    # The same under the names that Prometheus' own servers have.
    handlers |= {"/-/healthy": endpoints.healthz, "/-/ready": endpoints.readyz}
    if pipeline.config.web.page:
        handlers |= page_routes()
        hosts = _allowed_hosts(pipeline)
        snapshot = SnapshotEndpoint(pipeline, configuration, tuple(links)).handle
        handlers[SNAPSHOT] = _for_allowed_hosts(snapshot, hosts)
        for name in ("threads", "report"):
            local = _for_local_clients(getattr(endpoints, name))
            handlers[f"/debug/{name}"] = _for_allowed_hosts(local, hosts)
    return handlers


def _allowed_hosts(pipeline: Pipeline) -> AllowedHosts:
    settings = pipeline.config.prometheus
    listen = (address.rpartition(":")[0].strip("[]") for address in settings.listen)
    node = pipeline.identity.machine().node_name
    known = (*settings.allowed_hosts, *listen, node, *own_names())
    return AllowedHosts(name for name in known if name)


def _for_allowed_hosts(route: Route, hosts: AllowedHosts) -> Route:
    """Refuse requests that a page of another site may have sent, unless clients authenticate."""

    def handle(request: Request) -> Response:
        host = request.header("Host")
        if request.is_authenticated or hosts.admits(host):
            return route(request)
        message = (
            f"The exporter does not know the host name {truncated_repr(host, _MAX_SHOWN)} and "
            "serves no data by it. Add it to prometheus.allowed_hosts, use an address of the "
            "machine, or configure authentication.\n"
        )
        return Response(message.encode(), status=421)

    return handle


def _for_local_clients(route: Route) -> Route:
    """Refuse clients on other machines, unless clients authenticate."""

    def handle(request: Request) -> Response:
        if request.is_authenticated or _is_loopback(request.client):
            return route(request)
        message = (
            "The exporter serves /debug to loopback addresses only (127.0.0.1, ::1). For other "
            "clients, configure authentication (prometheus.web_config_file).\n"
        )
        return Response(message.encode(), status=403)

    return handle


def _is_loopback(client: str) -> bool:
    try:
        return ip_address(client).is_loopback
    except ValueError:
        return False


class Endpoints:
    """Handlers that read from the parts of a pipeline."""

    def __init__(self, pipeline: Pipeline, silent_threads: Callable[[], Sequence[str]]) -> None:
        self._pipeline = pipeline
        self._silent_threads = silent_threads
        self._series_texts: tuple[object, dict[Format, bytes]] = None, {}

    def metrics(self, request: Request) -> Response:
        """Return the series of the hardware and of the exporter in the negotiated format."""
        assert self._pipeline.prometheus is not None  # noqa: S101 # the route exists only with the sink
        started, now = time.perf_counter(), time.monotonic()
        telemetry, sink = self._pipeline.telemetry, self._pipeline.prometheus
        format = negotiate(request.header("Accept"))
        own = write(telemetry.registry.collect(), format, sink.labels)
        # Last, to show the samples of every counted report.
        hardware = sink.expose_parts(now, format)
        counts = self._series_counts(sink.series(now), format, sink.labels)
        telemetry.scrape_seconds.observe(time.perf_counter() - started)
        return Response((*hardware, own, counts, format.end), format.content_type)

    def _series_counts(self, series: Mapping[str, int], format: Format, labels: Labels) -> bytes:
        """Return the exposition of the series counts, cached until the counts change."""
        counted, texts = self._series_texts
        if counted is not series:
            family = self._pipeline.telemetry.series_counts(series)
            texts = {each: write([family], each, labels) for each in FORMATS}
            self._series_texts = series, texts
        return texts[format]

    def healthz(self, _: Request) -> Response:
        """Report whether every thread responds, whatever the state of the source and the sinks."""
        silent = self._silent_threads()
        if silent:
            return Response(f"threads do not respond: {', '.join(silent)}\n".encode(), status=503)
        return Response(b"ok\n")

    def readyz(self, _: Request) -> Response:
        """Report whether the first attempt to get a report has ended, with or without success."""
        if not self._pipeline.processor.is_ready:
            return Response(b"waiting for the first report\n", status=503)
        return Response(b"ready\n")

    def threads(self, _: Request) -> Response:
        """Return the stacks of all threads, for the support bundle: positions in the code, without
        values."""
        frames = sys._current_frames()
        stacks = [
            f"{thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}"
            for thread in sorted(threading.enumerate(), key=lambda each: each.name)
            if thread.ident in frames
        ]
        return Response("\n".join(stacks).encode())

    def report(self, _: Request) -> Response:
        """Return the next report with names and IDs masked, for the support bundle."""
        line = self._pipeline.processor.next_report(REPORT_SECONDS)
        if line is None:
            message = f"no report within {REPORT_SECONDS:g} s, or another request waits for one\n"
            return Response(message.encode(), status=503)
        try:
            return Response(Masker().mask_line(line) + b"\n", "application/json")
        except ValueError as error:  # a part that the exporter does not read is not JSON
            return Response(f"the report cannot be masked: {error}\n".encode(), status=503)
