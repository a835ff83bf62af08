"""Open-loop load generator, which prints its results and serves them for Prometheus.

Request n is due n / rate seconds after the start, regardless of earlier requests, and its latency
counts from then. If the model stalls for a second, the latency of every request that was due in
that second shows it; a closed loop, which waits for each response before the next request, would
show one slow request (coordinated omission). `inference_latency_seconds` includes the waiting time,
`inference_execution_seconds` does not.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runner import UserError

PERCENTILES = (50, 90, 99, 100)

REPORT_INTERVAL = 10.0
"""Seconds between two printed lines."""

MAX_LATENCIES = 100_000
"""Number of latest requests that the printed percentiles cover; the metrics cover all."""

BUCKETS = tuple(step * 10.0**power for power in range(-4, 1) for step in (1, 2.5, 5))
"""From 0.1 ms to 5 s, three per decade."""


class Metrics:
    """The application's metrics. Their label process_tag equals the exporter's runtime_tag."""

    def __init__(self, model: Any, tag: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, Info

        registry = self.registry = CollectorRegistry()

        def labelled(kind: Any, name: str, text: str, **more: Any) -> Any:
            return kind(name, text, ["process_tag"], registry=registry, **more).labels(tag)

        self.latency = labelled(
            Histogram,
            "inference_latency_seconds",
            "Time from when a request was due until its response, including waiting.",
            buckets=BUCKETS,
        )
        self.execution = labelled(
            Histogram,
            "inference_execution_seconds",
            "Time that the model took for a request, excluding waiting.",
            buckets=BUCKETS,
        )
        self.inputs = labelled(Counter, "inference_inputs", "Processed inputs.")
        metadata = model.metadata
        labelled(Info, "inference_model", "Model in use.").info(
            {"model": metadata.model, "target": model.target, "sha256": metadata.sha256}
        )


@contextmanager
def serve(metrics: Metrics, port: int) -> Iterator[None]:
    """Serve the metrics within the context.

    Raises:
        UserError: the port cannot be opened.
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, registry=metrics.registry)
    except OSError as error:
        raise UserError(f"--metrics-port: cannot listen on {port}: {error.strerror}") from None
    print(f"metrics: http://127.0.0.1:{server.server_port}/metrics", flush=True)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def generate_load(
    model: Any, *, tag: str, rate: float, duration: float | None, batch: int, port: int
) -> None:
    """Send requests at a rate until the duration has passed or a signal arrives.

    Raises:
        UserError: the port cannot be opened, or the batch is not a multiple of the model's.
    """
    import torch

    size = model.metadata.batch
    if batch % size:
        raise UserError(f"--batch: must be a multiple of {size}, the model's batch (got {batch})")
    torch.manual_seed(0)
    inputs = torch.rand(batch, *model.metadata.shape[1:])
    metrics = Metrics(model, tag)
    model(inputs)  # the first request loads the cores and does not count
    with serve(metrics, port):
        summary = _Summary(rate, batch)
        try:
            for due in _schedule(rate, duration):
                started = time.perf_counter()
                model(inputs)
                ended = time.perf_counter()
                metrics.latency.observe(ended - due)
                metrics.execution.observe(ended - started)
                metrics.inputs.inc(batch)
                summary.add(ended - due, ended)
        except KeyboardInterrupt:
            pass  # the normal end of a load without a duration
        summary.print()


def _schedule(rate: float, duration: float | None) -> Iterator[float]:
    """Wait for each request's due time, then yield it."""
    start = time.perf_counter()
    for number in itertools.count():
        after = number / rate
        if duration is not None and after >= duration:
            return
        due = start + after
        if (delay := due - time.perf_counter()) > 0:
            time.sleep(delay)
        yield due


class _Summary:
    """Latency and throughput, printed regularly and at the end."""

    def __init__(self, rate: float, batch: int) -> None:
        self._rate, self._batch = rate, batch
        self._latencies: deque[float] = deque(maxlen=MAX_LATENCIES)
        self._requests = 0
        self._start = self._end = time.perf_counter()
        self._next = self._start + REPORT_INTERVAL

    def add(self, latency: float, now: float) -> None:
        self._latencies.append(latency)
        self._requests += 1
        self._end = now
        if now >= self._next:
            self._next = now + REPORT_INTERVAL
            self.print()

    def print(self) -> None:
        if not self._requests:
            print("no request was completed", flush=True)
            return
        ordered = sorted(self._latencies)
        last = len(ordered) - 1
        percentiles = "  ".join(
            f"p{each} {1000 * ordered[round(each / 100 * last)]:.2f} ms" for each in PERCENTILES
        )
        seconds = max(self._end - self._start, 1e-9)
        print(
            f"{self._requests} requests  {percentiles}  {self._requests / seconds:.1f} requests/s "
            f"of {self._rate:g} requested  {self._requests * self._batch / seconds:.1f} inputs/s",
            flush=True,
        )
