"""What only shows after long: `make soak`."""

from __future__ import annotations

import re
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import moved
from tests.benchmarks.contestants import endpoint, ours

THIRTY_HOURS = 21_600
"""Reports, at 5 s."""

MOST_GROWTH = 2.0
"""MiB."""


@pytest.mark.soak
def test_thirty_hours_of_reports_do_not_raise_memory(thirty_two_runtimes: Path) -> None:
    """What the usual sidecar did not survive leaves us as large as we were."""
    lines = cycle(list(islice(moved(thirty_two_runtimes.read_bytes()), 32)))
    with endpoint() as url, ours(url) as exporter:

        def feed(reports: int) -> float:
            """The requests that were sent by the end."""
            for _ in range(reports // 100):
                for line in islice(lines, 100):
                    exporter.feed(line)
                text = exporter.scrape().decode()
            found = re.search(
                r'^neuron_exporter_sink_requests_total\{.*"delivered".*\} (.*)$', text, re.M
            )
            return float(found[1]) if found else 0.0

        while feed(100) < 3:  # until every part has been at work
            continue
        before = exporter.resident
        sent = feed(THIRTY_HOURS)
        after = exporter.resident

    assert sent > 10
    print(f"{before:.1f} MiB before, {after:.1f} MiB after")
    assert after - before <= MOST_GROWTH
