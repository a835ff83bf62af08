"""What scrapes of running exporters showed, as frames that rules can be run over.

Simulated reports of 15 s go to the real exporter's standard input, one at a time, each followed by
a scrape: an hour of a machine takes seconds, and every value is one that the exporter exposed.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from exporter.model import Group
from exporter.simulator.machine import Machine
from exporter.simulator.options import parse
from grafana.rulebook import alerts, recordings
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.waiting import wait_for

STEP = 15
"""Seconds from one frame, and one report, to the next."""

Frame = dict[str, float]
"""What a scrape showed of the series that rules read: the value of each, by its text."""

Frames = Sequence[Frame | None]
"""Scrapes in their order; None is one that failed."""

EXPRESSIONS = "\n".join(
    rule.expr for group in (*recordings.GROUPS, *alerts.GROUPS) for rule in group.rules
)

READ = frozenset(
    re.findall(r"(?<![\w:.])(?:neuron\w+|execution_\w+|hardware_\w+)(?=[{\[]| offset)", EXPRESSIONS)
)
"""The exporter's metrics that rules read."""

_SAMPLE = re.compile(r"((\w+)(?:\{.*\})?) (\S+)")
_REPORTS = re.compile(r"^neuron_exporter_reports_total (\S+)$", re.MULTILINE)


def frame(text: str) -> Frame:
    """What rules read of a scrape."""
    return {
        match[1]: float(match[3])
        for line in text.splitlines()
        if (match := _SAMPLE.fullmatch(line)) and match[2] in READ
    }


def scraped(exporter: RunningExporter) -> Frame:
    """What a scrape shows now."""
    return frame(exporter.get("/metrics")[1])


def reports(count: int, *flags: str) -> list[bytes]:
    """What a small simulated machine prints in so many periods."""
    options = parse(["--instance-type", "inf2.xlarge", *flags])
    machine = Machine(options._replace(periods=dict.fromkeys(Group, STEP), own_configuration=True))
    return [machine.output(number).stdout for number in range(count)]


@contextmanager
def fed(folder: Path, **environment: str) -> Iterator[RunningExporter]:
    """An exporter that reads its standard input."""
    config = {"source": {"kind": "stdin"}}
    with running_exporter(
        folder, config, stdin=subprocess.PIPE, environment=environment
    ) as exporter:
        yield exporter


def feed(exporter: RunningExporter, given: Iterable[bytes], after: int = 0) -> list[Frame]:
    """Give it reports one at a time, `after` so many; what a scrape shows after each."""
    stdin = exporter.process.stdin
    assert stdin is not None
    frames = []
    for number, report in enumerate(given, after + 1):
        stdin.write(report)
        stdin.flush()
        frames.append(frame(wait_for(lambda: _after(exporter, number), every=0.001)))  # noqa: B023
    return frames


def _after(exporter: RunningExporter, number: int) -> str:
    """What a scrape shows; empty while the report of that number was not read."""
    _, text = exporter.get("/metrics")
    found = _REPORTS.search(text)
    return text if found and float(found[1]) >= number else ""


def recorded(
    folder: Path, count: int, *flags: str, restart_at: int | None = None
) -> list[Frame | None]:
    """A simulated machine, watched by an exporter; by another one from a report on, which then
    begins anew, with two scrapes that fail meanwhile."""
    lines = reports(count, *flags)
    first = lines if restart_at is None else lines[:restart_at]
    with fed(folder) as exporter:
        frames: list[Frame | None] = [*feed(exporter, first)]
    if restart_at is not None:
        with fed(folder) as exporter:
            frames += [None, None, *feed(exporter, lines[restart_at + 2 :])]
    return frames


def without(frames: Frames, *missed: int) -> list[Frame | None]:
    """The same, where these scrapes have failed."""
    return [None if number in missed else each for number, each in enumerate(frames)]
