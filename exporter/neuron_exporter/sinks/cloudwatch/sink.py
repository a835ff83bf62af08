"""The thread that sends windows when they are due."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from neuron_exporter.log import get_logger
from neuron_exporter.model import Machine, Selection, Snapshot
from neuron_exporter.sinks.cloudwatch.budget import Budget, Spending
from neuron_exporter.sinks.cloudwatch.datums import (
    LONGEST_PAST,
    Measured,
    datums,
    heartbeat_names,
    heartbeats,
    measure,
    requests,
)
from neuron_exporter.sinks.cloudwatch.dimensions import DimensionSet, holders_of, resolve_all
from neuron_exporter.sinks.cloudwatch.settings import Settings
from neuron_exporter.sinks.cloudwatch.transport import ATTEMPT_SECONDS, Transport, Verdict
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from neuron_exporter.sinks.delivery.jitter import Turn
from neuron_exporter.sinks.delivery.sender import Delivery
from neuron_exporter.sinks.delivery.spool.rows import Entry
from neuron_exporter.sinks.delivery.spool.spool import MOST_IN_MEMORY, Spool
from neuron_exporter.sinks.delivery.status import NAME, Standing
from neuron_exporter.telemetry import Telemetry

IDENTITY_PATIENCE = 60.0
"""Seconds that windows wait for the fields that their dimension sets name."""

SOURCE_GRACE = 60.0
"""Seconds from the start in which a source that has not spoken yet is not said to be dead."""

MOST_RESENT = 10
"""Requests of the past that are sent beside each new window: a fleet that catches up after an
outage stays far below its quota, and a day is made good in two and a half hours."""

MOST_BEATEN = 1440
"""Windows of which it is remembered that they had their heartbeat: a day of minutes."""

_LONGEST_WAIT = 5.0

_log = get_logger(sink=NAME)

T = TypeVar("T")

Dropped = Callable[[str, int], None]
"""Told why requests are lost, and how many."""


class CloudWatchSink:
    """Gathers snapshots in windows and delivers these, each at least once, from its own thread."""

    name = NAME

    def __init__(
        self,
        selection: Selection,
        settings: Settings,
        identity: Callable[[], Machine],
        connect: Callable[[str], Transport],
        telemetry: Telemetry,
        open_spool: Callable[[Machine, Dropped], Spool] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connect` opens a transport to a region, `open_spool` what requests wait in on this
        machine (by default, memory); both are called from the sink's thread."""
        self.selection = selection
        self._settings = settings
        self._identity = identity
        self._connect = connect
        self._open_spool = open_spool or self._in_memory
        self._telemetry = telemetry
        self._clock = clock
        self._monotonic = monotonic
        self._asked: deque[tuple[Selection, Settings]] = deque(maxlen=1)
        self._sets_age = 0.0
        self._windows = Windows(selection, settings.interval, holders_of(settings))
        self._budget = Budget(settings, selection)
        self._heartbeat_names = {*heartbeat_names(selection)}
        self._delivery: Delivery | None = None
        self._region = ""
        self._sets: list[DimensionSet] = []
        self._held: list[Window] = []
        self._started = monotonic()
        self._next_end = self._windows.start_of(clock()) + settings.interval
        self._standing = Standing(telemetry, clock)
        self._stopping = threading.Event()
        self._turn = Turn(identity, settings.interval, alone=not settings.spread)
        self._patience = 0.0
        self._late_from = float("inf")
        self._beaten: dict[float, None] = {}
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        telemetry.sink_queue.labels(NAME).set_function(self._waiting)

    # From other threads.

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def offer(self, snapshot: Snapshot) -> None:
        """Gather a snapshot. Never waits for the network."""
        self._windows.add(snapshot)

    def reconfigure(self, selection: Selection, settings: Settings) -> None:
        """Publish by these from the next cycle on, in 5 s at most. Only selection, dimensions and
        budget may differ, and what the selection needs is collected already. A window is sent
        once, whole, by what holds then; it waits for fields of new sets as at the start."""
        self._asked.append((selection, settings))

    def step(self) -> None:
        """Do what is due now, for those who keep the time themselves and start no thread."""
        self._safely(self._cycle, None)

    def close(self, timeout: float) -> bool:
        """Send what is left, in at most `timeout` seconds; gives whether the thread has ended."""
        self._patience = timeout
        self._late_from = time.monotonic() + timeout - min(ATTEMPT_SECONDS, timeout / 2)
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
            "queued requests": str(self._waiting()),
            **self._standing.spooling,
            **self._standing.spending,
        }

    # The sink's thread.

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._safely(self._pause, _LONGEST_WAIT)):
                self._safely(self._cycle, None)
            if self._held or self._waiting() or len(self._windows):
                # Who is throttled now has to wait for the next start.
                time.sleep(self._safely(lambda: self._turn.at_stop(self._patience), 0.0))
            self._safely(self._flush_rest, None)
            if self._delivery is not None and (kept := self._delivery.close()):
                _log.info("kept_for_the_next_start", requests=kept)
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
        lost = 0 if self._delivery is None else self._delivery.spool.volatile
        if lost or windows:
            _log.warning("data_lost", requests=lost, windows=windows)

    def _waiting(self) -> int:
        return 0 if self._delivery is None else len(self._delivery.spool)

    def _pause(self) -> float:
        """Seconds until the next window is due; short enough to see the clock being set."""
        return min(_LONGEST_WAIT, max(0.0, self._due() - self._clock()))

    def _due(self) -> float:
        """When the next windows are sent, in Unix seconds of a clock that may have been set."""
        now = self._clock()
        if self._next_end > now + 2 * self._settings.interval:
            self._next_end = self._windows.start_of(now) + self._settings.interval
        return self._next_end + self._turn.after_window()

    def _reconfigure(self) -> None:
        selection, settings = self._asked.pop()
        before, self._settings, self.selection = self._settings, settings, selection
        self._windows.reselect(selection, holders_of(settings), self._monotonic())
        sets = settings.dimension_sets
        self._budget.change(settings, selection)
        self._heartbeat_names |= heartbeat_names(selection)
        if (sets, settings.extra_dimensions) != (before.dimension_sets, before.extra_dimensions):
            self._sets, self._sets_age = [], self._age_at(self._clock())

    def _cycle(self) -> None:
        if self._asked:
            self._reconfigure()
        now = self._clock()
        if now < self._due():
            return
        until = self._windows.start_of(now - self._turn.after_window())
        self._next_end = until + self._settings.interval
        self._held += self._windows.take(until)
        if self._is_ready(patient=self._age_at(now) - self._sets_age < IDENTITY_PATIENCE):
            # The windows that a stop leaves go before what has waited for long.
            self._send(MOST_RESENT, self._stopping.is_set)
        lost = self._windows.lost()
        if lost:
            self._standing.drop("too_many_windows", lost)
            self._standing.complain(
                "TooManyWindows", f"{lost} windows ended before those ahead of them were sent"
            )

    def _flush_rest(self) -> None:
        self._held += self._windows.rest()
        if self._is_ready(patient=False):
            # No heartbeat for a window that is not over: whoever comes next may send it.
            beats_before = self._windows.start_of(self._clock())
            self._send(self._waiting(), self._is_late, beats_before)

    def _is_late(self) -> bool:
        """Whether a stop has no time for another attempt."""
        return time.monotonic() > self._late_from

    def _age_at(self, wall: float) -> float:
        """How long the sink had been running at that moment, however the clock was set since."""
        return self._monotonic() - self._started - (self._clock() - wall)

    def _is_ready(self, *, patient: bool) -> bool:
        """Whether it is known where to send, and under which dimensions."""
        if self._sets:
            return True
        machine = self._identity()
        region = self._settings.region or machine.region
        complete, missing = resolve_all(self._settings, machine)
        unnamed = [field for field in self._settings.spool_names if not getattr(machine, field)]
        if (missing or (unnamed and self._delivery is None)) and patient:
            return False
        wanted = len(self._settings.dimension_sets)
        self._telemetry.dropped_dimension_sets.set(wanted - len(complete))
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
            _log.warning("dimension_sets_dropped", missing=missing)
        return True

    def _send(
        self, resent: int, enough: Callable[[], bool], beats_before: float = float("inf")
    ) -> None:
        """Send the windows that are held, and up to `resent` requests that wait."""
        delivery = self._delivery = self._delivery or self._deliver()
        delivery.spool.upkeep()
        verdicts: set[Verdict] = set()
        try:
            while self._held:
                window = self._held.pop(0)
                try:
                    made = self._requests(window, window.start < beats_before)
                    delivery.send(made, verdicts, self._is_late)
                except Exception:
                    self._standing.drop("internal_error")
                    raise
            delivery.catch_up(verdicts, resent, enough)
        finally:
            self._standing.spool(delivery.spool)

    def _deliver(self) -> Delivery:
        """The way to CloudWatch, once it is known who this machine is."""
        return Delivery(
            self._connect,
            self._open_spool(self._identity(), self._standing.drop),
            self._standing,
            self._clock,
            only_live=self._heartbeat_names,
            proves_clock=self._settings.needs_region,
        )

    def _in_memory(self, _: Machine, dropped: Dropped) -> Spool:
        return Spool(
            None,
            MOST_IN_MEMORY,
            LONGEST_PAST,
            dropped,
            clock=self._clock,
            monotonic=self._monotonic,
        )

    def _requests(self, window: Window, with_heartbeat: bool) -> Iterator[Entry]:
        """What a window makes."""
        measured = self._heartbeats(window) if with_heartbeat else []
        measured += measure(window, self.selection, self._sets)
        for request in requests(datums(window, self._affordable(measured))):
            yield Entry(self._settings.namespace, self._region, request)

    def _affordable(self, measured: Sequence[Measured]) -> list[Measured]:
        """What the budget allows of a window."""
        admitted = self._budget.admit(measured, self._clock())
        self._standing.spend(self._budget.spending)
        return admitted

    def _heartbeats(self, window: Window) -> list[Measured]:
        """Those of a window, unless the source had not spoken and need not have; once for each
        stamp, though a report that came late, or a clock that was set, may open it again."""
        end = window.start + self._settings.interval
        if window.start in self._beaten or (
            window.seen is None and self._age_at(end) < SOURCE_GRACE
        ):
            return []
        self._beaten[window.start] = None
        while len(self._beaten) > MOST_BEATEN:
            del self._beaten[next(iter(self._beaten))]
        return heartbeats(window, self._settings.interval, self.selection, self._sets)
