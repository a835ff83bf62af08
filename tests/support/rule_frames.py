"""Scrapes of running exporters, as frames over which promtool can evaluate rules.

Simulated reports with a period of 15 s are written to a real exporter's standard input, each
followed by a scrape. An hour of a machine takes seconds, and the exporter exposed every value.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from grafana.rules_src import alerts, recordings
from neuron_exporter.model import Group
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.waiting import wait_for

STEP = 15
"""Interval of frames and reports in seconds."""

Frame = dict[str, float]
"""Samples of one scrape that the rules read, by the text of their series."""

Frames = Sequence[Frame | None]
"""Consecutive scrapes; None stands for a failed one."""

EXPRESSIONS = "\n".join(
    rule.expr for group in (*recordings.GROUPS, *alerts.GROUPS) for rule in group.rules
)

READ = frozenset(
    re.findall(
        r"(?<![\w:.])(?:(?:neuron|execution_|hardware_|process_)\w+(?=[{\[]| offset)"
        r"|instance_info)",
        EXPRESSIONS,
    )
)
"""Metrics of the exporter that the rules read."""

_SAMPLE = re.compile(r"((\w+)(?:\{.*\})?) (\S+)")
_BYTES = re.compile(r"^neuron_exporter_source_bytes_total (\S+)$", re.MULTILINE)
_NO_REPORT = b"-\n"
_REPORT_CLOCK = Path(__file__).parent / "report_clock"


def frame(text: str) -> Frame:
    """Return the samples of a scrape that the rules read."""
    return {
        match[1]: float(match[3])
        for line in text.splitlines()
        if (match := _SAMPLE.fullmatch(line)) and match[2] in READ
    }


def scrape(exporter: RunningExporter) -> Frame:
    """Return the current samples of an exporter that the rules read."""
    return frame(exporter.get("/metrics")[1])


def reports(count: int, *flags: str) -> list[bytes]:
    """Return the output of a small simulated machine for a number of periods."""
    options = parse(["--instance-type", "inf2.xlarge", *flags])
    machine = Machine(options._replace(periods=dict.fromkeys(Group, STEP), own_configuration=True))
    return [machine.output(number).stdout for number in range(count)]


class StdinExporter:
    """Running exporter that reads its standard input."""

    def __init__(self, exporter: RunningExporter) -> None:
        self.exporter = exporter
        self._sent = 0

    def feed(self, lines: Iterable[bytes]) -> list[Frame]:
        """Send reports one at a time, and return the frame after each."""
        stdin = self.exporter.process.stdin
        assert stdin is not None
        frames = []
        for line in lines:
            # The exporter reads the second line once the first has reached every sink.
            sent = line + _NO_REPORT
            stdin.write(sent)
            stdin.flush()
            self._sent += len(sent)
            shown = frame(wait_for(self._scrape_if_processed, every=0.001))
            # The exporter limits log lines per second, and reports come faster than in life.
            shown.pop("neuron_exporter_log_lines_dropped_total", None)
            frames.append(shown)
        return frames

    def _scrape_if_processed(self) -> str:
        """Return a scrape, or an empty string while input is unprocessed."""
        _, text = self.exporter.get("/metrics")
        found = _BYTES.search(text)
        if not found or float(found[1]) < self._sent:
            return ""
        return self.exporter.get("/metrics")[1]


@contextmanager
def stdin_exporter(folder: Path, **environment: str) -> Iterator[StdinExporter]:
    """Run an exporter that reads its standard input."""
    config = {"source": {"kind": "stdin"}}
    environment = {"PYTHONPATH": str(_REPORT_CLOCK), **environment}
    with running_exporter(
        folder, config, stdin=subprocess.PIPE, environment=environment
    ) as exporter:
        yield StdinExporter(exporter)


def simulate(
    folder: Path, count: int, *flags: str, restart_at: int | None = None
) -> list[Frame | None]:
    """Return the frames of a simulated machine.

    With `restart_at`, another exporter continues from that report, after two failed scrapes.
    """
    lines = reports(count, *flags)
    first = lines if restart_at is None else lines[:restart_at]
    with stdin_exporter(folder) as exporter:
        frames: list[Frame | None] = [*exporter.feed(first)]
    if restart_at is not None:
        with stdin_exporter(folder) as exporter:
            frames += [None, None, *exporter.feed(lines[restart_at + 2 :])]
    return frames


def with_failed_scrapes(frames: Frames, *missed: int) -> list[Frame | None]:
    """Return the frames with these scrapes replaced by failed ones."""
    return [None if number in missed else each for number, each in enumerate(frames)]
