"""A kill at any point loses nothing that was written, and repeats one request at most."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.endpoint import Endpoint, accept, cloudwatch_endpoint
from tests.support.entries import entry
from tests.support.paths import ROOT
from tests.support.processes import ended
from tests.support.spooler import spooler
from tests.support.spools import Shelf
from tests.support.spools import closed as closed
from tests.support.waiting import wait_for


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A server in CloudWatch's place."""
    with cloudwatch_endpoint() as serving:
        yield serving


def arrived(endpoint: Endpoint) -> Counter[str]:
    """How often each request came."""
    return Counter(datum["MetricName"] for datum in endpoint.datums())


def killed_at(point: str, which: str, path: Path, endpoint: Endpoint) -> None:
    """Run until the exporter has come to this point, and kill it there."""
    answer = threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        answer.wait(30)
        handler.close_connection = True

    endpoint.answer = hold if point == "sent" else accept
    with (
        subprocess.Popen(
            spooler(path, endpoint.url, which, point), cwd=ROOT, stdout=subprocess.PIPE, text=True
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
    """Send all that is left, by a new process; gives how many were ambiguous."""
    done = subprocess.run(
        spooler(path, endpoint.url, "drain"), cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return int(done.stdout)


@pytest.mark.parametrize(
    ("point", "times", "ambiguous"),
    [("before", 0, 0), ("written", 1, 1), ("sent", 2, 1), ("answered", 2, 1)],
)
def test_a_kill_around_a_live_request(
    tmp_path: Path, endpoint: Endpoint, point: str, times: int, ambiguous: int
) -> None:
    """Only what was not written yet is lost, and only what was being sent can come twice."""
    path = tmp_path / "spool.db"
    shelf = Shelf(path)
    shelf.add("waiting 1", "waiting 2")
    shelf.spool.close()
    killed_at(point, "live", path, endpoint)
    assert drained(path, endpoint) == ambiguous
    assert arrived(endpoint) == +Counter({"live": times, "waiting 1": 1, "waiting 2": 1})
    assert drained(path, endpoint) == 0
    assert len(endpoint.requests) == times + 2


@pytest.mark.parametrize(
    ("point", "times", "ambiguous"),
    [("before", 1, 0), ("written", 1, 1), ("sent", 2, 1), ("answered", 2, 1)],
)
def test_a_kill_around_a_request_that_is_sent_again(
    tmp_path: Path, endpoint: Endpoint, point: str, times: int, ambiguous: int
) -> None:
    """Of many that wait, only the one whose turn it was can come twice."""
    path = tmp_path / "spool.db"
    shelf = Shelf(path)
    shelf.add("first", "second", "third")
    shelf.spool.close()
    killed_at(point, "resent", path, endpoint)
    assert drained(path, endpoint) == ambiguous
    assert arrived(endpoint) == {"first": times, "second": 1, "third": 1}


def test_kills_one_after_the_other(tmp_path: Path, endpoint: Endpoint) -> None:
    """Each kill adds one repetition at most, and none of them loses what waits."""
    path = tmp_path / "spool.db"
    shelf = Shelf(path)
    shelf.spool.add(entry("first"))
    shelf.spool.close()
    for kill in range(1, 4):
        endpoint.requests.clear()
        killed_at("answered", "resent", path, endpoint)
        assert arrived(endpoint) == {"first": 1}, kill
    endpoint.requests.clear()
    assert drained(path, endpoint) == 1
    assert arrived(endpoint) == {"first": 1}
