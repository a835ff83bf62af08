"""Check the exporter that runs with this configuration, through its HTTP routes."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator

from neuron_exporter import __version__
from neuron_exporter.address_file import local_address
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject
from neuron_exporter.doctor.remedies import BY_STATE
from neuron_exporter.doctor.scraped import ScrapedMetrics, parse_snapshot
from neuron_exporter.doctor.server import NO_ANSWER, Server
from neuron_exporter.model import SourceState

SUBJECT = Subject("exporter")

_MAX_PERIODS, _MIN_MAX_AGE = 3, 15.0
_HARMLESS = (SourceState.STARTING, SourceState.PAUSED)

_LOSS_COUNTERS = {
    "source_restarts": "restarts of the source",
    "report_errors": "invalid lines and fields",
    "sink_dropped_requests": "dropped requests and windows",
    "sysfs_errors": "problems with the driver's files",
    "kernel_log_errors": "problems with the kernel's log",
}
"""Counters by reason that stay 0 while all is well, and what they count."""


def check(context: Context) -> Iterator[Finding]:
    """Read the exporter's metrics and snapshot, and report what they show."""
    address = context.config.prometheus.listen[0]
    host, _, port = address.rpartition(":")
    if port == "0":
        seen = f"prometheus.listen is {address}: the port is unknown until the exporter starts"
        yield SUBJECT.skipped(seen)
        return
    web = context.pipeline.web_config if context.pipeline is not None else None
    has_tls = web is not None and web.access().tls is not None
    context.server = server = Server(local_address(host, port), has_tls)
    try:
        status, body = server.get("/metrics")
    except ConnectionRefusedError:
        yield SUBJECT.warning(
            f"nothing listens at {address}: no exporter runs with this configuration",
            "start it; if it ended, the log of its service or container has the reason; the checks "
            "below do not need it",
        )
        return
    except NO_ANSWER as error:
        context.is_running = True
        yield _no_answer(address, error, tls=server.tls)
        return
    context.is_running = True
    if status == 401:
        yield SUBJECT.skipped(
            f"it listens at {address} and requires a password, which the configuration does not "
            "have (only a hash of it): its state cannot be read",
            "curl -u USER http(s)://HOST:PORT/metrics | grep neuron_exporter_",
        )
        return
    if status == 404 and not context.config.prometheus.enabled:
        yield from _healthz(server)
        _read_snapshot(context, server)
        yield SUBJECT.skipped("prometheus.enabled is false: its state cannot be read")
        return
    try:
        context.scraped = ScrapedMetrics(body.decode("utf-8", "replace"))
    except ValueError:
        context.is_running = False
        yield SUBJECT.failed(
            f"another program answers at {address} (/metrics: status {status})",
            "set another prometheus.listen for the exporter, or end that program",
        )
        return
    context.metrics = body
    version = context.scraped.label("neuron_exporter_build_info", "version")
    other = "" if version == __version__ else f" (this doctor is version {__version__})"
    reports = context.scraped.value("neuron_exporter_reports_total") or 0
    yield SUBJECT.ok(f"answers at {address}, version {version}{other}, {reports:.0f} reports read")
    yield from _healthz(server)
    _read_snapshot(context, server)
    if context.is_bundled:
        context.threads = server.body("/debug/threads")
        context.masked_report = server.body("/debug/report", timeout=10.0)
    snapshot = parse_snapshot(context.snapshot)
    yield from _state(context.scraped, snapshot.source.reason)
    yield from _age(context.scraped, context.config.source.period)
    yield from _losses(context.scraped)
    yield from _reloads(context.scraped)
    yield from _sinks(context.scraped, snapshot.sinks.state)


def _read_snapshot(context: Context, server: Server) -> None:
    if context.config.web.page:
        context.snapshot = server.body("/api/v1/snapshot")


