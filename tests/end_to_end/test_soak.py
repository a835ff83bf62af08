"""What only shows after long: a short while of it in `make test`, thirty hours in `make soak`."""

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
from tests.support.altered import altered
from tests.support.endpoint import Endpoint, cloudwatch_endpoint
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.processes import descriptors, resident, thread_count
from tests.support.waiting import wait_for
from tests.support.workload import Truth, Workload

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
    """Scrapes in both formats over a kept connection, as fast as it is answered."""

    def __init__(self, port: int) -> None:
        super().__init__(name="scraper")
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
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
        """Scrape no more."""
        self._stopping.set()
        self.join()


@contextmanager
def exporter_of(folder: Path, endpoint: Endpoint) -> Iterator[RunningExporter]:
    """An exporter that is fed by hand, and sends a window every second."""
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
def test_nothing_grows_and_nothing_is_miscounted(
    tmp_path: Path, thirty_two_runtimes: Path, monkeypatch: pytest.MonkeyPatch, reports: int
) -> None:
    """With runtimes that come and go, scrapes and flushes all the while, memory grows by no more
    than 2 MiB, descriptors and threads stay as many, and every counter is right to the unit."""
    monkeypatch.setattr(exporter_process, "EXPORTER", altered("hurried"))
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
        wait_for(lambda: _counters(exporter)[_REPORTS] == workload.truth.reports, 30)
        shown = _counters(exporter)  # the scrape before may show the last report but one
        stdin.close()
        assert exporter.wait() == 0

    truth = workload.truth
    print(
        f"{truth.reports} reports of {truth.bytes / truth.reports / 1000:.0f} kB, "
        f"{truth.runtimes} runtimes, {scraper.scrapes} scrapes, {len(endpoint.requests)} requests; "
        f"{memory:.1f} MiB before, {growth:+.1f} MiB"
    )
    assert growth <= MOST_GROWTH
    assert most[0] <= open_before + 2  # a connection that is replaced
    assert most[1] <= threads_before + 1
    assert shown == _expected(truth)
    assert endpoint.total("ExecutionsCompleted") == truth.statuses["completed"]
    failed = truth.statuses.total() - truth.statuses["completed"]
    assert endpoint.total("ExecutionErrors") == failed > 0
    assert endpoint.total("EccUncorrected") == truth.uncorrected > 0
    troubles = {event["event"] for event in exporter.log if event["level"] in ("warning", "error")}
    assert troubles == {"group_failing", "source_state"}  # as recorded; the end of input


def _counters(exporter: RunningExporter) -> Counter[tuple[str, ...]]:
    """What a scrape counts; what is 0 is not in it."""
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


def _expected(truth: Truth) -> Counter[tuple[str, ...]]:
    """The same by what was reported."""
    return +Counter(
        {
            _REPORTS: truth.reports,
            ("neuron_exporter_source_bytes_total",): truth.bytes,
            **{("neuron_executions_total", name): n for name, n in truth.statuses.items()},
            **{("neuron_execution_errors_total", name): n for name, n in truth.errors.items()},
            **{
                ("execution_status_total", tag, name): n
                for (tag, name), n in truth.statuses_by_tag.items()
            },
            **{("hardware_ecc_events_total", name): n for name, n in truth.ecc.items()},
        }
    )
