"""CPU of reading the driver's files, for 16 devices with 8 cores each."""

from __future__ import annotations

import re
import tempfile
import time
from itertools import islice
from pathlib import Path

from tests.benchmarks.pacing import wait_until
from tests.benchmarks.programs import Build, Program, exporter
from tests.benchmarks.reports import simulated
from tests.benchmarks.tables import print_table
from tests.support.sysfs_tree import write_tree
from tests.support.waiting import wait_for

_MACHINE, _DEVICES, _CORES, _RUNTIMES = "trn2.48xlarge", 16, 8, 16
_PERIOD, _REPORTS = 5.0, 12  # a minute
_PASS = re.compile(rb"^neuron_exporter_sysfs_read_seconds (\S+)$", re.MULTILINE)


def print_sysfs(build: Build) -> None:
    """Print the CPU of passes over the files, and of a real minute with and without them."""
    lines = list(islice(simulated(_RUNTIMES, _MACHINE), _REPORTS))
    with tempfile.TemporaryDirectory() as name:
        tree = write_tree(Path(name), range(_DEVICES), _CORES)
        with exporter(None, build, sections={"hardware": {"sysfs": str(tree)}}) as own:
            first = wait_for(lambda: _last_pass(own))
            with exporter(None, build, sections={"hardware": {"sysfs": False}}) as other:
                _minute(own, other, lines)  # in which the files are searched again
                passes, spent = _minute(own, other, lines)
    print_table(
        f"The driver's files: {_DEVICES} devices with {_CORES} cores, {_RUNTIMES} runtimes",
        ["CPU"],
        [
            ["first pass, which searches the files", f"{1e3 * first:.1f} ms"],
            ["pass with the files of the cores, every 30 s", f"{1e3 * max(passes):.1f} ms"],
            ["pass without them", f"{1e3 * min(passes):.1f} ms"],
            ["all passes of a minute", f"{1e3 * sum(passes):.1f} ms"],
            ["a minute of 12 reports with sysfs", f"{1e3 * spent[0]:.1f} ms"],
            ["the same without", f"{1e3 * spent[1]:.1f} ms"],
        ],
    )


def _minute(own: Program, other: Program, lines: list[bytes]) -> tuple[list[float], list[float]]:
    """Feed both a minute of reports; return the CPU of each pass of the first, and of both."""
    own.scrape(), other.scrape()
    before = [program.cpu for program in (own, other)]
    passes = []
    due = time.monotonic()
    for line in lines:
        for program in (own, other):
            program.feed(line)
        due += _PERIOD
        wait_until(due)
        passes.append(_last_pass(own))
        other.scrape()
    return passes, [each.cpu - at for each, at in zip((own, other), before, strict=True)]


def _last_pass(program: Program) -> float:
    """Return the CPU time of the last pass (s); 0 before the first."""
    found = _PASS.search(program.scrape())
    return float(found[1]) if found else 0.0
