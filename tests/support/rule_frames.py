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

from grafana.rulebook import alerts, recordings
from neuron_exporter.model import Group
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
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
_BYTES = re.compile(r"^neuron_exporter_source_bytes_total (\S+)$", re.MULTILINE)
_NO_REPORT = b"-\n"


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


class Fed:
    """A running exporter that reads its standard input."""

    def __init__(self, exporter: RunningExporter) -> None:
        self.exporter = exporter
        self._sent = 0

    def feed(self, given: Iterable[bytes]) -> list[Frame]:
        """Give it reports one at a time; what a scrape shows after each."""
        stdin = self.exporter.process.stdin
        assert stdin is not None
        frames = []
        for report in given:
            # A line is read when the one before it has reached every sink.
            lines = report + _NO_REPORT
            stdin.write(lines)
            stdin.flush()
            self._sent += len(lines)
            frames.append(frame(wait_for(self._read, every=0.001)))
        return frames

    def _read(self) -> str:
        """What a scrape shows; empty while not everything was read."""
        _, text = self.exporter.get("/metrics")
        found = _BYTES.search(text)
        if not found or float(found[1]) < self._sent:
            return ""
        return self.exporter.get("/metrics")[1]


@contextmanager
def fed(folder: Path, **environment: str) -> Iterator[Fed]:
    """An exporter that reads its standard input."""
    config = {"source": {"kind": "stdin"}}
    with running_exporter(
        folder, config, stdin=subprocess.PIPE, environment=environment
    ) as exporter:
        yield Fed(exporter)


def recorded(
    folder: Path, count: int, *flags: str, restart_at: int | None = None
) -> list[Frame | None]:
    """A simulated machine, watched by an exporter; by another one from a report on, which then
    begins anew, with two scrapes that fail meanwhile."""
    lines = reports(count, *flags)
    first = lines if restart_at is None else lines[:restart_at]
    with fed(folder) as exporter:
        frames: list[Frame | None] = [*exporter.feed(first)]
    if restart_at is not None:
        with fed(folder) as exporter:
            frames += [None, None, *exporter.feed(lines[restart_at + 2 :])]
    return frames


def without(frames: Frames, *missed: int) -> list[Frame | None]:
    """The same, where these scrapes have failed."""
    return [None if number in missed else each for number, each in enumerate(frames)]
