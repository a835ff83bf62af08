"""Slow, full or closed standard output costs lines, but never stops the daemon."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from neuron_exporter.sinks.cloudwatch.emf import EmfTransport, Output, OutputError
from neuron_exporter.sinks.delivery.transport import Verdict
from tests.support.cloudwatch_sinks import request_of
from tests.support.emf import published, sent, validate
from tests.unit.sinks.cloudwatch.test_emf import datum


class Pipe:
    """A pipe of known size."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.output = Output(self.writer, timeout=0.05)

    def fill(self, rest: int = 0) -> int:
        """Fill the pipe except for `rest` pages; return the number of bytes in it."""
        os.set_blocking(self.writer, False)
        filled = 0
        try:
            while True:
                filled += os.write(self.writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(self.writer, True)
        if rest:
            assert len(os.read(self.reader, rest * 4096)) == rest * 4096
        return filled - rest * 4096

    def read_all(self) -> bytes:
        """Close the writing end and read the content."""
        os.close(self.writer)
        with open(self.reader, "rb") as rest:
            return rest.read()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe that is closed after the test."""
    made = Pipe()
    yield made
    for fd in (made.reader, made.writer):
        try:
            os.close(fd)
        except OSError:
            continue


def test_full_pipe_is_retried(pipe: Pipe) -> None:
    filled = pipe.fill()
    transport = EmfTransport(pipe.output)
    outcome = transport.send(request_of(datum()))
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "OutputBlocked")
    assert len(os.read(pipe.reader, filled)) == filled
    assert transport.send(request_of(datum())).verdict is Verdict.DELIVERED
    assert published([pipe.read_all()]) == sent([datum()])


def test_partial_line_is_completed_and_not_repeated(pipe: Pipe) -> None:
    filled = pipe.fill(rest=1)
    long = [datum(f"{'M' * 200}{n}") for n in range(30)]
    transport = EmfTransport(pipe.output)
    outcome = transport.send(request_of(*long))
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "OutputBlocked")
    assert len(os.read(pipe.reader, filled)) == filled
    assert transport.send(request_of(datum("Next"))).verdict is Verdict.DELIVERED
    first, second = pipe.read_all().splitlines(keepends=True)
    assert published([first]) == sent(long)
    assert "Next" in validate(second)


def test_slow_reader_receives_everything(pipe: Pipe) -> None:
    got: list[bytes] = []

    def read_slowly() -> None:
        while chunk := os.read(pipe.reader, 1000):
            got.append(chunk)

    output = Output(pipe.writer)
    reading = threading.Thread(target=read_slowly)
    reading.start()
    made = [datum(f"{'M' * 200}{n}") for n in range(1000)]
    assert EmfTransport(output).send(request_of(*made)).verdict is Verdict.DELIVERED
    os.close(pipe.writer)
    reading.join()
    assert published(b"".join(got).splitlines(keepends=True)) == sent(made)


def test_closed_pipe_rejects_request(pipe: Pipe) -> None:
    os.close(pipe.reader)
    outcome = EmfTransport(pipe.output).send(request_of(datum()))
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "EPIPE")


def test_dev_null_rejects_request() -> None:
    with open(os.devnull, "wb") as nowhere:
        outcome = EmfTransport(Output(nowhere.fileno())).send(request_of(datum()))
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "NoOutput")


def test_full_disk_raises() -> None:
    with open("/dev/full", "wb") as full:
        output = Output(full.fileno())
        output.make_room()
        with pytest.raises(OutputError) as caught:
            output.write(b"{}\n")
    assert caught.value.code == "ENOSPC"
    assert not caught.value.blocked
