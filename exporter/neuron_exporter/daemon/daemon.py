"""Run a pipeline: its threads, its signals, and its shutdown."""

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
from neuron_exporter.address_file import AddressFile
from neuron_exporter.config import ConfigWatcher
from neuron_exporter.daemon.notify import notify_ready
from neuron_exporter.daemon.reload import Reloader
from neuron_exporter.daemon.routes import routes
from neuron_exporter.daemon.signals import Signals
from neuron_exporter.log import get_logger
from neuron_exporter.pipeline.build import Pipeline
from neuron_exporter.pipeline.otlp import shown_endpoint
from neuron_exporter.pipeline.source import dropped_names, source_kind
from neuron_exporter.run_directory import own_directory
from neuron_exporter.sinks.delivery.deadline import Abort, silent_aborts
from neuron_exporter.source import SourceError
from neuron_exporter.source.orphans import reap_orphans
from neuron_exporter.text import format_duration
from neuron_exporter.web import UNPROTECTED, Access, Server

STOP_SECONDS = 20.0
"""Time limit of the shutdown, below the 30 s after which ECS and Kubernetes kill."""

_TICK = 2.0
_GC_THRESHOLD = 10_000
_MAX_SILENCE = 30.0  # three times the longest wait of a thread that ticks

_log = get_logger()


class Stop(NamedTuple):
    """The reason for the shutdown, and the exit status."""

    reason: str
    status: int


