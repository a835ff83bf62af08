"""Fifty machines with 128 cores each, for pictures and for the time that queries take.

A few exporters run on simulated machines. A server multiplies the page of each: every copy has an
instance id of its own, and everything else is as the exporter wrote it.
"""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from tests.support.exporter import running_exporter
from tests.support.modified_simulator import modified_simulator
from tests.support.promtool import RULES
from tests.support.servers import Prometheus, prometheus_server


class Kind(NamedTuple):
    """A number of machines whose pages come from one exporter, with its simulator's flags."""

    machines: int
    flags: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "training": Kind(16, ("--scenario", "training", "--kubernetes", "--seed", "1")),
    "training-2": Kind(12, ("--scenario", "training", "--kubernetes", "--seed", "2")),
    "inference": Kind(10, ("--scenario", "inference", "--seed", "3")),
    "mixed": Kind(4, ("--scenario", "mixed", "--seed", "4")),
    "idle": Kind(6, ("--scenario", "idle", "--seed", "5")),
    "hung": Kind(1, ("--scenario", "training", "--faults", "hang@6", "--seed", "6")),
    "failing": Kind(
        1, ("--scenario", "inference", "--faults", "execution-errors@6", "--seed", "7")
    ),
}

_ID = re.compile(rb'instance_id="(i-[^"]+)"')
_CACHE_SECONDS = 1.0


class _Page:
    """The page of an exporter, read at most once per second."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._text = b""
        self._read_at = -_CACHE_SECONDS

    def of(self, machine: str) -> bytes:
        """Return the page with the instance id of this machine."""
        with self._lock:
            if time.monotonic() - self._read_at >= _CACHE_SECONDS:
                with urllib.request.urlopen(self._url, timeout=60) as response:  # noqa: S310
                    self._text = response.read()
                self._read_at = time.monotonic()
            text = self._text
        found = _ID.search(text)
        return text.replace(found[1], machine.encode()) if found else text


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, pages: Mapping[str, _Page], *arguments: object) -> None:
        self._pages = pages
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        machine = self.path.strip("/")
        body = self._pages[machine].of(machine)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def fleet_of_fifty(folder: Path, interval: str = "15s") -> Iterator[Prometheus]:
    """Start the machines and a Prometheus with the rules, and wait for the first scrapes."""
    with ExitStack() as stack:
        pages: dict[str, _Page] = {}
        for kind, (count, flags) in KINDS.items():
            own = folder / kind
            own.mkdir()
            source = modified_simulator(
                "single-cores", "--instance-type", "trn2.48xlarge", *flags
            ) | {"period": "5s"}
            identity = {"imds": False, "ecs": False}
            exporter = stack.enter_context(
                running_exporter(own, {"source": source, "identity": identity})
            )
            exporter.wait_for_value("neuron_exporter_up", 1)
            page = _Page(f"{exporter.url}/metrics")
            pages |= {_instance_id(len(pages) + number): page for number in range(count)}
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, pages))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        targets = [
            {
                "targets": [f"127.0.0.1:{server.server_port}"],
                "labels": {"__metrics_path__": f"/{machine}", "instance": f"{_host(number)}:9415"},
            }
            for number, machine in enumerate(pages)
        ]
        yield stack.enter_context(
            prometheus_server(
                folder, *pages, interval=interval, rule_files=RULES, static_configs=targets
            )
        )


def _instance_id(number: int) -> str:
    """Return an id that looks like EC2's and differs in its first digits, as the front end cuts
    long names at their end. The exporter recognizes the simulator by the rest."""
    return f"i-0{number * 2654435761 % 2**32:08x}51a7e0ff"


def _host(number: int) -> str:
    return f"ip-10-0-{number // 25}-{10 + number % 25}"
