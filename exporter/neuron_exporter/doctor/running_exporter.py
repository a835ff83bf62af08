"""The exporter that runs with this configuration, if one does: asked at its own address."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple

from neuron_exporter import __version__
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, failed, ok, skipped, warning
from neuron_exporter.doctor.remedies import BY_STATE
from neuron_exporter.doctor.scraped import Exposed
from neuron_exporter.doctor.snapshot import CloudWatch, read
from neuron_exporter.model import SourceState

SUBJECT = "exporter"

_SECONDS = 3.0
_LARGEST = 32 * 2**20
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared)
_MOST_PERIODS, _LEAST_PATIENCE = 3, 15.0
_HARMLESS = (SourceState.STARTING, SourceState.PAUSED)

_COUNTED = (
    ("source_restarts", "reason", "restarts of its source"),
    ("report_errors", "reason", "lines and readings that could not be used"),
    ("sink_dropped_requests", "reason", "requests and windows given up"),
)
"""Counters that are 0 where all has always been well: name, label, and what they count."""


class _Reply(NamedTuple):
    status: int
    body: bytes


def examine(case: Case) -> Iterator[Finding]:
    """Ask it how it is."""
    address = case.config.prometheus.listen[0]
    host, _, port = address.rpartition(":")
    if port == "0":
        yield skipped(SUBJECT, f"prometheus.listen is {address}: its port is known to nobody")
        return
    host = _LOOPBACK.get(host.strip("[]"), host.strip("[]"))
    tls = _has_tls(case)
    try:
        reply = _get(host, int(port), "/metrics", tls=tls)
    except ConnectionRefusedError:
        yield warning(
            SUBJECT,
            f"nobody listens at {address}: no exporter runs with this configuration",
            "start it, or read in the log of its service or container why it ended; everything "
            "below is found out without it",
        )
        return
    except (OSError, ValueError, HTTPException) as error:
        case.is_running = True
        yield _unasked(address, error, tls=tls)
        return
    case.is_running = True
    if reply.status == 401:
        yield skipped(
            SUBJECT,
            f"it listens at {address} and asks for a password, of which only hashes are known "
            "here: its state cannot be asked",
            "curl -u USER http(s)://HOST:PORT/metrics | grep neuron_exporter_",
        )
        return
    if reply.status == 404 and not case.config.prometheus.enabled:
        yield from _healthz(host, int(port), tls=tls)
        yield skipped(SUBJECT, "prometheus.enabled is false: its state cannot be asked")
        return
    try:
        case.exposed = Exposed(reply.body.decode("utf-8", "replace"))
    except ValueError:
        case.is_running = False
        yield failed(
            SUBJECT,
            f"another program answers at {address} (/metrics: status {reply.status})",
            "give the exporter another prometheus.listen, or end that program",
        )
        return
    case.metrics = reply.body
    yield ok(SUBJECT, f"answers at {address}, {_told(case.exposed)}")
    yield from _healthz(host, int(port), tls=tls)
    if case.config.web.page:
        case.snapshot = _body(host, int(port), "/api/v1/snapshot", tls=tls)
    if case.bundled:
        case.threads = _body(host, int(port), "/debug/threads", tls=tls)
        case.masked_report = _body(host, int(port), "/debug/report", tls=tls, seconds=10.0)
    told = read(case.snapshot)
    yield from _state(case.exposed, told.source.why)
    yield from _age(case.exposed, case.config.source.period)
    yield from _losses(case.exposed)
    yield from _reloads(case.exposed)
    yield from _sinks(case.exposed, told.sinks.cloudwatch)


def _told(exposed: Exposed) -> str:
    version = exposed.label("neuron_exporter_build_info", "version")
    other = "" if version == __version__ else f" (this doctor is of {__version__})"
    reports = exposed.value("neuron_exporter_reports_total") or 0
    return f"version {version}{other}, {reports:.0f} reports read"


def _state(exposed: Exposed, why: str) -> Iterator[Finding]:
    name = exposed.source_state
    try:
        state = SourceState(name)
    except ValueError:
        yield skipped(SUBJECT, f"it knows a state of its source that is unknown here: {name!r}")
        return
    seen = f"the state of its source is {state.value}" + (f": {why}" if why else "")
    if state is SourceState.OK:
        yield ok(SUBJECT, seen)
    elif state in _HARMLESS:
        yield warning(SUBJECT, seen, BY_STATE[state])
    else:
        yield failed(SUBJECT, seen, BY_STATE[state])


def _age(exposed: Exposed, configured: float) -> Iterator[Finding]:
    at = exposed.value("neuron_exporter_last_report_timestamp_seconds") or 0.0
    if not at:
        return
    period = exposed.value("neuron_exporter_report_period_seconds") or configured
    age = time.time() - at
    seen = f"its last report is {age:.1f} s old, with one every {period:g} s"
    if age <= max(_MOST_PERIODS * period, _LEAST_PATIENCE):
        yield ok(SUBJECT, seen)
    else:
        yield failed(SUBJECT, seen, "no hardware series is shown until the next; see the source")


def _losses(exposed: Exposed) -> Iterator[Finding]:
    for name, label, what in _COUNTED:
        counts = exposed.by(f"neuron_exporter_{name}_total", label)
        told = ", ".join(f"{why} {count:.0f}" for why, count in sorted(counts.items()) if count)
        if told:
            yield warning(
                SUBJECT, f"{what} since its start: {told}", "the log names each kind once"
            )


def _reloads(exposed: Exposed) -> Iterator[Finding]:
    for what in ("config", "web_config"):
        if exposed.value(f"neuron_exporter_{what}_last_reload_successful") == 0:
            yield warning(
                SUBJECT,
                f"the newest {what.replace('_', ' ')} was refused: an older one is in use",
                "the log says why (config_refused); what needs a restart takes effect by one",
            )


def _sinks(exposed: Exposed, cloudwatch: CloudWatch) -> Iterator[Finding]:
    """How its sinks are that can be up or down, and why."""
    for sink, up in exposed.by("neuron_exporter_sink_up", "sink").items():
        waiting = exposed.value("neuron_exporter_sink_queue_requests", sink=sink) or 0
        at = exposed.value("neuron_exporter_sink_last_success_timestamp_seconds", sink=sink) or 0
        last = f"last delivery {time.time() - at:.0f} s ago" if at else "nothing delivered yet"
        seen = f"its sink {sink} {'delivers' if up else 'is down'}: {last}, {waiting:.0f} waiting"
        if up:
            yield ok(SUBJECT, seen)
            continue
        seen += f"; {cloudwatch.state}" if cloudwatch.state else ""
        tried = exposed.value("neuron_exporter_sink_requests_total", sink=sink)
        if tried is None and not exposed.by("neuron_exporter_sink_errors_total", "code"):
            yield warning(SUBJECT, seen, "wait: the first window is sent within two intervals")
        else:
            yield failed(SUBJECT, seen, f"see what is said of {sink} below")


def _healthz(host: str, port: int, *, tls: bool) -> Iterator[Finding]:
    try:
        reply = _get(host, port, "/healthz", tls=tls)
    except (OSError, ValueError, HTTPException):
        return
    if reply.status == 503:
        silent = reply.body.decode("utf-8", "replace").strip()
        yield failed(SUBJECT, f"/healthz: {silent}", "restart it, and report this with --bundle")


def _body(host: str, port: int, path: str, *, tls: bool, seconds: float = _SECONDS) -> bytes:
    try:
        reply = _get(host, port, path, tls=tls, seconds=seconds)
    except (OSError, ValueError, HTTPException):
        return b""
    return reply.body if reply.status == 200 else b""


def _unasked(address: str, error: Exception, *, tls: bool) -> Finding:
    # A server that wants a certificate ends with an alert or a reset, whichever is read first.
    if tls and isinstance(error, ssl.SSLError | ConnectionError):
        return skipped(
            SUBJECT,
            f"it listens at {address} and ends the connection, as where it wants a certificate of "
            "the client: its state cannot be asked",
            "curl --cert FILE --key FILE -k https://HOST:PORT/metrics | grep neuron_exporter_",
        )
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return failed(
        SUBJECT,
        f"somebody listens at {address} and does not answer: {reason}",
        "if it is the exporter, restart it; if not, one of the two needs another address",
    )


def _has_tls(case: Case) -> bool:
    web = case.pipeline.web_config if case.pipeline is not None else None
    return web is not None and web.access().tls is not None


def _get(host: str, port: int, path: str, *, tls: bool, seconds: float = _SECONDS) -> _Reply:
    """The answer to a request. Whose certificate it is does not matter: nothing secret is sent."""
    connection: HTTPConnection
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection(host, port, timeout=seconds, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path)
        with connection.getresponse() as response:
            body = response.read(_LARGEST + 1)
    finally:
        connection.close()
    if len(body) > _LARGEST:
        raise ValueError("its answer does not end")
    return _Reply(response.status, body)
