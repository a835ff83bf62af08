"""Feeding programs in turn at a fixed pace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from tests.benchmarks.programs import Program

REPORTS_PER_SECOND = 12
"""With windows of one second: as many reports per window as a period of 5 s makes in 60 s."""


def wait_until(at: float) -> None:
    """Sleep until this time of the monotonic clock."""
    time.sleep(max(0.0, at - time.monotonic()))


def warm_up(
    programs: Sequence[tuple[Program, Iterator[bytes]]], per_second: float = REPORTS_PER_SECOND
) -> None:
    """Feed the programs for some seconds, at least until each has flushed."""
    paced(programs, int(2 * per_second), per_second=per_second)
    while not all(program.has_flushed for program, _ in programs):
        paced(programs, int(per_second), per_second=per_second)


def paced(
    programs: Sequence[tuple[Program, Iterator[bytes]]],
    count: int,
    encoding: str = "",
    per_second: float = REPORTS_PER_SECOND,
) -> list[float]:
    """Return each program's CPU per report in ms, with a scrape after it if an encoding is given.
    The programs take turns, so that whatever slows this machine slows all of them."""
    step = 1 / per_second / len(programs)
    before = [program.cpu for program, _ in programs]
    due = time.monotonic()
    for _ in range(count):
        for program, lines in programs:
            program.feed(next(lines))
            wait_until(due + 0.6 * step)
            if encoding:
                program.scrape(encoding)
            due += step
            wait_until(due)
    return [
        1e3 * (program.cpu - spent) / count
        for (program, _), spent in zip(programs, before, strict=True)
    ]
