"""The compared programs: each is fed through a pipe and read over HTTP."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Program:
    """A running program. `cpu` is in seconds, `resident` in MiB."""

    def __init__(
        self, process: subprocess.Popen[bytes], connection: http.client.HTTPConnection
    ) -> None:
        self._process = process
        self._connection = connection
        self._serving: str | None = None
        self.url = f"http://127.0.0.1:{connection.port}"

    def feed(self, line: bytes) -> None:
        """Write one report to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def scrape(self, encoding: str = "identity") -> bytes:
        """Read its metrics over a kept connection."""
        self._connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
        return self._connection.getresponse().read()

    @property
    def series(self) -> int:
        """Number of series it exposes."""
        return sum(not line.startswith(b"#") for line in self.scrape().splitlines())

    @property
    def cpu(self) -> float:
        """User and system time of all its threads so far."""
        return sum(self._by_thread().values())

    @property
    def serving_cpu(self) -> float:
        """User and system time of the thread that serves our connection so far."""
        if self._serving is None:
            before = self._by_thread()
            self.scrape()
            (self._serving,) = self._by_thread().keys() - before.keys()
        return self._by_thread()[self._serving]

    def _by_thread(self) -> dict[str, float]:
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return {task.name: int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks}

    @property
    def resident(self) -> float:
        """Its resident memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024


@contextmanager
def aws_script() -> Iterator[Program]:
    """Start AWS's script."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.aws_script"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    with _running(process, port) as program:
        yield program


@contextmanager
def exporter(cloudwatch: str | None) -> Iterator[Program]:
    """Start the exporter, with CloudWatch enabled if an endpoint is given."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "exporter.yaml"
        config.write_text(
            "prometheus: {listen: '127.0.0.1:0'}\nsource: {kind: stdin}\n"
            + (
                f"cloudwatch: {{enabled: true, endpoint_url: '{cloudwatch}', flush_interval: 1s, "
                f"spool: {{path: {folder}/spool.db}}}}\n"
                if cloudwatch
                else ""
            )
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "neuron_exporter", "run", "--config", str(config)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "NEURON_EXPORTER__LOG__FORMAT": "json",
            },
        )
        port = _port_in_log(process)
        with _running(process, port) as program:
            yield program


def _port_in_log(process: subprocess.Popen[bytes]) -> int:
    assert process.stderr is not None
    log = process.stderr
    for line in log:
        if b'"started"' in line:
            threading.Thread(target=log.read, daemon=True).start()
            return int(line.split(b'"url": "')[1].split(b'"')[0].rsplit(b":", 1)[1])
    raise RuntimeError("the exporter did not start")


@contextmanager
def _running(process: subprocess.Popen[bytes], port: int) -> Iterator[Program]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with process, closing(connection):
        try:
            yield Program(process, connection)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


@contextmanager
def endpoint() -> Iterator[str]:
    """Start an HTTP endpoint that accepts every PutMetricData."""

    class Accept(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
                b"Content-Length: 2\r\n\r\n{}"
            )

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Accept)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def silent_endpoint() -> Iterator[str]:
    """Listen on an address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def wait_until(at: float) -> None:
    """Sleep until this time of the monotonic clock."""
    time.sleep(max(0.0, at - time.monotonic()))
