"""Prints speed and size beside the usual way: `make bench`.

Every report has other values and reports are paced, since one line repeated in a hot loop flatters
by a factor of 2 to 4. Both programs are measured in turn, and the median of the rounds' ratios is
printed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.system_section import hardware_counters
from tests.benchmarks.contestants import Contestant, endpoint, ours, silent, usual, wait_until
from tests.captures import MISSING, THIRTY_TWO_RUNTIMES

REPORTS_PER_SECOND = 12
"""With windows of one second: as many reports in a window as 5 s make in 60."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reports", type=int, default=120, help="measured in each round")
    given = parser.parse_args()
    if not THIRTY_TWO_RUNTIMES.exists():
        raise SystemExit(MISSING)
    with endpoint() as url:
        _compare(given.rounds, lambda: reports_and_memory(url, given.reports))
        _compare(given.rounds, lambda: scrapes(given.reports, "identity"))
        _compare(given.rounds, lambda: scrapes(given.reports, "gzip"))
        _print_outage(url, given.rounds * given.reports)


Row = tuple[str, str, float, float]


def _compare(rounds: int, measure: Callable[[], list[Row]]) -> None:
    """Print each row's medians, and the median of its ratios."""
    measured = [measure() for _ in range(rounds)]
    for each in zip(*measured, strict=True):
        name, unit = each[0][:2]
        own = statistics.median(row[2] for row in each)
        other = statistics.median(row[3] for row in each)
        ratios = sorted(row[3] / row[2] for row in each)
        print(
            f"{name:58} {own:8.2f} {unit:3} usual {other:8.2f} {unit:3} "
            f"ratio {statistics.median(ratios):5.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})",
            flush=True,
        )


def reports_and_memory(url: str, count: int) -> list[Row]:
    """CPU for a report of the 32-runtime capture, and resident memory at the end."""
    recorded = THIRTY_TWO_RUNTIMES.read_bytes()
    with ours(url) as own, usual() as other:
        pair = [(own, moved(recorded)), (other, moved(recorded))]
        _paced(pair, 2 * REPORTS_PER_SECOND)
        cpu, usual_cpu = _paced(pair, count)
        return [
            ("CPU per report, 445 kB, both sinks on", "ms", cpu, usual_cpu),
            ("resident memory, both sinks on", "MiB", own.resident, other.resident),
        ]


def scrapes(count: int, encoding: str) -> list[Row]:
    """CPU for a scrape of about 2,000 series over a kept connection, a new report before each.

    The usual way has a series for each runtime and core, so that fewer runtimes make as many.
    """
    with ours(None) as own, usual() as other:
        pair = [(own, simulated(54)), (other, simulated(32))]
        _paced(pair, 2 * REPORTS_PER_SECOND)
        before = [contestant.serving_cpu for contestant, _ in pair]
        _paced(pair, count, encoding)
        cpu, usual_cpu = (
            1e3 * (contestant.serving_cpu - spent) / count
            for (contestant, _), spent in zip(pair, before, strict=True)
        )
        name = f"CPU per scrape, {encoding}, {own.series} series (usual {other.series})"
        return [(name, "ms", cpu, usual_cpu)]


def _print_outage(url: str, count: int) -> None:
    """How long scrapes take while CloudWatch does not answer, beside one that does."""
    with silent() as nowhere, ours(nowhere) as cut, ours(url) as well:
        pair = [(cut, simulated(54)), (well, simulated(54))]
        _paced(pair, 2 * REPORTS_PER_SECOND)
        took: list[list[float]] = [[], []]
        due = time.monotonic()
        for _ in range(count):
            for (contestant, lines), times in zip(pair, took, strict=True):
                contestant.feed(next(lines))
                started = time.perf_counter()
                contestant.scrape()
                times.append(1e3 * (time.perf_counter() - started))
                due += 0.5 / REPORTS_PER_SECOND
                wait_until(due)
    for times, when in zip(took, ("does not answer", "answers"), strict=True):
        print(
            f"a scrape beside a new report, of {count}, while CloudWatch {when:16} "
            f"median {statistics.median(times):6.1f} ms  worst {max(times):6.1f} ms"
        )


def _paced(
    contestants: list[tuple[Contestant, Iterator[bytes]]], count: int, encoding: str = ""
) -> list[float]:
    """CPU (ms) of each contestant for a report, followed by a scrape where an encoding is given.

    They take turns, so that whatever slows this machine slows all of them.
    """
    step = 1 / REPORTS_PER_SECOND / len(contestants)
    before = [contestant.cpu for contestant, _ in contestants]
    due = time.monotonic()
    for _ in range(count):
        for contestant, lines in contestants:
            contestant.feed(next(lines))
            wait_until(due + 0.6 * step)
            if encoding:
                contestant.scrape(encoding)
            due += step
            wait_until(due)
    return [
        1e3 * (contestant.cpu - spent) / count
        for (contestant, _), spent in zip(contestants, before, strict=True)
    ]


def moved(line: bytes) -> Iterator[bytes]:
    """A recorded report over and over, with other values each time."""
    rng = random.Random(1)
    document = json.loads(line)
    while True:
        for runtime in document["neuron_runtime_data"]:
            _move(runtime["report"], rng)
        yield json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _move(report: dict[str, Any], rng: random.Random) -> None:
    for core in report["neuroncore_counters"]["neuroncores_in_use"].values():
        if core["neuroncore_utilization"]:
            core["neuroncore_utilization"] = 100 * rng.random()
    used = report["memory_used"]["neuron_runtime_used_bytes"]["usage_breakdown"]
    for memory in used["neuroncore_memory_usage"].values():
        if memory["tensors"]:
            memory["tensors"] += rng.randrange(-4096, 4096)
    report["execution_stats"]["execution_summary"]["completed"] = rng.randrange(1000)


def simulated(runtimes: int) -> Iterator[bytes]:
    """Reports of a simulated trn1.32xlarge."""
    options = parse(["--runtimes", str(runtimes), "--scenario", "inference"])
    machine = Machine(options)
    number = 1
    machine.report(0)
    while True:
        report = machine.report(number)
        # The simulator's default configuration leaves the hardware counters out.
        report["system_data"].setdefault(
            "neuron_hw_counters",
            {"period": 5.0, **hardware_counters(options.hardware), "error": ""},
        )
        yield json.dumps(report, separators=(",", ":")).encode() + b"\n"
        number += 1


if __name__ == "__main__":
    main()
