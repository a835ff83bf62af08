"""Rotel, a third-party OTLP receiver, and the points that it prints.

Its program is in the wheel `rotel` of PyPI. It prints no flags: a point without a value has that of
no recorded value.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from opentelemetry.proto.metrics.v1.metrics_pb2 import DataPointFlags

from tests.support.otlp_points import Attributes, Point
from tests.support.waiting import wait_for

_KINDS = {"Sum": "sum", "Gauge": "gauge"}
_NO_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_FIELD = re.compile(r"(?P<name>[A-Za-z ]+?): ?(?P<value>.*)")
_DESCRIPTOR = re.compile(r" {5}-> (?P<name>[A-Za-z]+): ?(?P<value>.*)")
_ATTRIBUTE = re.compile(r" {5}-> (?P<name>[^:]+): Str\((?P<value>.*)\)")
_CUMULATIVE = "AGGREGATION_TEMPORALITY_CUMULATIVE"


def rotel_program() -> Path | None:
    """Return the path of the program; None if it is not installed."""
    spec = find_spec("rotel")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).with_name("rotel-agent")
    return program if program.exists() else None


class Rotel:
    """A running receiver."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self._print_out = PrintOut()
        self._process = process
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def points(self) -> list[Point]:
        """The points that were printed so far, but for the last one if it has no value."""
        return list(self._print_out.points)

    def end(self) -> list[Point]:
        """End the receiver; return all of its points."""
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reading.join()
        self._print_out.finish()
        return self.points

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._print_out.add(line.rstrip("\n"))
        self._process.stdout.close()


class PrintOut:
    """Reader of the print-out, line by line."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._section = ""
        self._resource: dict[str, str] = {}
        self._scope = ""
        self._descriptor: dict[str, str] = {}
        self._attributes: dict[str, str] = {}
        self._fields: dict[str, str] = {}

    def add(self, line: str) -> None:
        """Add a line. Lines of the log are ignored."""
        if line.startswith(("ResourceMetrics #", "ScopeMetrics #", "Metric #", "NumberDataPoints")):
            self.finish()
        if line.startswith("ResourceMetrics #"):
            self._resource = {}
        elif line == "Resource attributes:":
            self._section = "resource"
        elif line == "Data point attributes:":
            self._section = "point"
        elif line == "Descriptor:":
            self._section, self._descriptor = "descriptor", {}
        elif line.startswith("InstrumentationScope "):
            self._scope = line.removeprefix("InstrumentationScope ").strip()
        elif line.startswith("     -> "):
            self._add_item(line)
        elif self._section == "point" and (match := _FIELD.fullmatch(line)):
            self._fields[match["name"]] = match["value"]
            if match["name"] == "Value":  # the last field
                self.finish()

    def finish(self) -> None:
        """Add the point whose end was not seen yet, if any."""
        fields, attributes = self._fields, self._attributes
        self._fields, self._attributes, self._section = {}, {}, ""
        if "Timestamp" not in fields:
            return
        kind = _KINDS[self._descriptor["DataType"]]
        if kind == "sum":
            assert self._descriptor["IsMonotonic"] == "true"
            assert self._descriptor["AggregationTemporality"] == _CUMULATIVE
        value = fields.get("Value")
        self.points.append(
            Point(
                self._descriptor["Name"],
                kind,
                _sorted(attributes),
                None if value is None else float(value),
                int(fields["StartTimestamp"]),
                int(fields["Timestamp"]),
                _NO_VALUE if value is None else 0,
                _sorted(self._resource),
                self._descriptor["Unit"],
                self._scope,
            )
        )

    def _add_item(self, line: str) -> None:
        if self._section == "descriptor":
            match = _DESCRIPTOR.fullmatch(line)
            target = self._descriptor
        else:
            match = _ATTRIBUTE.fullmatch(line)
            target = self._resource if self._section == "resource" else self._attributes
        assert match is not None, line
        assert match["name"] not in target, line
        target[match["name"]] = match["value"]


@contextmanager
def running_rotel() -> Iterator[Rotel]:
    """Run the receiver, which must be installed."""
    program = rotel_program()
    assert program is not None
    with socket.socket() as http, socket.socket() as grpc:  # it does not report ports that it binds
        for each in (http, grpc):
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (http, grpc)]
    process = subprocess.Popen(
        [
            program,
            "start",
            f"--otlp-http-endpoint={addresses[0]}",
            f"--otlp-grpc-endpoint={addresses[1]}",
            "--exporter=blackhole",
            "--debug-log=metrics",
            "--debug-log-verbosity=detailed",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    receiver = Rotel(f"http://{addresses[0]}", process)
    try:
        wait_for(lambda: process.poll() is not None or _listens(addresses[0]))
        assert process.poll() is None, "the receiver has ended"
        yield receiver
    finally:
        receiver.end()


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), 2):
            return True
    except OSError:
        return False


def _sorted(attributes: dict[str, str]) -> Attributes:
    return tuple(sorted(attributes.items()))
