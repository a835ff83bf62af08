"""Runs a pipeline: its threads, the signals, and the orderly stop."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import NamedTuple

from neuron_exporter import __version__
from neuron_exporter.address_file import Whereabouts
from neuron_exporter.config import Origin
from neuron_exporter.daemon.reload import Reload
from neuron_exporter.daemon.routes import routes
from neuron_exporter.daemon.signals import Signals
from neuron_exporter.log import get_logger
from neuron_exporter.pipeline.build import Pipeline
from neuron_exporter.source import SourceError
from neuron_exporter.units import format_duration
from neuron_exporter.web import OPEN, Access, Server

STOP_SECONDS = 20.0
"""All of the orderly stop: under the 30 s that ECS and Kubernetes give."""

_TICK = 1.0
_COLLECT_AFTER = 10_000
_LONGEST_SILENCE = 30.0  # no thread that ticks waits for a third of it, whatever it waits for

_log = get_logger()


class Stop(NamedTuple):
    """Why the daemon stops, and the status that it exits with."""

    reason: str
    status: int


class Daemon:
    """One run of a pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        origin: Origin | None = None,
        *,
        stop_seconds: float = STOP_SECONDS,
        on_listening: Callable[[Server], None] = lambda _: None,
    ) -> None:
        """Bind the address; `on_listening` is told when everything has started. With an `origin`
        the configuration follows it.

        Raises:
            BindError: the address cannot be listened on.
        """
        self._pipeline = pipeline
        self._stop_seconds = stop_seconds
        self._on_listening = on_listening
        self._events: SimpleQueue[Stop | int] = SimpleQueue()
        self._ticks = dict.fromkeys(("main", "reader", "http"), time.monotonic())
        self._reload = Reload(pipeline, origin or Origin())
        self._whereabouts = Whereabouts()
        pipeline.intake.on_tick = lambda: self._tick("reader")
        self._server = Server(
            pipeline.config.prometheus.listen,
            routes(pipeline, self._silent_threads, self._reload.status),
            lambda: self._tick("http"),
            self._access,
        )
        self._server.on_death = self._http_died
        self._reader = threading.Thread(target=self._read, name="reader", daemon=True)

    def run(self) -> int:
        """Run until a signal, the end of input, or the death of a thread; gives the exit status."""
        with _deaths_said(), Signals(self._events.put):
            for warning in self._pipeline.warnings:
                _log.warning("gone_without", setting=warning)
            self._server.start()
            if self._pipeline.finder is not None:
                self._pipeline.finder.start()
            if self._pipeline.owners is not None:
                self._pipeline.owners.start()
            if self._pipeline.cloudwatch is not None:
                self._pipeline.cloudwatch.start()
            self._reader.start()
            urls = self._server.urls
            several = {"urls": urls} if len(urls) > 1 else {}
            _log.info("started", version=__version__, url=self._server.url, **several)
            self._whereabouts.tell(self._server.url)
            self._on_listening(self._server)
            # Reports are trees that reference counts free; the collector needs not look at each.
            gc.freeze()
            gc.set_threshold(_COLLECT_AFTER)
            try:
                stop = self._wait()
            except BaseException as error:  # noqa: BLE001 (the child must not outlive us)
                _log.error("thread_died", thread="main", error=repr(error))
                stop = Stop("main died", 1)
            _log.info("stopping", reason=stop.reason)
            self._stop()
        _log.info("stopped", status=stop.status)
        return stop.status

    # Threads

    def _read(self) -> None:
        try:
            self._pipeline.source.run(self._pipeline.intake)
        except SourceError as error:
            _log.error("source_failed", reason=str(error))
            self._events.put(Stop("source failed", 1))
        except BaseException as error:  # noqa: BLE001 (whoever supervises us has to know)
            _log.error("thread_died", thread="reader", error=repr(error))
            self._events.put(Stop("the reader died", 1))
        else:
            self._events.put(Stop("end of input", 0))

    def _http_died(self, error: BaseException | None) -> None:
        if error is not None:
            _log.error("thread_died", thread="http", error=repr(error))
            self._events.put(Stop("http died", 1))

    def _wait(self) -> Stop:
        while True:
            self._tick("main")
            try:
                event = self._events.get(timeout=_TICK)
            except Empty:
                self._reload.look()
                self._whereabouts.tell(self._server.url)  # a reload may have begun to protect it
                continue
            if isinstance(event, Stop):
                return event
            if event == signal.SIGHUP:
                self._reload.at_once()
                continue
            if event == signal.SIGUSR1:
                self._pause_or_resume()
                continue
            return Stop(signal.Signals(event).name, 0)

    def _pause_or_resume(self) -> None:
        """Let go of the devices, or take them again: a driver is reset while nobody has them."""
        match self._pipeline.source.pause_or_resume():
            case None:
                _log.warning("no_child_to_pause", source=self._pipeline.config.source.kind)
            case True:
                _log.info("pausing", advice="SIGUSR1 resumes")
            case False:
                _log.info("resuming")

    def _stop(self) -> None:
        """End the child, join the reader, flush, close; all within one deadline."""
        deadline = time.monotonic() + self._stop_seconds
        self._whereabouts.forget()
        if self._pipeline.finder is not None:
            self._pipeline.finder.stop()
        if self._pipeline.owners is not None:
            self._pipeline.owners.stop()
        self._pipeline.source.stop()
        self._reader.join(max(0.0, deadline - time.monotonic()))
        if self._pipeline.cloudwatch is not None:
            left = max(0.0, deadline - time.monotonic())
            if not self._pipeline.cloudwatch.close(left):
                _log.warning("flush_unfinished", after=format_duration(self._stop_seconds))
        self._server.close()

    def _access(self) -> Access:
        web_config = self._pipeline.web_config  # as it is now: a reload may replace it
        return OPEN if web_config is None else web_config.access()

    def _silent_threads(self) -> list[str]:
        """The threads that gave no sign of life for too long."""
        now = time.monotonic()
        return [name for name, at in self._ticks.items() if now - at > _LONGEST_SILENCE]

    def _tick(self, thread: str) -> None:
        self._ticks[thread] = time.monotonic()


@contextmanager
def _deaths_said() -> Iterator[None]:
    """Threads that the daemon can do without die with a line in the log, not with a traceback."""

    def say(death: threading.ExceptHookArgs) -> None:
        name = "unknown" if death.thread is None else death.thread.name
        _log.error("thread_died", thread=name, error=repr(death.exc_value))

    before, threading.excepthook = threading.excepthook, say
    try:
        yield
    finally:
        threading.excepthook = before
