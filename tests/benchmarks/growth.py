"""CPU per report by the number of runtimes."""

from __future__ import annotations

from itertools import cycle, islice

from tests.benchmarks.pacing import paced, warm_up
from tests.benchmarks.programs import Build, exporter
from tests.benchmarks.reports import simulated
from tests.benchmarks.tables import print_table
from tests.support.endpoint import cloudwatch_endpoint

_MACHINES = ("trn1.32xlarge", "trn2.48xlarge")
_RUNTIMES = (1, 2, 4, 8, 16, 32, 64, 128)
_PER_SECOND = 4.0
_DISTINCT = 6


def print_growth(build: Build, reports: int) -> None:
    """Print the cost of a report on Trn1 and Trn2, with both sinks on, for 1 to 128 runtimes."""
    columns = [
        each.format(name.partition(".")[0].title())
        for name in _MACHINES
        for each in ("{}: report", "CPU", "per runtime")
    ]
    lines = []
    for runtimes in _RUNTIMES:
        cells = []
        samples = [list(islice(simulated(runtimes, each), _DISTINCT)) for each in _MACHINES]
        with (
            cloudwatch_endpoint() as endpoint1,
            cloudwatch_endpoint() as endpoint2,
            exporter(endpoint1, build, flush_interval="3s") as trn1,
            exporter(endpoint2, build, flush_interval="3s") as trn2,
        ):
            pair = [(each, cycle(lines)) for each, lines in zip((trn1, trn2), samples, strict=True)]
            warm_up(pair, _PER_SECOND)
            spent = paced(pair, reports, per_second=_PER_SECOND)
        for sample, cpu in zip(samples, spent, strict=True):
            cells += [f"{len(sample[0]) / 1000:.0f} kB", f"{cpu:.2f} ms", f"{cpu / runtimes:.3f}"]
        lines.append([f"{runtimes} runtimes", *cells])
    print_table("CPU per report, both sinks on", columns, lines)
