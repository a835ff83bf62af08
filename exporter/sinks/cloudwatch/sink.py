"""The thread that sends windows when they are due, and keeps what could not be sent."""

from __future__ import annotations

import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.log import get_logger
from exporter.model import Machine, Pooling, Selection, Snapshot
from exporter.sinks.cloudwatch.datums import Datum, count_metrics, datums, heartbeats, requests
from exporter.sinks.cloudwatch.plan import FIELDS, Dimensions, resolve
from exporter.sinks.cloudwatch.transport import Outcome, Transport, Verdict
from exporter.sinks.cloudwatch.window import Window, Windows
from exporter.telemetry import Telemetry

NAME = "cloudwatch"

IDENTITY_PATIENCE = 60.0
"""Seconds that windows wait for the fields that their dimension sets name."""

MOST_QUEUED = 120
"""Requests that wait for another attempt: two hours of a standard machine."""

_RESENT_PER_CYCLE = 10
_SPREAD = 0.8
_LONGEST_WAIT = 5.0

_log = get_logger(sink=NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to send where. `interval` is a window's length in seconds."""

    namespace: str
    region: str | None
    interval: float
    dimension_sets: Sequence[Sequence[str]]
    extra_dimensions: Mapping[str, str] = field(default_factory=dict)
    spread: bool = True


class CloudWatchSink:
    """Gathers snapshots in windows and delivers these, each at least once, from its own thread."""

    def __init__(
        self,
        selection: Selection,
        settings: Settings,
        identity: Callable[[], Machine],
        connect: Callable[[str], Transport],
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`connect` opens a transport to a region; it is called from the sink's thread."""
        self.selection = selection
        self._settings = settings
        self._identity = identity
        self._connect = connect
        self._telemetry = telemetry
        self._clock = clock
        self._windows = Windows(selection, settings.interval)
        self._heartbeat_names = {
            metric.name
            for row in selection.rows
            for metric in row.cloudwatch
            if metric.pooling is Pooling.HEARTBEAT
        }
        self._transport: Transport | None = None
        self._dimensions: list[Dimensions] = []
        self._held: list[Window] = []
        self._queue: deque[list[Datum]] = deque()
        self._started = clock()
        self._next_end = self._windows.start_of(self._started) + settings.interval
        self._trouble = ""
        self._rejected: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        telemetry.sink_up.labels(NAME).set(0)
        telemetry.sink_queue.labels(NAME).set(0)

    # From other threads.

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def offer(self, snapshot: Snapshot) -> None:
        """Gather a snapshot. Never waits for the network."""
        self._windows.add(snapshot)

    def close(self, timeout: float) -> bool:
        """Send what is left, in at most `timeout` seconds; gives whether the thread has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def status(self) -> Mapping[str, str]:
        """How the sink is, for people."""
        state = self._trouble or (
            "delivering" if self._transport else "waiting for its first window"
        )
        return {"state": state, "queued requests": str(len(self._queue))}

    # The sink's thread.

    def _run(self) -> None:
        while not self._stopping.wait(self._pause()):
            self._safely(self._cycle)
        self._safely(self._flush_rest)
        if self._queue or self._held:
            _log.warning("data_lost", requests=len(self._queue), windows=len(self._held))
        if self._transport is not None:
            self._transport.close()

    def _safely(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 (one sink never takes another down)
            self._telemetry.sink_errors.labels(NAME, type(error).__name__).inc()
            self._say_trouble(type(error).__name__, f"internal error: {error}")
            self._next_end = self._windows.start_of(self._clock()) + self._settings.interval

    def _pause(self) -> float:
        """Seconds until the next window is due; short enough to see the clock being set."""
        now = self._clock()
        if self._next_end > now + 2 * self._settings.interval:
            self._next_end = self._windows.start_of(now) + self._settings.interval
        return min(_LONGEST_WAIT, max(0.0, self._next_end + self._delay() - now))

    def _delay(self) -> float:
        """The same share of the interval on every day: machines of a fleet send one by one."""
        name = self._identity().instance_id
        if not self._settings.spread or not name:
            return 0.0
        return self._settings.interval * _SPREAD * zlib.crc32(name.encode()) / 2**32

    def _cycle(self) -> None:
        now = self._clock()
        if now < self._next_end + self._delay():
            return
        until = self._windows.start_of(now - self._delay())
        self._next_end = until + self._settings.interval
        self._held += self._windows.take(until)
        if self._is_ready(now):
            held, self._held = self._held, []
            if self._send_live(held):
                self._send_queued()
        self._telemetry.sink_queue.labels(NAME).set(len(self._queue))

    def _flush_rest(self) -> None:
        now = self._clock()
        end = self._windows.start_of(now) + self._settings.interval
        self._held += [w for w in self._windows.take(end) if w.values or w.rises]
        if self._is_ready(now):
            held, self._held = self._held, []
            # No heartbeat for a window that is not over: whoever comes next may send it.
            if self._send_live(held, beats_before=end - self._settings.interval):
                self._send_queued()

    def _is_ready(self, now: float) -> bool:
        """Whether it is known where to send, and under which dimensions."""
        if self._transport is not None:
            return True
        machine = self._identity()
        region = self._settings.region or machine.region
        sets = self._settings.dimension_sets
        extra = self._settings.extra_dimensions
        resolved = [resolve(names, machine, extra) for names in sets]
        patient = now - self._started < IDENTITY_PATIENCE
        missing = [
            name
            for names, known in zip(sets, resolved, strict=True)
            if known is None
            for name in names
            if name not in extra and not getattr(machine, FIELDS[name])
        ]
        if missing and patient:
            return False
        complete = [known for known in resolved if known is not None]
        if not complete or not region:
            if not patient:
                self._held.clear()
                lacking = ", ".join([*dict.fromkeys(missing), *(() if region else ("region",))])
                self._say_trouble("IdentityIncomplete", f"not known of this machine: {lacking}")
            return False
        try:
            self._transport = self._connect(region)
        except Exception as error:  # noqa: BLE001 (whatever a client raises, the rest goes on)
            self._count(Outcome(Verdict.RETRY, type(error).__name__, str(error)))
            self._held.clear()
            return False
        self._dimensions = complete
        if missing:
            _log.warning("dimension_sets_dropped", missing=list(dict.fromkeys(missing)))
        return True

    def _send_live(self, windows: list[Window], beats_before: float = float("inf")) -> bool:
        """Send windows, queueing what fails; gives whether everything could be delivered."""
        delivering = True
        for window in windows:
            beats = (
                heartbeats(window, self._settings.interval, self.selection, self._dimensions)
                if window.start < beats_before
                else []
            )
            all_datums = beats + datums(window, self.selection, self._dimensions)
            self._telemetry.published_metrics.set(count_metrics(all_datums))
            for request in requests(all_datums):
                if delivering and self._send(request) is not Verdict.RETRY:
                    continue
                delivering = False
                self._keep(request)
        return delivering

    def _send_queued(self) -> None:
        for _ in range(min(_RESENT_PER_CYCLE, len(self._queue))):
            if self._send(self._queue[0]) is Verdict.RETRY:
                return
            self._queue.popleft()

    def _keep(self, request: list[Datum]) -> None:
        """Queue a request without its heartbeat: that the exporter lives is news only now."""
        kept = [datum for datum in request if datum["MetricName"] not in self._heartbeat_names]
        if not kept:
            return
        if len(self._queue) >= MOST_QUEUED:
            self._queue.popleft()
            self._telemetry.sink_dropped.labels(NAME, "queue_full").inc()
        self._queue.append(kept)

    def _send(self, request: list[Datum]) -> Verdict:
        assert self._transport is not None  # noqa: S101 (ready comes before send)
        outcome = self._transport.send(self._settings.namespace, request)
        self._count(outcome)
        return outcome.verdict

    def _count(self, outcome: Outcome) -> None:
        """Count an outcome, and log it when it is news."""
        verdict, code, message = outcome
        self._telemetry.sink_requests.labels(NAME, verdict.value).inc()
        if verdict is Verdict.DELIVERED:
            self._telemetry.sink_up.labels(NAME).set(1)
            self._telemetry.sink_last_success.labels(NAME).set(self._clock())
            if self._trouble:
                self._trouble = ""
                _log.info("delivering_again")
            return
        self._telemetry.sink_errors.labels(NAME, code).inc()
        if verdict is Verdict.RETRY:
            self._say_trouble(code, message)
            return
        self._telemetry.sink_dropped.labels(NAME, "rejected").inc()
        if code not in self._rejected:
            self._rejected.add(code)
            _log.error("request_rejected", code=code, message=message)

    def _say_trouble(self, code: str, message: str) -> None:
        """Log a lasting trouble once, and again when its kind changes."""
        self._telemetry.sink_up.labels(NAME).set(0)
        if not self._trouble.startswith(f"{code}:"):
            _log.error("not_delivering", code=code, message=message)
        self._trouble = f"{code}: {message}"
