"""Compare speed and size with AWS's script side by side: `make bench`.

Every report has other values and reports are paced: one line repeated in a hot loop is 2 to 4 times
faster. The programs take turns, and each row prints the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.system_section import hardware_counters
from neuron_exporter.web import Response, Server
from tests.benchmarks.client_load import scrape_times
from tests.benchmarks.programs import (
    Program,
    aws_script,
    endpoint,
    exporter,
    silent_endpoint,
    wait_until,
)
from tests.captures import MISSING, THIRTY_TWO_RUNTIMES
from tests.support.waiting import wait_for

REPORTS_PER_SECOND = 12
"""With windows of one second: as many reports per window as a period of 5 s makes in 60 s."""


def main() -> None:
    """Run the benchmarks and print their rows."""
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
    _compare(given.rounds, health_checks)
    _compare(given.rounds, first_paint)
    _compare(given.rounds, scrapes_under_load)


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
            f"{name:58} {own:8.2f} {unit:3} other {other:8.2f} {unit:3} "
            f"ratio {statistics.median(ratios):5.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})",
            flush=True,
        )


def reports_and_memory(url: str, count: int) -> list[Row]:
    """Measure CPU per report of the 32-runtime capture, and resident memory at the end."""
    recorded = THIRTY_TWO_RUNTIMES.read_bytes()
    with exporter(url) as own, aws_script() as other:
        pair = [(own, moved(recorded)), (other, moved(recorded))]
        _paced(pair, 2 * REPORTS_PER_SECOND)
        cpu, script_cpu = _paced(pair, count)
        return [
            ("CPU per report, 445 kB, both sinks on", "ms", cpu, script_cpu),
            ("resident memory, both sinks on", "MiB", own.resident, other.resident),
        ]


def scrapes(count: int, encoding: str) -> list[Row]:
    """Measure CPU per scrape of about 2,000 series over a kept connection, with a new report before
    each. AWS's script has one series per runtime and core, so that fewer runtimes make as many
    series."""
    with exporter(None) as own, aws_script() as other:
        pair = [(own, simulated(54)), (other, simulated(32))]
        _paced(pair, 2 * REPORTS_PER_SECOND)
        before = [program.serving_cpu for program, _ in pair]
        _paced(pair, count, encoding)
        cpu, script_cpu = (
            1e3 * (program.serving_cpu - spent) / count
            for (program, _), spent in zip(pair, before, strict=True)
        )
        name = f"CPU per scrape, {encoding}, {own.series} series (AWS's script {other.series})"
        return [(name, "ms", cpu, script_cpu)]


def health_checks() -> list[Row]:
    """Measure CPU of `neuron-exporter healthcheck` beside a Python that does nothing."""
    with exporter(None) as program:
        check = ["-m", "neuron_exporter", "healthcheck", "--url", program.url]
        cpu, bare = (_cpu_of([sys.executable, *words]) for words in (check, ["-c", "pass"]))
    return [("CPU of a health check (other: an empty Python program)", "ms", cpu, bare)]


def _cpu_of(command: list[str], times: int = 10) -> float:
    """Return the smallest CPU time of a command in ms."""
    spent = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return 1e3 * min(spent)


def first_paint() -> list[Row]:
    """Measure the page's first paint in Chromium beside a page with one word."""
    if shutil.which("chromium") is None:
        print("first paint: chromium is not installed (Debian: chromium)")
        return []
    from tests.support.browser import running_browser

    word = Server("127.0.0.1:0", {"/": lambda _: Response(b"<p>ok", "text/html")}, lambda: None)
    word.start()
    with running_browser() as browser, exporter(None) as program:
        program.feed(next(simulated(54)))
        urls = program.url, f"http://127.0.0.1:{word.port}"
        paints: list[list[float]] = [[], []]
        for _ in range(12):
            for url, found in zip(urls, paints, strict=True):
                with closing(browser.new_context()) as context:
                    page = context.new_page()
                    page.goto(f"{url}/")
                    paint = f"{_PAINTS}.map(each => each.startTime)"
                    found += wait_for(lambda page=page, paint=paint: page.evaluate(paint))
    word.close()
    own, other = map(statistics.median, paints)
    return [("first paint (other: a page with one word)", "ms", own, other)]


def scrapes_under_load() -> list[Row]:
    """Measure a scrape with TLS and a password among two hundred clients beside one alone."""
    return [("scrape with TLS under load (other: alone)", "ms", *scrape_times(60))]


_PAINTS = "performance.getEntriesByName('first-paint')"


def _print_outage(url: str, count: int) -> None:
    """Print how long scrapes take while CloudWatch does not answer, beside one that answers."""
    with silent_endpoint() as silent, exporter(silent) as cut, exporter(url) as well:
        pair = [(cut, simulated(54)), (well, simulated(54))]
        _paced(pair, 2 * REPORTS_PER_SECOND)
        took: list[list[float]] = [[], []]
        due = time.monotonic()
        for _ in range(count):
            for (program, lines), times in zip(pair, took, strict=True):
                program.feed(next(lines))
                started = time.perf_counter()
                program.scrape()
                times.append(1e3 * (time.perf_counter() - started))
                due += 0.5 / REPORTS_PER_SECOND
                wait_until(due)
    for times, when in zip(took, ("does not answer", "answers"), strict=True):
        print(
            f"a scrape beside a new report, of {count}, while CloudWatch {when:16} "
            f"median {statistics.median(times):6.1f} ms  worst {max(times):6.1f} ms"
        )


def _paced(
    programs: list[tuple[Program, Iterator[bytes]]], count: int, encoding: str = ""
) -> list[float]:
    """Return each program's CPU per report in ms, with a scrape after it if an encoding is given.
    The programs take turns, so that whatever slows this machine slows all of them."""
    step = 1 / REPORTS_PER_SECOND / len(programs)
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


def moved(line: bytes) -> Iterator[bytes]:
    """Yield a recorded report repeatedly, with other values each time."""
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
    """Yield reports of a simulated trn1.32xlarge."""
    options = parse(["--runtimes", str(runtimes), "--scenario", "inference"])
    machine = Machine(options)
    number = 1
    machine.report(0)
    while True:
        report = machine.report(number)
        # The simulator's default configuration has no hardware counters.
        report["system_data"].setdefault(
            "neuron_hw_counters",
            {"period": 5.0, **hardware_counters(options.hardware), "error": ""},
        )
        yield json.dumps(report, separators=(",", ":")).encode() + b"\n"
        number += 1


if __name__ == "__main__":
    main()
