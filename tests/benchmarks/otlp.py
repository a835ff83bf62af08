"""What OTLP adds to an exporter that feeds Prometheus and CloudWatch: CPU and memory."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.benchmarks.pacing import REPORTS_PER_SECOND, paced, warm_up
from tests.benchmarks.programs import Build, Program, exporter
from tests.benchmarks.reports import moving
from tests.benchmarks.tables import print_table
from tests.captures import THIRTY_TWO_RUNTIMES
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.otlp_receiver import OtlpReceiver, otlp_receiver

_WARM_UP = 10
"""Seconds until memory has settled."""


def print_otlp(build: Build, reports: int) -> None:
    """Print what OTLP adds per interval, in which it encodes the 32-runtime capture, spools,
    compresses and sends to a local server, and the memory with it and without. An interval has
    as many reports as in life."""
    recorded = THIRTY_TWO_RUNTIMES.read_bytes()
    with ExitStack() as stack:
        receiver = stack.enter_context(otlp_receiver())
        programs = [_start(stack, build, each) for each in (receiver, None)]
        pair = [(each, moving(recorded)) for each in programs]
        warm_up(pair)
        paced(pair, _WARM_UP * REPORTS_PER_SECOND)
        requests, size = receiver.requests, receiver.bytes
        started = time.monotonic()
        spent = paced(pair, reports)
        intervals = time.monotonic() - started
        requests, size = receiver.requests - requests, receiver.bytes - size
        added = (spent[0] - spent[1]) * reports / intervals
        memory = [(each.proportional, each.resident) for each in programs]
    (pss, resident), (pss_without, resident_without) = memory
    rows = [
        ["CPU per report", *(f"{each:.2f} ms" for each in spent)],
        ["CPU that OTLP adds per interval", f"{added:.2f} ms", ""],
        ["bytes sent per interval", f"{size / intervals / 1000:.1f} kB", ""],
        ["requests per interval", f"{requests / intervals:.1f}", ""],
        ["proportional memory (PSS)", f"{pss:.2f} MiB", f"{pss_without:.2f} MiB"],
        ["resident memory", f"{resident:.2f} MiB", f"{resident_without:.2f} MiB"],
    ]
    print_table("OTLP, 445 kB reports", ("all sinks", "without OTLP"), rows)


def _start(stack: ExitStack, build: Build, otlp: OtlpReceiver | None) -> Program:
    endpoint = stack.enter_context(cloudwatch_endpoint())
    return stack.enter_context(exporter(endpoint, build, otlp=otlp, otlp_interval="1s"))
