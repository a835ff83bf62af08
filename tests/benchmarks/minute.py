"""A real minute: a report of 445 kB every 5 s, a gzip scrape every 15 s, a flush every 30 s, and an
interval of OTLP."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.pacing import wait_until
from tests.benchmarks.programs import (
    AWS_SCRIPT,
    Build,
    Program,
    aws_prometheus_script,
    exporter,
    usual_way,
)
from tests.benchmarks.reports import moving
from tests.benchmarks.tables import Row, print_rounds
from tests.captures import THIRTY_TWO_RUNTIMES
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.kubelet import CORE, PodResource, kubelet_server
from tests.support.otlp_receiver import otlp_receiver

_PERIOD = 5.0
_REPORTS = 12
_REPORTS_PER_SCRAPE = 3
_SETTLED, _NEXT = 2.5, 4.9
"""When in a period all programs have processed their report and scrape, and wait for the next."""


class _Participant(NamedTuple):
    """A program, its column, and its reports."""

    program: Program
    column: str
    lines: Iterator[bytes]


def print_minute(rounds: int, build: Build, before: Build | None) -> None:
    """Print what each program costs in a minute, and how large it is."""
    with ExitStack() as stack:
        programs = list(_start(stack, build, before))
        columns = [each.column for each in programs]
        while not all(each.program.has_flushed for each in programs):
            _run(programs, 1)
        print_rounds("real minutes", columns, [_measure(programs) for _ in range(rounds)])


def _start(stack: ExitStack, build: Build, before: Build | None) -> Iterator[_Participant]:
    """Start all programs. One exporter also looks up the owners of cores, at the kubelet, and
    one has OTLP on as well."""
    recorded = THIRTY_TWO_RUNTIMES.read_bytes()
    run = stack.enter_context
    folder = Path(run(tempfile.TemporaryDirectory()))
    pods = [PodResource(f"worker-{core}", CORE, [core]) for core in range(32)]
    kubelet = run(kubelet_server(folder, *pods))
    of_kubelet = {"identity": {"imds": False, "kubernetes": True}}
    variables = {"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)}

    def start_exporter(build: Build, **more: object) -> Program:
        endpoint = run(cloudwatch_endpoint())
        return run(exporter(endpoint, build, flush_interval="30s", **more))  # type: ignore[arg-type]

    starts: list[tuple[str, Callable[[], Program]]] = [
        ("exporter", lambda: start_exporter(build)),
        ("usual way", lambda: run(usual_way(build))),
        ("with kubelet", lambda: start_exporter(build, sections=of_kubelet, variables=variables)),
        ("all sinks", lambda: start_exporter(build, otlp=run(otlp_receiver()))),
    ]
    if AWS_SCRIPT:
        starts.append(("AWS's script", lambda: run(aws_prometheus_script(build))))
    if before is not None:
        starts.append(("before", lambda: start_exporter(before)))
    for column, begin in starts:
        yield _Participant(begin(), column, moving(recorded))


def _run(
    programs: Sequence[_Participant], reports: int, on_idle: Callable[[float], None] = wait_until
) -> None:
    """Feed and scrape in the pace of a real minute. In each period, call `on_idle` while all wait,
    with the time of the monotonic clock until which they do."""
    due = time.monotonic()
    for number in range(reports):
        for at, each in enumerate(programs):
            wait_until(due + 0.2 * at)
            each.program.feed(next(each.lines))
        if number % _REPORTS_PER_SCRAPE == 0:
            for at, each in enumerate(programs):
                wait_until(due + 1.2 + 0.2 * at)
                each.program.scrape("gzip")
        wait_until(due + _SETTLED)
        on_idle(due + _NEXT)
        due += _PERIOD
        wait_until(due)


def _measure(programs: Sequence[_Participant]) -> list[Row]:
    wakeups, idle = [0] * len(programs), [0.0] * len(programs)

    def count(until: float) -> None:
        began = time.monotonic()
        before = [(each.program.wakeups, each.program.sent) for each in programs]
        wait_until(until)
        for at, each in enumerate(programs):
            if each.program.sent == before[at][1]:  # no flush
                wakeups[at] += each.program.wakeups - before[at][0]
                idle[at] += time.monotonic() - began

    cpu, written = _each(programs, "cpu"), _each(programs, "written")
    _run(programs, _REPORTS, count)
    spent = [1e3 * (a - b) for a, b in zip(_each(programs, "cpu"), cpu, strict=True)]
    wrote = [1024 * (a - b) for a, b in zip(_each(programs, "written"), written, strict=True)]
    return [
        Row("CPU of all threads, both sinks on (others: Prometheus only)", "ms", spent),
        Row("wake-ups between reports", "/s", [n / s for n, s in zip(wakeups, idle, strict=True)]),
        Row("proportional memory (PSS), one malloc arena", "MiB", _each(programs, "proportional")),
        Row("resident memory, one malloc arena", "MiB", _each(programs, "resident")),
        Row("written to disks", "KiB", wrote),
    ]


def _each(programs: Sequence[_Participant], name: str) -> list[float]:
    return [float(getattr(each.program, name)) for each in programs]
