"""A load of requests at a steady rate, and what it shows: printed, and for Prometheus.

The load is open: request number n arrives n / rate seconds after the start, whether or not those
before it are answered, and its latency counts from there. A model that stalls for a second thus
shows in the latency of every request that arrived in that second; a loop that asks again when it
has its answer would have shown one slow request (coordinated omission). What a request waited for
its turn is in `inference_latency_seconds`, and not in `inference_execution_seconds`.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from program import Problem

PERCENTILES = (50, 90, 99, 100)

REPORT_EVERY = 10.0
"""Seconds between two lines about how it goes."""

KEPT = 100_000
"""Requests that the printed percentiles are of; the metrics count all of them."""

BUCKETS = tuple(step * 10.0**power for power in range(-4, 1) for step in (1, 2.5, 5))
"""0.1 ms to 5 s, three to a decade."""


class Metrics:
    """What Prometheus sees of the application. The tag joins it with the exporter's series."""

    def __init__(self, model: Any, tag: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, Info

        registry = self.registry = CollectorRegistry()

        def labelled(kind: Any, name: str, text: str, **more: Any) -> Any:
            return kind(name, text, ["process_tag"], registry=registry, **more).labels(tag)

        self.latency = labelled(
            Histogram,
            "inference_latency_seconds",
            "From the time that a request was due to its answer, waiting included.",
            buckets=BUCKETS,
        )
        self.execution = labelled(
            Histogram,
            "inference_execution_seconds",
            "What the model took for a request, waiting not included.",
            buckets=BUCKETS,
        )
        self.inputs = labelled(Counter, "inference_inputs", "Inputs that were answered.")
        description = model.description
        labelled(Info, "inference_model", "The model that is run.").info(
            {"model": description.model, "target": model.target, "sha256": description.sha256}
        )


@contextmanager
def served(metrics: Metrics, port: int) -> Iterator[None]:
    """Serve the metrics meanwhile.

    Raises:
        Problem: the port cannot be had.
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, registry=metrics.registry)
    except OSError as error:
        raise Problem(f"--metrics-port: {port} cannot be listened on: {error.strerror}") from None
    print(f"metrics: http://127.0.0.1:{server.server_port}/metrics", flush=True)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def under_load(
    model: Any, *, tag: str, rate: float, duration: float | None, batch: int, port: int
) -> None:
    """Make so many requests a second, until the time is over or a signal, and say how it went.

    Raises:
        Problem: the port cannot be had, or the batch is not one of whole executions.
    """
    import torch

    one = model.description.batch
    if batch % one:
        raise Problem(f"--batch: must be a multiple of {one}, the model's own batch (got {batch})")
    torch.manual_seed(0)
    inputs = torch.rand(batch, *model.description.shape[1:])
    metrics = Metrics(model, tag)
    model(inputs)  # the first one loads the cores, and is not counted
    with served(metrics, port):
        told = _Told(rate, batch)
        try:
            for due in _due(rate, duration):
                started = time.perf_counter()
                model(inputs)
                ended = time.perf_counter()
                metrics.latency.observe(ended - due)
                metrics.execution.observe(ended - started)
                metrics.inputs.inc(batch)
                told.add(ended - due, ended)
        except KeyboardInterrupt:
            pass  # a service has no other end
        told.summary()


def _due(rate: float, duration: float | None) -> Iterator[float]:
    """The times at which requests are due, each given when it has come."""
    start = time.perf_counter()
    for number in itertools.count():
        after = number / rate
        if duration is not None and after >= duration:
            return
        due = start + after
        if (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        yield due


class _Told:
    """What is printed: a line every few seconds, and at the end."""

    def __init__(self, rate: float, batch: int) -> None:
        self._rate, self._batch = rate, batch
        self._latencies: deque[float] = deque(maxlen=KEPT)
        self._requests = 0
        self._start = self._end = time.perf_counter()
        self._next = self._start + REPORT_EVERY

    def add(self, latency: float, now: float) -> None:
        self._latencies.append(latency)
        self._requests += 1
        self._end = now
        if now >= self._next:
            self._next = now + REPORT_EVERY
            self.summary()

    def summary(self) -> None:
        if not self._requests:
            print("no request was answered", flush=True)
            return
        ordered = sorted(self._latencies)
        last = len(ordered) - 1
        shown = "  ".join(
            f"p{each} {1000 * ordered[round(each / 100 * last)]:.2f} ms" for each in PERCENTILES
        )
        seconds = max(self._end - self._start, 1e-9)
        print(
            f"{self._requests} requests  {shown}  {self._requests / seconds:.1f} requests/s "
            f"of {self._rate:g} asked for  {self._requests * self._batch / seconds:.1f} inputs/s",
            flush=True,
        )
