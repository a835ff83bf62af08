"""Splitting of a byte stream into lines, and reading from a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_exporter.source import stream
from neuron_exporter.source.stream import Framer, ReadResult, Stream, WakeupPipe
from tests.support.source_thread import RecordingListener

MIB = 2**20
UNLIMITED = 2**40


class Feed:
    """Lines and skipped lengths of a framer that is fed chunks, and its largest buffer."""

    def __init__(self, chunks: Iterable[bytes], max_line: int = UNLIMITED) -> None:
        self.lines: list[bytes] = []
        self.skipped: list[int] = []
        self.largest_buffer = 0
        self.framer = Framer(max_line, self.skipped.append)
        for chunk in chunks:
            self._feed(memoryview(chunk))
        rest = self.framer.rest()
        if rest is not None:
            self.lines.append(bytes(rest))

    def _feed(self, chunk: memoryview) -> None:
        while chunk:
            free_space = self.framer.free_space()
            count = min(len(free_space), len(chunk))
            assert count, "there must always be free space"
            free_space[:count] = chunk[:count]
            chunk = chunk[count:]
            self.lines += map(bytes, self.framer.advance(count))
            self.largest_buffer = max(self.largest_buffer, buffer_size(self.framer))


def buffer_size(framer: Framer) -> int:
    """Return the size of the framer's buffer."""
    buffer = framer.free_space().obj
    assert isinstance(buffer, bytearray)
    return len(buffer)


def split(data: bytes, size: int) -> list[bytes]:
    """Split bytes into chunks of one size."""
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.just(b"\n"), st.just(b"\n\n")), max_size=60),
    st.integers(0, 80),
    st.sampled_from([16, 64, 64 * 1024]),
)
@settings(max_examples=300)
def test_split_arbitrary_chunks(chunks: list[bytes], max_line: int, initial_buffer: int) -> None:
    """The lines are those of `bytes.split`, without empty and too long ones."""
    expected = [line for line in b"".join(chunks).split(b"\n") if line]

    with pytest.MonkeyPatch.context() as patch:
        # Only a small buffer has to grow and to move with so little data.
        patch.setattr(stream, "_INITIAL_BUFFER", initial_buffer)
        patch.setattr(stream, "_MIN_FREE", initial_buffer // 4)
        patch.setattr(stream, "_MAX_KEPT_BUFFER", 2 * initial_buffer)
        feed = Feed(chunks, max_line)

    assert feed.lines == [line for line in expected if len(line) <= max_line]
    assert feed.skipped == [len(line) for line in expected if len(line) > max_line]


@pytest.mark.parametrize("size", [1, 7, 4096, 65536, 10**9])
def test_chunk_size_is_irrelevant(size: int) -> None:
    whole = [b"a" * length for length in (1, 4095, 4096, 4097, 70_000 if size > 100 else 70)]

    feed = Feed(split(b"\n".join(whole) + b"\n", size))

    assert feed.lines == whole


@pytest.mark.parametrize("ending", [b"\n", b""], ids=["ended", "half"])
def test_longest_allowed_line(ending: bytes) -> None:
    """A line of exactly 16 MiB is complete, and its memory is released afterwards."""
    large = os.urandom(4096).replace(b"\n", b" ") * 4096
    assert len(large) == 16 * MIB

    feed = Feed(split(b"before\n" + large + b"\nafter" + ending, 65536), 16 * MIB)

    assert feed.lines == [b"before", large, b"after"]
    assert feed.skipped == []
    assert feed.largest_buffer <= 32 * MIB
    if ending:
        assert buffer_size(feed.framer) <= MIB


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("length", [16 * MIB + 1, 48 * MIB])
def test_too_long_line(length: int, ended: bool) -> None:
    """A too long line is reported once with its length and never fills the memory."""
    chunks = [b"before\n", *split(bytes(length), MIB), *([b"\nafter\n"] if ended else [])]

    feed = Feed(chunks, 16 * MIB)

    assert feed.lines == [b"before", b"after"] if ended else [b"before"]
    assert feed.skipped == [length]
    assert feed.largest_buffer <= 32 * MIB


def test_lines_around_skipped_ones_are_kept() -> None:
    feed = Feed([b"one\n" + b"x" * 50 + b"\ntwo\n" + b"y" * 11 + b"\n\nthree\n" + b"z" * 99], 10)

    assert feed.lines == [b"one", b"two", b"three"]
    assert feed.skipped == [50, 11, 99]


def test_unterminated_last_line() -> None:
    """A line without a newline is only returned by `rest`."""
    framer = Framer(100, lambda _: None)
    framer.free_space()[:9] = b"one\ntwo\r\0"

    assert [bytes(line) for line in framer.advance(9)] == [b"one"]
    rest = framer.rest()

    assert rest is not None
    assert bytes(rest) == b"two\r\0"


class Pipe:
    """A stream that reads from a pipe."""

    def __init__(self, max_line: int = 1000) -> None:
        self.reading, self.writing = os.pipe()
        self.listener = RecordingListener()
        self.wakeup = WakeupPipe()
        self.stream = Stream(self.reading, max_line, self.listener, self.wakeup)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reading)
        if self.writing >= 0:
            os.close(self.writing)

    def end(self) -> None:
        """Close the writing end."""
        os.close(self.writing)
        self.writing = -1


@pytest.fixture
def pipe() -> Iterable[Pipe]:
    """Yield a pipe and close it afterwards."""
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_read_results(pipe: Pipe) -> None:
    """`read_available` returns SILENCE, DATA or END."""
    assert pipe.stream.read_available(0.01) is ReadResult.SILENCE
    os.write(pipe.writing, b'{"p": 5}\nhalf')
    assert pipe.stream.read_available(5) is ReadResult.DATA
    assert pipe.listener.lines == [b'{"p": 5}']
    assert pipe.stream.last_report == pipe.listener.times[0].monotonic
    pipe.end()
    assert pipe.stream.read_available(5) is ReadResult.END
    pipe.stream.finish()
    assert pipe.listener.lines == [b'{"p": 5}', b"half"]


def test_other_reader_takes_the_bytes(pipe: Pipe) -> None:
    """Bytes taken by another reader of the same pipe are silence, not the end."""

    class Faster(Framer):
        def free_space(self) -> memoryview:
            os.read(pipe.reading, 100)  # between the poll and the read
            return super().free_space()

    os.set_blocking(pipe.reading, False)
    pipe.stream._framer = Faster(1000, lambda _: None)
    os.write(pipe.writing, b"line\n")

    assert pipe.stream.read_available(5) is ReadResult.SILENCE


def test_stop_request_persists(pipe: Pipe) -> None:
    """A requested stop ends the current wait and all later ones."""
    assert not pipe.wakeup.wait(0.01)
    for _ in range(100_000):  # more than the capacity of its pipe
        pipe.wakeup.request_stop()

    assert pipe.wakeup.wait(60)
    assert pipe.wakeup.stop_requested()
    assert pipe.stream.read_available(60) is ReadResult.SILENCE


def test_pipe_without_descriptors_fails_with_one_error() -> None:
    code = (
        "import os, resource\n"
        "from neuron_exporter.source.stream import WakeupPipe\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) - 1, 64))\n"
        "try: WakeupPipe()\n"
        "except OSError as error: print(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("Too many open files\n", "")
