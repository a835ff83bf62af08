"""The thread that sends windows when they are due, and keeps what could not be sent."""

from __future__ import annotations

import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from exporter.log import get_logger
from exporter.model import Machine, Pooling, Selection, Snapshot
from exporter.sinks.cloudwatch.budget import Budget, Spending
from exporter.sinks.cloudwatch.datums import (
    Datum,
    Measured,
    datums,
    heartbeats,
    measure,
    requests,
    untimely,
)
from exporter.sinks.cloudwatch.dimensions import HOLDER, DimensionSet, of_holder, resolve, value_of
from exporter.sinks.cloudwatch.standing import NAME, Standing
from exporter.sinks.cloudwatch.transport import Outcome, Transport, Verdict
from exporter.sinks.cloudwatch.window import Window, Windows
from exporter.telemetry import Telemetry

IDENTITY_PATIENCE = 60.0
"""Seconds that windows wait for the fields that their dimension sets name."""

SOURCE_GRACE = 60.0
"""Seconds from the start in which a source that has not spoken yet is not said to be dead."""

MOST_QUEUED = 120
"""Requests that wait for another attempt: two hours of a standard machine."""

MOST_FAILURES = 10
"""Failures of one request, while others were delivered, after which it is given up."""

_RESENT_PER_CYCLE = 10
_SPREAD = 0.8
_LONGEST_WAIT = 5.0

