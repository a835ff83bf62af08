"""Bytes become lines, whatever their length and wherever they are cut."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_exporter.source import stream as lines
from neuron_exporter.source.stream import Framer, Pumped, Stream, Wake
from tests.support.listening import Recorder

MIB = 2**20
UNLIMITED = 2**40


class Cut:
    """What a framer makes of chunks, and the most that it held meanwhile."""

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
            room = self.framer.room()
            count = min(len(room), len(chunk))
            assert count, "there has to be room always"
            room[:count] = chunk[:count]
            chunk = chunk[count:]
            self.lines += map(bytes, self.framer.advance(count))
            self.largest_buffer = max(self.largest_buffer, buffer_size(self.framer))


def buffer_size(framer: Framer) -> int:
    """How many bytes the framer's buffer has."""
    held = framer.room().obj
    assert isinstance(held, bytearray)
    return len(held)


def cut_at(data: bytes, size: int) -> list[bytes]:
    """The bytes in pieces of one size."""
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.just(b"\n"), st.just(b"\n\n")), max_size=60),
    st.integers(0, 80),
    st.sampled_from([16, 64, 64 * 1024]),
)
@settings(deadline=None, max_examples=300)
def test_any_bytes_in_any_chunks_are_cut_at_newlines(
    chunks: list[bytes], max_line: int, first_buffer: int
) -> None:
    """However a stream is cut, its lines are those of `bytes.split`, long ones skipped."""
    whole = [line for line in b"".join(chunks).split(b"\n") if line]

    with pytest.MonkeyPatch.context() as patch:
        # A small buffer has to grow and to move, which a large one does not for small data.
        patch.setattr(lines, "_FIRST_BUFFER", first_buffer)
        patch.setattr(lines, "_LEAST_ROOM", first_buffer // 4)
        patch.setattr(lines, "_LARGEST_KEPT_BUFFER", 2 * first_buffer)
        cut = Cut(chunks, max_line)

    assert cut.lines == [line for line in whole if len(line) <= max_line]
    assert cut.skipped == [len(line) for line in whole if len(line) > max_line]


@pytest.mark.parametrize("size", [1, 7, 4096, 65536, 10**9])
def test_every_chunk_size_gives_the_same_lines(size: int) -> None:
    """Lines that are longer than a chunk, as long, or shorter come out whole and in order."""
    whole = [b"a" * length for length in (1, 4095, 4096, 4097, 70_000 if size > 100 else 70)]

    cut = Cut(cut_at(b"\n".join(whole) + b"\n", size))

    assert cut.lines == whole


@pytest.mark.parametrize("ending", [b"\n", b""], ids=["ended", "half"])
def test_a_line_of_the_largest_size_is_kept(ending: bytes) -> None:
    """A line of exactly 16 MiB comes out, with those around it, and its memory is given back."""
    large = os.urandom(4096).replace(b"\n", b" ") * 4096
    assert len(large) == 16 * MIB

    cut = Cut(cut_at(b"before\n" + large + b"\nafter" + ending, 65536), 16 * MIB)

    assert cut.lines == [b"before", large, b"after"]
    assert cut.skipped == []
    assert cut.largest_buffer <= 32 * MIB
    if ending:
        assert buffer_size(cut.framer) <= MIB


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("length", [16 * MIB + 1, 48 * MIB])
def test_a_line_that_is_too_long_is_counted_and_never_held(length: int, ended: bool) -> None:
    """A line beyond the limit costs no memory beyond it, and is told with its length, once."""
    chunks = [b"before\n", *cut_at(bytes(length), MIB), *([b"\nafter\n"] if ended else [])]

    cut = Cut(chunks, 16 * MIB)

    assert cut.lines == [b"before", b"after"] if ended else [b"before"]
    assert cut.skipped == [length]
    assert cut.largest_buffer <= 32 * MIB


def test_skipped_lines_cost_only_themselves() -> None:
    """Lines between, before and after skipped ones survive."""
    cut = Cut([b"one\n" + b"x" * 50 + b"\ntwo\n" + b"y" * 11 + b"\n\nthree\n" + b"z" * 99], 10)

    assert cut.lines == [b"one", b"two", b"three"]
    assert cut.skipped == [50, 11, 99]


def test_a_half_last_line_is_given_at_the_end_only() -> None:
    """What has no end yet is held until it gets one, or until nothing more comes."""
    framer = Framer(100, lambda _: None)
    framer.room()[:9] = b"one\ntwo\r\0"

    assert [bytes(line) for line in framer.advance(9)] == [b"one"]
    rest = framer.rest()

    assert rest is not None
    assert bytes(rest) == b"two\r\0"


class Pipe:
    """A stream over a real pipe."""

    def __init__(self, max_line: int = 1000) -> None:
        self.reading, self.writing = os.pipe()
        self.heard = Recorder()
        self.wake = Wake()
        self.stream = Stream(self.reading, max_line, self.heard, self.wake)

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
    """A pipe that is closed after the test."""
    made = Pipe()
    yield made
    made.close()


def test_a_stream_tells_data_silence_and_end(pipe: Pipe) -> None:
    """One attempt to read waits no longer than it is told, and tells how it ended."""
    assert pipe.stream.pump(0.01) is Pumped.SILENCE
    os.write(pipe.writing, b'{"p": 5}\nhalf')
    assert pipe.stream.pump(5) is Pumped.DATA
    assert pipe.heard.lines == [b'{"p": 5}']
    assert pipe.stream.last_report == pipe.heard.times[0].monotonic
    pipe.end()
    assert pipe.stream.pump(5) is Pumped.END
    pipe.stream.finish()
    assert pipe.heard.lines == [b'{"p": 5}', b"half"]


def test_a_stream_that_others_read_too_has_not_ended(pipe: Pipe) -> None:
    """Bytes that somebody else took from a shared descriptor are silence, not the end."""

    class Faster(Framer):
        def room(self) -> memoryview:
            os.read(pipe.reading, 100)  # between the poll and the read
            return super().room()

    os.set_blocking(pipe.reading, False)
    pipe.stream._framer = Faster(1000, lambda _: None)
    os.write(pipe.writing, b"taken\n")

    assert pipe.stream.pump(5) is Pumped.SILENCE


def test_wake_ends_a_wait_and_stays(pipe: Pipe) -> None:
    """Who asks to stop ends the present wait and every later one, however often it is asked."""
    assert not pipe.wake.wait(0.01)
    for _ in range(100_000):  # more than the pipe inside could hold, were it read never
        pipe.wake.ask()

    assert pipe.wake.wait(60)
    assert pipe.wake.asked()
    assert pipe.stream.pump(60) is Pumped.SILENCE
