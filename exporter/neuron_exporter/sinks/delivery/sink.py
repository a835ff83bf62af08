"""A sink that sends: its thread, its spool, and its end."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from neuron_exporter.log import get_logger
from neuron_exporter.model import Machine
from neuron_exporter.sinks.delivery.jitter import SendSlot
from neuron_exporter.sinks.delivery.sender import Sender
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.sinks.delivery.status import DeliveryStatus
from neuron_exporter.sinks.delivery.transport import ATTEMPT_SECONDS, R, Transport
from neuron_exporter.telemetry import Telemetry

MAX_WAIT = 5.0
"""Seconds that the thread sleeps at most, short enough to notice a clock step."""

IDENTITY_TIMEOUT = 60.0
"""Seconds that the first requests wait for the fields of the machine that they contain."""

_log = get_logger()

T = TypeVar("T")

OnDrop = Callable[[str, int], None]
"""Called with a reason and a number of lost requests."""

Connect = Callable[[str], Transport[R]]
"""Opens a transport to a region."""

OpenSpool = Callable[[Machine, OnDrop], Spool[R]]
"""Opens the spool of this machine."""


class DeliveringSink(ABC, Generic[R]):
    """A sink that sends what it has collected in each interval, from its own thread.

    Intervals are aligned to the wall clock. `connect` and `open_spool` are called from the sink's
    thread.
    """

    def __init__(
        self,
        name: str,
        interval: float,
        identity: Callable[[], Machine],
        connect: Connect[R],
        telemetry: Telemetry,
        open_spool: OpenSpool[R],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        spread: bool,
    ) -> None:
        self.name = name
        self._interval = interval
        self._identity = identity
        self._connect = connect
        self._open_spool = open_spool
        self._telemetry = telemetry
        self._clock = clock
        self._monotonic = monotonic
        self._sender: Sender[R] | None = None
        self._started = monotonic()
        self._next_end = self._start_of(clock()) + interval
        self._status = DeliveryStatus(name, telemetry, clock)
        self._stopping = threading.Event()
        self._slot = SendSlot(identity, interval, spread=spread)
        self._stop_timeout = 0.0
        self._last_attempt_at = float("inf")
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        telemetry.sink_queue.labels(name).set_function(self._queued)

    # From other threads.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def run_once(self) -> None:
        """Run one cycle synchronously, without the sink's thread (dry runs and tests)."""
        self._guarded(self._cycle, None)

    def begin_close(self, timeout: float) -> None:
        """Let the thread send what is left and end, within `timeout` seconds."""
        self._stop_timeout = timeout
        self._last_attempt_at = time.monotonic() + timeout - min(ATTEMPT_SECONDS, timeout / 2)
        self._stopping.set()

    def close(self, timeout: float) -> bool:
        """Send the remaining windows and requests within `timeout` seconds; return whether the
        thread has ended."""
        if not self._stopping.is_set():
            self.begin_close(timeout)
        if self._thread.is_alive():
            self._thread.join(timeout)
        ended = not self._thread.is_alive()
        if not ended:
            self._log_losses()
        return ended

    @property
    def is_endless(self) -> bool:
        """Whether the sink's thread is in an endless loop."""
        return self._status.progress.is_endless

    @property
    def failing_since(self) -> float | None:
        """Unix time at which the sink ceased to deliver; None while it does not fail."""
        return self._status.failing_since

    def status(self) -> Mapping[str, str]:
        """Return the status of the sink as text."""
        return {
            "state": self._status.state,
            "queued requests": str(self._queued()),
            **self._status.spool_rows,
        }

    # The sink's thread.

    @abstractmethod
    def _cycle(self) -> None:
        """Do what is due."""

    @abstractmethod
    def _flush_rest(self) -> None:
        """Send what is left, at the end."""

    @abstractmethod
    def _waiting(self) -> int:
        """Return the number of intervals that are not requests yet."""

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._guarded(self._wait_seconds, MAX_WAIT)):
                self._guarded(self._cycle, None)
            if self._waiting() or self._backlog():
                # A request that is throttled now would have to wait for the next start.
                time.sleep(self._guarded(lambda: self._slot.at_stop(self._stop_timeout), 0.0))
            self._guarded(self._flush_rest, None)
            if self._sender is not None and (spooled := self._sender.close()):
                _log.info("requests_spooled", sink=self.name, requests=spooled)
        except BaseException as error:  # noqa: BLE001 (the other threads go on; report it here)
            self._status.thread_died(error)
        self._log_losses()

    def _guarded(self, step: Callable[[], T], default: T) -> T:
        """Return the step's result; after an error, report it and return the default."""
        try:
            return step()
        except Exception as error:  # noqa: BLE001 (a bug in one sink must not affect the others)
            self._status.record_failure(type(error).__name__, f"internal error: {error}")
            self._next_end = self._start_of(self._clock()) + self._interval
            return default
        finally:
            self._status.evaluate()

    def _log_losses(self) -> None:
        windows = self._waiting()
        requests = 0 if self._sender is None else self._sender.spool.volatile
        if requests or windows:
            _log.warning("data_lost", sink=self.name, requests=requests, windows=windows)

    def _backlog(self) -> int:
        return 0 if self._sender is None else len(self._sender.spool)

    def _queued(self) -> int:
        """Return the number of requests that wait for another attempt."""
        return self._backlog()

    def _wait_seconds(self) -> float:
        """Return the seconds until the next requests are due, short enough to notice a clock
        step."""
        return min(MAX_WAIT, max(0.0, self._due() - self._clock()))

    def _due(self) -> float:
        """Return when the next requests are to be sent, in Unix seconds."""
        now = self._clock()
        if self._next_end > now + 2 * self._interval:  # the clock was set back
            self._next_end = self._start_of(now) + self._interval
        return self._next_end + self._slot.after_window()

    def _deadline_passed(self) -> bool:
        """Return whether a stop leaves no time for another attempt."""
        return time.monotonic() > self._last_attempt_at

    def _start_of(self, wall: float) -> float:
        """Return the start of the interval that contains a moment."""
        return wall - wall % self._interval

    def _age_at(self, wall: float) -> float:
        """Return how long the sink had been running at a moment. Clock steps do not change it."""
        return self._monotonic() - self._started - (self._clock() - wall)