def _state(scraped: ScrapedMetrics, reason: str) -> Iterator[Finding]:
    name = scraped.source_state
    try:
        state = SourceState(name)
    except ValueError:
        yield SUBJECT.skipped(f"this doctor does not know the state of its source: {name!r}")
        return
    seen = f"the state of its source is {state.value}" + (f": {reason}" if reason else "")
    if state is SourceState.OK:
        yield SUBJECT.ok(seen)
    elif state in _HARMLESS:
        yield SUBJECT.warning(seen, BY_STATE[state])
    else:
        yield SUBJECT.failed(seen, BY_STATE[state])


def _age(scraped: ScrapedMetrics, configured: float) -> Iterator[Finding]:
    at = scraped.value("neuron_exporter_last_report_timestamp_seconds") or 0.0
    if not at:
        return
    period = scraped.value("neuron_exporter_report_period_seconds") or configured
    age = time.time() - at
    seen = f"its last report is {age:.1f} s old (one every {period:.3g} s)"
    if age <= max(_MAX_PERIODS * period, _MIN_MAX_AGE):
        yield SUBJECT.ok(seen)
    else:
        fix = "hardware series are absent until the next report: check the source lines"
        yield SUBJECT.failed(seen, fix)


def _losses(scraped: ScrapedMetrics) -> Iterator[Finding]:
    for name, counted in _LOSS_COUNTERS.items():
        counts = scraped.values_by(f"neuron_exporter_{name}_total", "reason")
        reasons = ", ".join(f"{key} {count:.0f}" for key, count in sorted(counts.items()) if count)
        if reasons:
            seen = f"{counted} since its start: {reasons}"
            yield SUBJECT.warning(seen, "see the log: the first loss of each kind is logged")


def _reloads(scraped: ScrapedMetrics) -> Iterator[Finding]:
    for kind in ("config", "web_config"):
        if scraped.value(f"neuron_exporter_{kind}_last_reload_successful") == 0:
            yield SUBJECT.warning(
                f"the last {kind.replace('_', ' ')} reload failed; the previous one is active",
                f"read the log event {kind}_reload_rejected; some keys require a restart",
            )


def _sinks(scraped: ScrapedMetrics, state_of: Callable[[str], str]) -> Iterator[Finding]:
    """Report whether each sink that can fail delivers, and why it does not."""
    for sink, up in scraped.values_by("neuron_exporter_sink_up", "sink").items():
        waiting = scraped.value("neuron_exporter_sink_queue_requests", sink=sink) or 0
        at = scraped.value("neuron_exporter_sink_last_success_timestamp_seconds", sink=sink) or 0
        last = f"last delivery {time.time() - at:.0f} s ago" if at else "nothing delivered yet"
        seen = f"its sink {sink} {'delivers' if up else 'is down'}: {last}, {waiting:.0f} waiting"
        if up:
            yield SUBJECT.ok(seen)
            continue
        state = state_of(sink)
        seen += f"; {state}" if state else ""
        counters = ("requests", "errors")
        names = (f"neuron_exporter_sink_{each}_total" for each in counters)
        if all(scraped.value(name, sink=sink) is None for name in names):
            yield SUBJECT.warning(seen, "wait: the first window is sent within two intervals")
        else:
            yield SUBJECT.failed(seen, f"check the {sink} lines below")


def _healthz(server: Server) -> Iterator[Finding]:
    reason = server.body("/healthz", status=503).decode("utf-8", "replace").strip()
    if reason:
        fix = "restart it, and report this bug, with the file that --bundle writes"
        yield SUBJECT.failed(f"/healthz: {reason}", fix)


def _no_answer(address: str, error: Exception, *, tls: bool) -> Finding:
    # A server that requires a certificate sends an alert or a reset, whichever is read first.
    if tls and isinstance(error, ssl.SSLError | ConnectionError):
        return SUBJECT.skipped(
            f"it listens at {address} and closes the connection, probably because it requires a "
            "client certificate: its state cannot be read",
            "curl --cert FILE --key FILE -k https://HOST:PORT/metrics | grep neuron_exporter_",
        )
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return SUBJECT.failed(
        f"a program listens at {address} and does not answer: {reason}",
        "if it is the exporter, restart it; if not, one of the two needs another address",
    )
