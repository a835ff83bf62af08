"""A kill at any point loses no written request, and repeats at most one."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.endpoint import Endpoint, accept, cloudwatch_endpoint
from tests.support.paths import ROOT
from tests.support.processes import ended
from tests.support.spool_requests import make_request
from tests.support.spooler import spool_command
from tests.support.spools import SpoolHarness
from tests.support.spools import close_spools as close_spools
from tests.support.waiting import wait_for


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An HTTP server in place of CloudWatch."""
    with cloudwatch_endpoint() as serving:
        yield serving


def arrived(endpoint: Endpoint) -> Counter[str]:
    """Return how often each request arrived."""
    return Counter(datum["MetricName"] for datum in endpoint.datums())


def killed_at(point: str, which: str, path: Path, endpoint: Endpoint) -> None:
    """Run the program up to a point and kill it there."""
    answer = threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        answer.wait(60)
        handler.close_connection = True

    endpoint.answer = hold if point == "sent" else accept
    with (
        subprocess.Popen(
            spool_command(path, endpoint.url, which, point),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
        ended(process),
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == f"{point}\n"
        if point in ("sent", "answered"):
            wait_for(lambda: endpoint.requests)
        process.kill()
    answer.set()
    endpoint.answer = accept


def drained(path: Path, endpoint: Endpoint) -> int:
    """Send the rest with a new process; return the number of ambiguous requests."""
    done = subprocess.run(
        spool_command(path, endpoint.url, "drain"), cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return int(done.stdout)


@pytest.mark.parametrize(
    ("point", "times", "ambiguous"),
    [("before", 0, 0), ("written", 1, 1), ("sent", 2, 1), ("answered", 2, 1)],
)
def test_kill_around_new_request(
    tmp_path: Path, endpoint: Endpoint, point: str, times: int, ambiguous: int
) -> None:
    path = tmp_path / "spool.db"
    harness = SpoolHarness(path)
    harness.add("waiting 1", "waiting 2")
    harness.spool.close()
    killed_at(point, "live", path, endpoint)
    assert drained(path, endpoint) == ambiguous
    assert arrived(endpoint) == +Counter({"live": times, "waiting 1": 1, "waiting 2": 1})
    assert drained(path, endpoint) == 0
    assert len(endpoint.requests) == times + 2


@pytest.mark.parametrize(
    ("point", "times", "ambiguous"),
    [("before", 1, 0), ("written", 1, 1), ("sent", 2, 1), ("answered", 2, 1)],
)
def test_kill_around_resent_request(
    tmp_path: Path, endpoint: Endpoint, point: str, times: int, ambiguous: int
) -> None:
    path = tmp_path / "spool.db"
    harness = SpoolHarness(path)
    harness.add("first", "second", "third")
    harness.spool.close()
    killed_at(point, "resent", path, endpoint)
    assert drained(path, endpoint) == ambiguous
    assert arrived(endpoint) == {"first": times, "second": 1, "third": 1}


def test_repeated_kills(tmp_path: Path, endpoint: Endpoint) -> None:
    path = tmp_path / "spool.db"
    harness = SpoolHarness(path)
    harness.spool.add(make_request("first"))
    harness.spool.close()
    for kill in range(1, 4):
        endpoint.requests.clear()
        killed_at("answered", "resent", path, endpoint)
        assert arrived(endpoint) == {"first": 1}, kill
    endpoint.requests.clear()
    assert drained(path, endpoint) == 1
    assert arrived(endpoint) == {"first": 1}
