"""Leaks and drift over time: a short run in `make test`, thirty hours of reports in `make soak`."""

from __future__ import annotations

import http.client
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import exporter as exporter_process
from tests.support.endpoint import Endpoint, cloudwatch_endpoint
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.patched import patched
from tests.support.processes import descriptors, resident, thread_count
from tests.support.waiting import wait_for
from tests.support.workload import ExpectedTotals, Workload

THIRTY_HOURS = 21_600
"""Reports, at 5 s."""

WARM_UP = 600
"""Reports after which every part has been at work, and every tag was seen."""

MOST_GROWTH = 2.0
"""MiB."""

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
_REPORTS = ("neuron_exporter_reports_total",)
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class Scraper(threading.Thread):
    """Thread that scrapes in both formats over a kept connection without a pause."""

    def __init__(self, port: int) -> None:
        super().__init__(name="scraper")
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._stopping = threading.Event()
        self.scrapes = 0
        self.failures = 0

    def run(self) -> None:
        with closing(self._connection):
            while not self._stopping.is_set():
                for accepted, end in (("text/plain", b"\n"), (OPEN_METRICS, b"# EOF\n")):
                    self._connection.request("GET", "/metrics", headers={"Accept": accepted})
                    response = self._connection.getresponse()
                    text = response.read()
                    self.scrapes += 1
                    self.failures += response.status != 200 or not text.endswith(end)

    def stop(self) -> None:
        """Stop scraping."""
        self._stopping.set()
        self.join()


@contextmanager
def exporter_of(folder: Path, endpoint: Endpoint) -> Iterator[RunningExporter]:
    """Start an exporter that is fed through stdin and sends a window every second."""
    config = {
        "source": {"kind": "stdin"},
        "cloudwatch": {
            "enabled": True,
            "endpoint_url": endpoint.url,
            "flush_interval": "1s",
        },
        "log": {"format": "json", "level": "info"},
    }
    with running_exporter(
        folder, config, stdin=subprocess.PIPE, environment=CREDENTIALS
    ) as exporter:
        yield exporter


@pytest.mark.parametrize(
    "reports", [2_000, pytest.param(THIRTY_HOURS, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_no_growth_and_exact_counters(
    tmp_path: Path, thirty_two_runtimes: Path, monkeypatch: pytest.MonkeyPatch, reports: int
) -> None:
    """With changing runtimes, scrapes and flushes, memory grows by at most 2 MiB, descriptors and
    threads stay constant, and every counter is exact."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("frequent-scans"))
    workload = Workload(thirty_two_runtimes.read_bytes())
    lines = workload.lines()
    with cloudwatch_endpoint() as endpoint, exporter_of(tmp_path, endpoint) as exporter:
        pid, stdin = exporter.process.pid, exporter.process.stdin
        assert stdin is not None
        scraper = Scraper(exporter.port)
        scraper.start()

        def feed(number: int) -> None:
            for line in islice(lines, number):
                stdin.write(line)
            stdin.flush()

        def held() -> tuple[int, int]:
            return descriptors(pid), thread_count(pid)

        try:
            feed(WARM_UP)
            wait_for(lambda: len(endpoint.requests) >= 3)
            memory, most = resident(pid), Counter()
            open_before, threads_before = held()
            for _ in range(reports // 100):
                feed(100)
                most |= Counter(dict(enumerate(held())))
            growth = resident(pid) - memory
            wait_for(lambda: held() == (open_before, threads_before))
        finally:
            scraper.stop()
        assert scraper.failures == 0
        wait_for(lambda: _counters(exporter)[_REPORTS] == workload.expected_totals.reports)
        shown = _counters(exporter)  # the previous scrape may lack the last report
        stdin.close()
        assert exporter.wait() == 0

    totals = workload.expected_totals
    print(
        f"{totals.reports} reports of {totals.bytes / totals.reports / 1000:.0f} kB, "
        f"{totals.runtimes} runtimes, {scraper.scrapes} scrapes, "
        f"{len(endpoint.requests)} requests; {memory:.1f} MiB before, {growth:+.1f} MiB"
    )
    assert growth <= MOST_GROWTH
    assert most[0] <= open_before + 2  # a replaced connection
    assert most[1] <= threads_before + 1
    assert shown == _expected(totals)
    assert endpoint.total("ExecutionsCompleted") == totals.statuses["completed"]
    failed = totals.statuses.total() - totals.statuses["completed"]
    assert endpoint.total("ExecutionErrors") == failed > 0
    assert endpoint.total("EccUncorrected") == totals.uncorrected > 0
    troubles = {event["event"] for event in exporter.log if event["level"] in ("warning", "error")}
    assert troubles == {"source_state"}  # the end of the input


def _counters(exporter: RunningExporter) -> Counter[tuple[str, ...]]:
    """Return the counters of a scrape, without those at 0."""
    status, text = exporter.get("/metrics")
    assert status == 200
    found: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            match sample.name:
                case "neuron_exporter_reports_total" | "neuron_exporter_source_bytes_total":
                    found[sample.name,] = sample.value
                case "neuron_executions_total":
                    found[sample.name, labels["status_type"]] = sample.value
                case "neuron_execution_errors_total":
                    found[sample.name, labels["error_type"]] = sample.value
                case "execution_status_total":
                    key = sample.name, labels["runtime_tag"], labels["status_type"]
                    found[key] = sample.value
                case "hardware_ecc_events_total":
                    found[sample.name, labels["event_type"]] += sample.value
    return +found


def _expected(totals: ExpectedTotals) -> Counter[tuple[str, ...]]:
    """Return the same counters, computed from the reports."""
    return +Counter(
        {
            _REPORTS: totals.reports,
            ("neuron_exporter_source_bytes_total",): totals.bytes,
            **{("neuron_executions_total", name): n for name, n in totals.statuses.items()},
            **{("neuron_execution_errors_total", name): n for name, n in totals.errors.items()},
            **{
                ("execution_status_total", tag, name): n
                for (tag, name), n in totals.statuses_by_tag.items()
            },
            **{("hardware_ecc_events_total", name): n for name, n in totals.ecc.items()},
        }
    )