_log = get_logger(sink=NAME)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to send where. `interval` is a window's length in seconds; `spread` is for a fleet that
    sends to one place. Without `needs_region`, what is sent stays on this machine. `holder` has the
    dimensions that show who holds a core. `limit` is how many metrics may be published, `keep` are
    globs of names that always are."""

    namespace: str
    region: str | None
    interval: float
    dimension_sets: Sequence[Sequence[str]]
    extra_dimensions: Mapping[str, str] = field(default_factory=dict)
    holder: Mapping[str, str] = field(default_factory=lambda: HOLDER)
    limit: int | None = None
    keep: Sequence[str] = ()
    spread: bool = True
    needs_region: bool = True


@dataclass(slots=True)
class Waiting:
    """A request that waits for another attempt."""

    request: list[Datum]
    failures: int = 0


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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connect` opens a transport to a region; it is called from the sink's thread."""
        self.selection = selection
        self._settings = settings
        self._identity = identity
        self._connect = connect
        self._telemetry = telemetry
        self._clock = clock
        self._monotonic = monotonic
        holders = {
            of_holder(names, settings.holder, settings.extra_dimensions)
            for names in settings.dimension_sets
        }
        self._windows = Windows(selection, settings.interval, sorted(holders))
        self._budget = Budget(settings.limit, selection, settings.dimension_sets, settings.keep)
        self._heartbeat_names = {
            metric.name
            for row in selection.rows
            for metric in row.cloudwatch
            if metric.pooling is Pooling.HEARTBEAT
        }
        self._transport: Transport | None = None
        self._region = ""
        self._sets: list[DimensionSet] = []
        self._held: list[Window] = []
        self._queue: deque[Waiting] = deque()
        self._started = monotonic()
        self._next_end = self._windows.start_of(clock()) + settings.interval
        self._standing = Standing(telemetry, clock)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        telemetry.sink_queue.labels(NAME).set_function(lambda: len(self._queue))

    # From other threads.

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def offer(self, snapshot: Snapshot) -> None:
        """Gather a snapshot. Never waits for the network."""
        self._windows.add(snapshot)

    def step(self) -> None:
        """Do what is due now, for those who keep the time themselves and start no thread."""
        self._safely(self._cycle, None)

    def close(self, timeout: float) -> bool:
        """Send what is left, in at most `timeout` seconds; gives whether the thread has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        ended = not self._thread.is_alive()
        if not ended:
            self._tell_losses()
        return ended

    @property
    def spending(self) -> Spending:
        """What the budget said of the last window."""
        return self._budget.spending

    def status(self) -> Mapping[str, str]:
        """How the sink is, for people."""
        return {
            "state": self._standing.state,
            "queued requests": str(len(self._queue)),
            **self._standing.spending,
        }

    # The sink's thread.

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._safely(self._pause, _LONGEST_WAIT)):
                self._safely(self._cycle, None)
            self._safely(self._flush_rest, None)
            if self._transport is not None:
                self._transport.close()
        except BaseException as error:  # noqa: BLE001 (the others go on, and nobody else would tell)
            self._standing.died(error)
        self._tell_losses()

    def _safely(self, step: Callable[[], T], otherwise: T) -> T:
        """What the step gives. A bug in it is told, and does not end the thread."""
        try:
            return step()
        except Exception as error:  # noqa: BLE001 (one sink never takes another down)
            self._standing.complain(type(error).__name__, f"internal error: {error}")
            self._next_end = self._windows.start_of(self._clock()) + self._settings.interval
            return otherwise
        finally:
            self._standing.settle()

    def _tell_losses(self) -> None:
        windows = len(self._held) + len(self._windows)
        if self._queue or windows:
            _log.warning("data_lost", requests=len(self._queue), windows=windows)

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
        if self._is_ready(patient=self._age_at(now) < IDENTITY_PATIENCE):
            verdicts = self._send_held()
            # The windows that a stop leaves go before what has waited for long.
            self._send_queued(verdicts, _RESENT_PER_CYCLE, self._stopping.is_set)

    def _flush_rest(self) -> None:
        end = self._windows.start_of(self._clock()) + self._settings.interval
        self._held += [w for w in self._windows.take(end) if w.values or w.rises]
        if self._is_ready(patient=False):
            # No heartbeat for a window that is not over: whoever comes next may send it.
            verdicts = self._send_held(beats_before=end - self._settings.interval)
            self._send_queued(verdicts, len(self._queue))

    def _age_at(self, wall: float) -> float:
        """How long the sink had been running at that moment, however the clock was set since."""
        return self._monotonic() - self._started - (self._clock() - wall)

    def _is_ready(self, *, patient: bool) -> bool:
        """Whether it is known where to send, and under which dimensions."""
        if self._sets:
            return True
        machine = self._identity()
        region = self._settings.region or machine.region
        sets = self._settings.dimension_sets
        extra = self._settings.extra_dimensions
        holder = self._settings.holder
        resolved = [resolve(names, machine, extra, holder) for names in sets]
        missing = dict.fromkeys(
            name
            for names, known in zip(sets, resolved, strict=True)
            if known is None
            for name in names
            if name not in extra and name not in holder and not value_of(machine, name)
        )
        if missing and patient:
            return False
        complete = [known for known in resolved if known is not None]
        self._telemetry.dropped_dimension_sets.set(len(sets) - len(complete))
        lost = self._settings.needs_region and not region
        if not complete or lost:
            if self._held and not patient:
                self._standing.drop("identity", len(self._held))
                self._held.clear()
                lacking = ", ".join([*missing, *(("region",) if lost else ())])
                self._standing.complain(
                    "IdentityIncomplete", f"not known of this machine: {lacking}"
                )
            return False
        self._region, self._sets = region, complete
        if missing:
            _log.warning("dimension_sets_dropped", missing=list(missing))
        return True

    def _send_held(self, beats_before: float = float("inf")) -> set[Verdict]:
        """Send windows; once a request has to be tried again, those after it are queued unsent."""
        verdicts: set[Verdict] = set()
        while self._held:
            window = self._held[0]
            try:
                measured = self._heartbeats(window) if window.start < beats_before else []
                measured += measure(window, self.selection, self._sets)
                for request in requests(datums(window, self._affordable(measured))):
                    if Verdict.RETRY not in verdicts:
                        verdicts.add(self._send(request).verdict)
                    if Verdict.RETRY in verdicts:
                        self._keep(request)
            finally:
                del self._held[0]
        return verdicts

    def _affordable(self, measured: Sequence[Measured]) -> list[Measured]:
        """What the budget allows of a window."""
        admitted = self._budget.admit(measured, self._clock())
        self._standing.spend(len(admitted), self._budget.spending)
        return admitted

    def _heartbeats(self, window: Window) -> list[Measured]:
        """Those of a window, unless the source had not spoken and need not have."""
        end = window.start + self._settings.interval
        if window.seen is None and self._age_at(end) < SOURCE_GRACE:
            return []
        return heartbeats(window, self._settings.interval, self.selection, self._sets)

    def _send_queued(
        self,
        verdicts: set[Verdict],
        at_most: int,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send what waits, oldest first, until one fails; `verdicts` are those of this cycle.

        A request that fails although another was delivered goes to the back, so that it does not
        hold up the rest, and is given up in the end.
        """
        for _ in range(min(at_most, len(self._queue))):
            if Verdict.RETRY in verdicts or enough():
                return
            waiting = self._queue[0]
            verdict, code, message = self._send(waiting.request)
            if verdict is Verdict.RETRY and Verdict.DELIVERED not in verdicts:
                return
            self._queue.popleft()
            verdicts.add(verdict)
            if verdict is Verdict.RETRY:
                waiting.failures += 1
                if waiting.failures < MOST_FAILURES:
                    self._queue.append(waiting)
                else:
                    self._standing.drop("attempts")
                    self._standing.complain(code, f"given up: {message}")

    def _keep(self, request: list[Datum]) -> None:
        """Queue a request without its heartbeat: that the exporter lives is news only now."""
        kept = [datum for datum in request if datum["MetricName"] not in self._heartbeat_names]
        if not kept:
            return
        if len(self._queue) >= MOST_QUEUED:
            self._queue.popleft()
            self._standing.drop("queue_full")
        self._queue.append(Waiting(kept))

    def _send(self, request: list[Datum]) -> Outcome:
        reason = untimely(request, self._clock())
        if reason:
            stamp = request[0]["Timestamp"].isoformat()
            self._standing.drop(reason)
            self._standing.complain(reason, f"CloudWatch takes no stamp of {stamp} now")
            return Outcome(Verdict.NEVER)
        try:
            if self._transport is None:
                self._transport = self._connect(self._region)
            outcome = self._transport.send(self._settings.namespace, request)
        except Exception as error:  # noqa: BLE001 (a transport's bug must not cost the request)
            outcome = Outcome(Verdict.RETRY, type(error).__name__, f"internal error: {error}")
        self._standing.count(outcome)
        return outcome
