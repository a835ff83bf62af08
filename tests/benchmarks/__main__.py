"""Compare speed and size with the usual way side by side: `make bench`.

Every report has other values and reports are paced: one line repeated in a hot loop is 2 to 4 times
faster. The programs take turns, and each row prints medians and ratios of the rounds.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from neuron_exporter.web import Response, Server
from tests.benchmarks.client_load import scrape_times
from tests.benchmarks.growth import print_growth
from tests.benchmarks.minute import print_minute
from tests.benchmarks.otlp import print_otlp
from tests.benchmarks.pacing import REPORTS_PER_SECOND, paced, wait_until, warm_up
from tests.benchmarks.programs import Build, exporter, silent_endpoint, usual_way
from tests.benchmarks.reports import moving, simulated
from tests.benchmarks.sysfs import print_sysfs
from tests.benchmarks.tables import Row, print_rounds
from tests.captures import MISSING, THIRTY_TWO_RUNTIMES
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.waiting import wait_for

_LAYOUTS = ("core", "aws")


def main() -> None:
    """Run the benchmarks and print their tables."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(_BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reports", type=int, default=120, help="measured in each round")
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of the programs, with their libraries"
    )
    parser.add_argument("--before", type=Path, help="another checkout, for `minute`")
    given = parser.parse_args()
    if unknown := set(given.names).difference(_BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if not THIRTY_TWO_RUNTIMES.exists():
        raise SystemExit(MISSING)
    build = Build(given.python)
    print(build.description(), flush=True)
    for name in given.names or _BENCHMARKS:
        _BENCHMARKS[name](build, given)


_BENCHMARKS: dict[str, Callable[[Build, argparse.Namespace], None]] = {
    "minute": lambda build, given: print_minute(
        given.rounds, build, given.before and Build(given.python, given.before.resolve())
    ),
    "start": lambda build, given: _compare(3 * given.rounds, lambda: _starts(build)),
    "reports": lambda build, given: _compare(given.rounds, lambda: _reports(build, given.reports)),
    "scrapes": lambda build, given: _compare(given.rounds, lambda: _scrapes(build, given.reports)),
    "otlp": lambda build, given: print_otlp(build, given.rounds * given.reports),
    "growth": lambda build, given: print_growth(build, given.reports // 4),
    "sysfs": lambda build, given: print_sysfs(build),
    "outage": lambda build, given: _print_outage(build, given.rounds * given.reports),
    "health": lambda build, given: _compare(given.rounds, lambda: _health_checks(build)),
    "page": lambda build, given: _compare(given.rounds, lambda: _first_paint(build)),
    "load": lambda build, given: _compare(given.rounds, _scrapes_under_load),
}


def _compare(rounds: int, measure: Callable[[], list[Row]]) -> None:
    print_rounds("", ("exporter", "other"), [measure() for _ in range(rounds)])


def _starts(build: Build) -> list[Row]:
    """Measure the time from the start to the first scrape that shows a report, and the CPU."""
    line = next(moving(THIRTY_TWO_RUNTIMES.read_bytes()))
    seconds, spent = [], []
    with cloudwatch_endpoint() as endpoint:
        for start in (lambda: exporter(endpoint, build), lambda: usual_way(build)):
            with start() as program:
                seconds.append(program.seconds_to_first_scrape(line))
                spent.append(1e3 * program.cpu)
    name = "start to the first scrape with a report"
    return [Row(name, "s", seconds), Row("CPU until then", "ms", spent)]


def _reports(build: Build, count: int) -> list[Row]:
    """Measure CPU per report of the 32-runtime capture."""
    recorded = THIRTY_TWO_RUNTIMES.read_bytes()
    rows = []
    for layout in _LAYOUTS:
        sections = {"prometheus": {"listen": "127.0.0.1:0", "layout": layout}}
        with (
            cloudwatch_endpoint() as endpoint,
            exporter(endpoint, build, sections=sections) as own,
            usual_way(build) as other,
        ):
            pair = [(own, moving(recorded)), (other, moving(recorded))]
            warm_up(pair)
            name = f"CPU per report, 445 kB, both sinks on, layout {layout}"
            rows.append(Row(name, "ms", paced(pair, count)))
    return rows


def _scrapes(build: Build, count: int) -> list[Row]:
    """Measure CPU per scrape of about 2,300 series over a kept connection, with a new report before
    each. With the layout `core`, the usual way has fewer runtimes: it has one series per runtime
    and core."""
    rows = []
    for layout, encoding in (("core", "identity"), ("core", "gzip"), ("aws", "identity")):
        sections = {"prometheus": {"listen": "127.0.0.1:0", "layout": layout}}
        with exporter(None, build, sections=sections) as own, usual_way(build) as other:
            pair = [(own, simulated(54 if layout == "core" else 32)), (other, simulated(32))]
            warm_up(pair)
            before = [program.serving_cpu for program, _ in pair]
            paced(pair, count, encoding)
            spent = [
                1e3 * (program.serving_cpu - at) / count
                for (program, _), at in zip(pair, before, strict=True)
            ]
            series = f"{own.series} series (other {other.series})"
            rows.append(Row(f"CPU per scrape, layout {layout}, {encoding}, {series}", "ms", spent))
    return rows


def _health_checks(build: Build) -> list[Row]:
    """Measure CPU of `neuron-exporter healthcheck` beside a Python that does nothing."""
    with exporter(None, build) as program:
        check = ["-m", "neuron_exporter", "healthcheck", "--url", program.url]
        spent = [_cpu_of([build.python, *words], build) for words in (check, ["-c", "pass"])]
    return [Row("CPU of a health check (other: an empty Python program)", "ms", spent)]


def _cpu_of(command: list[str], build: Build, times: int = 10) -> float:
    """Return the smallest CPU time of a command in ms."""
    spent = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=build.environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return 1e3 * min(spent)


def _first_paint(build: Build) -> list[Row]:
    """Measure the page's first paint in Chromium beside a page with one word."""
    if shutil.which("chromium") is None:
        print("first paint: chromium is not installed (Debian: chromium)")
        return []
    from tests.support.browser import running_browser

    word = Server("127.0.0.1:0", {"/": lambda _: Response(b"<p>ok", "text/html")}, lambda: None)
    word.start()
    with running_browser() as browser, exporter(None, build) as program:
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
    medians = list(map(statistics.median, paints))
    return [Row("first paint (other: a page with one word)", "ms", medians)]


_PAINTS = "performance.getEntriesByName('first-paint')"


def _scrapes_under_load() -> list[Row]:
    """Measure a scrape with TLS and a password among two hundred clients beside one alone."""
    return [Row("scrape with TLS under load (other: alone)", "ms", scrape_times(60))]


def _print_outage(build: Build, count: int) -> None:
    """Print how long scrapes take while CloudWatch does not answer, beside one that answers."""
    with (
        silent_endpoint() as silent,
        cloudwatch_endpoint() as answering,
        exporter(silent, build) as cut,
        exporter(answering, build) as well,
    ):
        pair = [(cut, simulated(54)), (well, simulated(54))]
        paced(pair, 2 * REPORTS_PER_SECOND)
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


if __name__ == "__main__":
    main()
