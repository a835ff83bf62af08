"""A program that sends requests from a spool, and stops where a test wants to kill it.

    python -m tests.support.spooler PATH URL ACTION POINT

It prints the point and waits for ever. ACTION is `live` (spool and send a new request of that name)
or `resent` (send the next pending request). POINT is `before` (the write), `written`, `sent`
(waiting for the response) or `answered`. ACTION `hold` only opens the spool. ACTION `drain` sends
all pending requests, prints the number of ambiguous ones, and exits.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path

from neuron_exporter.log import configure
from neuron_exporter.sinks.cloudwatch.request import CODEC, PutMetricDataRequest
from neuron_exporter.sinks.delivery.spool.spool import Spool
from tests.support.children import FOREVER
from tests.support.spool_requests import MIB, START, make_request
from tests.support.spools import ACCEPTED_AGES


def spool_command(path: Path, url: str, action: str, point: str = "") -> list[str]:
    """Return the command, to be run in the directory `ROOT`."""
    return [sys.executable, "-m", "tests.support.spooler", str(path), url, action, point]


def _print(text: object) -> None:
    print(text, flush=True)


def _send(url: str, request: PutMetricDataRequest) -> None:
    body = json.dumps({"MetricData": request.items}, default=str).encode()
    http = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(http, timeout=60) as response:  # noqa: S310
        response.read()


def main(path: str, url: str, action: str, point: str) -> None:
    """Run an action up to a point."""
    configure("error")
    spool = Spool(
        Path(path),
        4 * MIB,
        ACCEPTED_AGES,
        lambda *_: None,
        codec=CODEC,
        destination=("NeuronExporter", "r-1"),
        sink="test",
        clock=lambda: START,
    )

    def stop(here: str) -> None:
        if here == point:
            _print(here)
            time.sleep(FOREVER)

    if action == "hold":
        spool.maintain()
        _print(spool.state)
        time.sleep(FOREVER)
    if action == "drain":
        while (taken := spool.take()) is not None:
            _send(url, taken.request)
            spool.discard(taken.key)
        _print(spool.ambiguous)
        spool.close()
        return
    spool.maintain()
    stop("before")
    if action == "live":
        request = make_request("live", START)
        key = spool.add_in_flight(request)
    else:
        taken = spool.take()
        assert taken is not None
        key, request = taken.key, taken.request
    stop("written")
    if point == "sent":
        _print(point)
    _send(url, request)
    stop("answered")
    spool.discard(key)


if __name__ == "__main__":
    main(*sys.argv[1:])