class Daemon:
    """One run of a pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        watcher: ConfigWatcher | None = None,
        *,
        stop_seconds: float = STOP_SECONDS,
        on_listening: Callable[[Server], None] = lambda _: None,
    ) -> None:
        """Bind the listen addresses.

        Args:
            watcher: loads the configuration for reloads; None for no reloads.
            on_listening: called once everything has started.

        Raises:
            BindError: an address cannot be bound.
        """
        self._pipeline = pipeline
        self._stop_seconds = stop_seconds
        self._on_listening = on_listening
        self._events: SimpleQueue[Stop | int] = SimpleQueue()
        self._ticks = dict.fromkeys(("main", "reader", "http"), time.monotonic())
        self._reloader = Reloader(pipeline, watcher or ConfigWatcher())
        self._address_file = AddressFile()
        pipeline.processor.heartbeat = lambda: self._tick("reader")
        self._server = Server(
            pipeline.config.prometheus.listen,
            routes(pipeline, self._silent_threads, self._reloader.status),
            lambda: self._tick("http"),
            self._access,
        )
        self._server.on_death = self._http_died
        self._reader = threading.Thread(target=self._read, name="reader", daemon=True)

    def run(self) -> int:
        """Run until a signal, the end of input or a failed thread; return the exit status."""
        with silent_aborts(), _log_thread_exceptions(), Signals(self._events.put):
            for warning in self._pipeline.warnings:
                _log.warning("setting_doubtful", setting=warning)
            self._server.start()
            notify_ready()
            for helper in self._pipeline.helpers:
                helper.start()
            for sender in self._pipeline.senders:
                sender.start()
            self._reader.start()
            self._log_start()
            self._address_file.write(self._server.url)
            self._on_listening(self._server)
            # Reports have no reference cycles, so frequent garbage collection would be wasted.
            gc.freeze()
            gc.set_threshold(_GC_THRESHOLD)
            try:
                stop = self._wait()
            except BaseException as error:  # noqa: BLE001 (the child must be stopped in any case)
                _log.error("thread_died", thread="main", error=repr(error))
                stop = Stop("main thread died", 1)
            _log.info("stopping", reason=stop.reason)
            self._stop()
        _log.info("stopped", status=stop.status)
        return stop.status

    def _log_start(self) -> None:
        """Log what has started, and what its settings do not show."""
        parts, urls = self._pipeline, self._server.urls
        _log.info(
            "started",
            version=__version__,
            listen=self._server.addresses,
            url=self._server.url,
            **({"urls": urls} if len(urls) > 1 else {}),
            source=source_kind(parts.config.source),
            simulated=parts.is_simulated,
        )
        if dropped := dropped_names(parts.config.source):
            _log.info("source_variables_dropped", names=dropped, key="source.environment")
        if parts.is_simulated and not parts.is_dry_run:
            self._warn_of_simulated_values()
        if reason := self._address_file.problem:
            _log.warning("run_directory_unusable", path=own_directory(), reason=reason)

    def _warn_of_simulated_values(self) -> None:
        parts = self._pipeline
        if parts.cloudwatch is not None:
            namespace = parts.config.cloudwatch.namespace
            _log.warning("simulated_values_sent", sink="cloudwatch", namespace=namespace)
        if parts.otlp is not None:
            endpoint = shown_endpoint(parts.config.otlp)
            _log.warning("simulated_values_sent", sink="otlp", endpoint=endpoint)

    # Threads

    def _read(self) -> None:
        try:
            self._pipeline.source.run(self._pipeline.processor)
        except SourceError as error:
            _log.error("source_failed", reason=str(error))
            self._events.put(Stop("source failed", 1))
        except BaseException as error:  # noqa: BLE001 (the exit status must show it)
            _log.error("thread_died", thread="reader", error=repr(error))
            self._events.put(Stop("reader thread died", 1))
        else:
            self._events.put(Stop("end of input", 0))

    def _http_died(self, error: BaseException | None) -> None:
        if error is not None:
            _log.error("thread_died", thread="http", error=repr(error))
            self._events.put(Stop("http thread died", 1))

    def _wait(self) -> Stop:
        while True:
            self._tick("main")
            try:
                event = self._events.get(timeout=_TICK)
            except Empty:
                reap_orphans()
                self._reloader.poll()
                # A reload may have changed TLS, on which the URL and idle connections depend.
                self._address_file.write(self._server.url)
                self._server.sweep()
                if self._pipeline.sysfs is not None:
                    self._pipeline.sysfs.check()
                continue
            if isinstance(event, Stop):
                return event
            if event == signal.SIGHUP:
                self._reloader.reload()
                continue
            if event == signal.SIGUSR1:
                self._pause_or_resume()
                continue
            return Stop(signal.Signals(event).name, 0)

    def _pause_or_resume(self) -> None:
        """Stop neuron-monitor, which releases the devices for a driver reset, or start it again."""
        match self._pipeline.source.pause_or_resume():
            case None:
                _log.warning("pause_unsupported", source=self._pipeline.config.source.kind)
            case True:
                _log.info("pausing", advice="SIGUSR1 resumes")
            case False:
                _log.info("resuming")

    def _stop(self) -> None:
        """Stop the child, join the reader, flush the sinks and close, all before one deadline."""
        deadline = time.monotonic() + self._stop_seconds
        self._address_file.remove()
        for helper in self._pipeline.helpers:
            helper.stop()
        self._pipeline.source.stop()
        self._reader.join(max(0.0, deadline - time.monotonic()))
        left = max(0.0, deadline - time.monotonic())
        for sender in self._pipeline.senders:  # all of them use the same time
            sender.begin_close(left)
        unfinished = [
            sender.name
            for sender in self._pipeline.senders
            if not sender.close(max(0.0, deadline - time.monotonic()))
        ]
        if unfinished:
            after = format_duration(self._stop_seconds)
            _log.warning("flush_incomplete", after=after, sinks=unfinished)
        self._server.close()

    def _access(self) -> Access:
        web_config = self._pipeline.web_config  # a reload may replace it
        return UNPROTECTED if web_config is None else web_config.access()

    def _silent_threads(self) -> list[str]:
        """Return the threads without a tick for `_MAX_SILENCE`, and a sink's thread in an endless
        loop. A sink that waits for a disk or an endpoint must not end the others."""
        now = time.monotonic()
        silent = [name for name, at in self._ticks.items() if now - at > _MAX_SILENCE]
        return silent + [sink.name for sink in self._pipeline.senders if sink.is_endless]

    def _tick(self, thread: str) -> None:
        self._ticks[thread] = time.monotonic()


@contextmanager
def _log_thread_exceptions() -> Iterator[None]:
    """Log the exceptions that end other threads, in place of the traceback on stderr. The abort of
    an attempt, which may end the attempt's thread late, is no failure."""

    def write(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, Abort):
            name = "unknown" if args.thread is None else args.thread.name
            _log.error("thread_died", thread=name, error=repr(args.exc_value))

    before, threading.excepthook = threading.excepthook, write
    try:
        yield
    finally:
        threading.excepthook = before
