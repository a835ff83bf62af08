"""A program that sends requests by way of a spool, and stops where a test wants to kill it.

    python -m tests.support.spooler PATH URL WHICH POINT

It says the point on a line of standard output, then waits for ever. WHICH is `live` (a new request,
named so, is kept and sent) or `resent` (the next pending one is). POINT is `before` (the write),
`written`, `sent` (it waits for the answer) or `answered`. With WHICH `hold` it opens the spool, and
no more. With `drain` it sends all that is pending, says how many were ambiguous, and ends.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path

from neuron_exporter.log import configure
from neuron_exporter.sinks.delivery.spool.rows import Entry
from neuron_exporter.sinks.delivery.spool.spool import Spool
from tests.support.children import FOREVER
from tests.support.entries import DAY, MIB, START, entry


def spooler(path: Path, url: str, which: str, point: str = "") -> list[str]:
    """The command, to be run in the folder `ROOT`."""
    return [sys.executable, "-m", "tests.support.spooler", str(path), url, which, point]


def _say(text: object) -> None:
    print(text, flush=True)


def _send(url: str, request: Entry) -> None:
    body = json.dumps({"MetricData": request.datums}, default=str).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
        answer.read()


def main(path: str, url: str, which: str, point: str) -> None:
    """Do what is asked for."""
    configure("error")
    spool = Spool(Path(path), 4 * MIB, 14 * DAY, lambda *_: None, clock=lambda: START)

    def stop(here: str) -> None:
        if here == point:
            _say(here)
            time.sleep(FOREVER)

    if which == "hold":
        spool.upkeep()
        _say(spool.state)
        time.sleep(FOREVER)
    if which == "drain":
        while (kept := spool.next()) is not None:
            _send(url, kept.entry)
            spool.settled(kept.key)
        _say(spool.ambiguous)
        spool.close()
        return
    spool.upkeep()
    stop("before")
    if which == "live":
        request = entry("live", START)
        key = spool.keep(request)
    else:
        kept = spool.next()
        assert kept is not None
        key, request = kept.key, kept.entry
    stop("written")
    if point == "sent":
        _say(point)
    _send(url, request)
    stop("answered")
    spool.settled(key)


if __name__ == "__main__":
    main(*sys.argv[1:])
