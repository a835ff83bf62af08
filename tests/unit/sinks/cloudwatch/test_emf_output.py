"""Standard output that is slow, full, or gone costs lines, never the daemon."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from neuron_exporter.sinks.cloudwatch.emf import Emf
from neuron_exporter.sinks.cloudwatch.output import Output, OutputError
from neuron_exporter.sinks.cloudwatch.transport import Verdict
from tests.support.emf import published, sent, validate
from tests.unit.sinks.cloudwatch.test_emf import datum


class Pipe:
    """A pipe of known size."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.output = Output(self.writer, patience=0.05)

    def fill(self, rest: int = 0) -> int:
        """Fill it but for so many pages; gives how much there is to be read first."""
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
        """Close our end of it, and read what is in it."""
        os.close(self.writer)
        with open(self.reader, "rb") as rest:
            return rest.read()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe, closed afterwards if it still is open."""
    made = Pipe()
    yield made
    for fd in (made.reader, made.writer):
        try:
            os.close(fd)
        except OSError:
            continue


def test_a_full_pipe_is_tried_again(pipe: Pipe) -> None:
    """Nothing of the request was written: it may come later, and is complete then."""
    filled = pipe.fill()
    transport = Emf(pipe.output)
    outcome = transport.send("N", [datum()])
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "OutputBlocked")
    assert len(os.read(pipe.reader, filled)) == filled
    assert transport.send("N", [datum()]).verdict is Verdict.DELIVERED
    assert published([pipe.read_all()]) == sent([datum()])


def test_what_was_begun_is_finished_and_not_repeated(pipe: Pipe) -> None:
    """A line of which a part is out is completed before the next: neither is torn or twice."""
    filled = pipe.fill(rest=1)
    long = [datum(f"{'M' * 200}{n}") for n in range(30)]
    transport = Emf(pipe.output)
    outcome = transport.send("N", long)
    assert (outcome.verdict, outcome.code) == (Verdict.NEVER, "OutputBlocked")
    assert len(os.read(pipe.reader, filled)) == filled
    assert transport.send("N", [datum("Next")]).verdict is Verdict.DELIVERED
    first, second = pipe.read_all().splitlines(keepends=True)
    assert published([first]) == sent(long)
    assert "Next" in validate(second)


def test_a_slow_reader_gets_everything(pipe: Pipe) -> None:
    """More than a pipe holds goes through, as long as somebody reads."""
    got: list[bytes] = []

    def read_slowly() -> None:
        while chunk := os.read(pipe.reader, 1000):
            got.append(chunk)

    output = Output(pipe.writer)
    reading = threading.Thread(target=read_slowly)
    reading.start()
    made = [datum(f"{'M' * 200}{n}") for n in range(1000)]
    assert Emf(output).send("N", made).verdict is Verdict.DELIVERED
    os.close(pipe.writer)
    reading.join()
    assert published(b"".join(got).splitlines(keepends=True)) == sent(made)


def test_a_reader_that_left_is_no_error_of_ours(pipe: Pipe) -> None:
    """The request is given up with the system's word for it, and nothing is raised."""
    os.close(pipe.reader)
    outcome = Emf(pipe.output).send("N", [datum()])
    assert (outcome.verdict, outcome.code) == (Verdict.NEVER, "EPIPE")


def test_output_to_nowhere_is_said() -> None:
    """Lines to /dev/null, as which a closed standard output is opened, are not delivered."""
    with open(os.devnull, "wb") as nowhere:
        outcome = Emf(Output(nowhere.fileno())).send("N", [datum()])
    assert (outcome.verdict, outcome.code) == (Verdict.NEVER, "NoOutput")


def test_a_full_disk_is_said() -> None:
    """Standard output may be a file, and that may not take another byte."""
    with open("/dev/full", "wb") as full:
        output = Output(full.fileno())
        output.make_room()
        with pytest.raises(OutputError) as caught:
            output.write(b"{}\n")
    assert caught.value.code == "ENOSPC"
    assert not caught.value.blocked
