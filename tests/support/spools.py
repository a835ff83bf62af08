"""Spools with clocks that a test sets."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.cloudwatch.request import CODEC, pack
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.sinks.delivery.transport import AcceptedAges
from tests.support.spool_requests import DAY, HOUR, MIB, START, make_request, name_of

PAGE = 1024
"""Bytes of a page of the file."""

ACCEPTED_AGES = AcceptedAges(past=14 * DAY, future=2 * HOUR)

_open: list[SpoolHarness] = []


@pytest.fixture(autouse=True)
def close_spools() -> Iterator[None]:
    """Close the spools that a test has left open, in modules that import this fixture."""
    yield
    while _open:
        _open.pop().spool.close()


class SpoolHarness:
    """A spool with clocks that the test sets, and a count of lost requests by reason."""

    def __init__(
        self,
        path: Path | None,
        max_bytes: int = MIB,
        accepted: AcceptedAges = ACCEPTED_AGES,
        template: str = "",
        wall: float = START,
        region: str = "r-1",
    ) -> None:
        self.wall = wall
        self.uptime = 1000.0
        self.path = path
        self.lost: Counter[str] = Counter()
        _open.append(self)
        self.spool = Spool(
            path,
            max_bytes,
            accepted,
            self._count_lost,
            codec=CODEC,
            destination=("NeuronExporter", region),
            sink="test",
            template=template,
            clock=lambda: self.wall,
            monotonic=lambda: self.uptime,
        )

    def _count_lost(self, reason: str, number: int) -> None:
        assert number > 0
        self.lost[reason] += number

    def wait(self, seconds: float) -> None:
        """Advance both clocks, and run the spool's maintenance."""
        self.wall += seconds
        self.uptime += seconds
        self.spool.maintain()

    def add(self, *names: str, noise: int = 0) -> None:
        """Add pending requests, each stamped a second after the previous one."""
        for number, name in enumerate(names):
            self.spool.add(make_request(name, START + number, noise))

    def fill(self, count: int, noise: int = 100) -> None:
        """Add pending requests named 0, 1, 2 …, in few transactions."""
        for number in range(count):
            self.spool._add_to_memory(pack(make_request(str(number), START + number, noise)))
        self.spool.maintain()

    def drain(self) -> list[str]:
        """Take and discard all requests that can be sent now; return their names in order."""
        found = []
        while (taken := self.spool.take()) is not None:
            found.append(name_of(taken.request))
            self.spool.discard(taken.key)
        return found

    def size(self) -> int:
        """Return the bytes on disk: the file, its log, and every other file with its name."""
        assert self.path is not None
        return sum(os.stat(each).st_size for each in self.path.parent.glob(f"{self.path.name}*"))


def filled_spool(path: Path, count: int = 3, max_bytes: int = 16 * MIB) -> SpoolHarness:
    """Return a spool with pending requests named 0, 1, 2 …"""
    harness = SpoolHarness(path, max_bytes)
    harness.fill(count)
    return harness


def assert_quarantined(path: Path, reason: str) -> None:
    """Assert that the file is replaced by a new one, and kept as it is under another name."""
    content = path.read_bytes()
    harness = SpoolHarness(path)
    with capture_logs() as log:
        harness.spool.maintain()
        harness.add("a")
    assert harness.spool.state == "disk"
    assert harness.drain() == ["a"]
    assert [event["event"] for event in log] == ["spool_quarantined"]
    assert log[0]["kept_as"] == f"{path}.{reason}-{int(START)}"
    assert Path(log[0]["kept_as"]).read_bytes() == content


def overwrite(path: Path, start: int, number: int = 10 * PAGE) -> None:
    """Write garbage with another process: closing the file here would release SQLite's lock."""
    subprocess.run(
        [
            "dd",
            "if=/dev/urandom",
            f"of={path}",
            "oflag=seek_bytes",
            "iflag=count_bytes,fullblock",
            "bs=1M",
            "conv=notrunc",
            "status=none",
            f"seek={start}",
            f"count={number}",
        ],
        check=True,
    )
