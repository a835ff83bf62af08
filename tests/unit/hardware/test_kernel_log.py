"""Hardware errors in the kernel's log: a pipe in its place, and the real one."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.facts.kernel_log import LINE, PATH
from neuron_exporter.hardware import kernel_log
from neuron_exporter.hardware.kernel_log import MAX_DEVICES, MAX_TYPES, KernelLog
from tests.support.waiting import wait_for

AS_DOCUMENTED = (
    "NEURON_HW_ERR=SRAM_UNCORRECTABLE_ERROR instance-id=i-0592464924bd45322 "
    "hostname=ip-172-31-61-252 nd-id=11 nc-id=0 serial-num=19fcda00f5ff6eb9 "
    "action=TERMINATE_INSTANCE"
)

Write = Callable[[str], None]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the list to which events are logged."""
    found: list[dict[str, Any]] = []

    class Log:
        """A log that keeps its events."""

        def warning(self, event: str, **fields: Any) -> None:
            """Keep an event."""
            found.append({"event": event, **fields})

    monkeypatch.setattr(kernel_log, "_log", Log())
    return found


@pytest.fixture
def problems() -> Counter[str]:
    """Return the number of problems by reason."""
    return Counter()


@pytest.fixture
def pipe(tmp_path: Path, problems: Counter[str]) -> Iterator[tuple[KernelLog, Write]]:
    """Return a log that is a pipe, and the function that writes a record."""
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    log = KernelLog(str(path), lambda reason: problems.update([reason]))
    log.start()
    yield log, lambda text: (os.write(writer, f"3,339,2231437541,-;{text}\n".encode()), None)[1]
    log.stop()
    os.close(writer)


@pytest.mark.parametrize(
    ("line", "error_type", "device"),
    [
        (AS_DOCUMENTED, "SRAM_UNCORRECTABLE_ERROR", "11"),
        ("kernel: NEURON_HW_ERR=DMA_ERROR affecting neuron devices", "DMA_ERROR", None),
        ("NEURON_HW_ERR=DMA_ERROR nd-id=3", "DMA_ERROR", "3"),
        ("NEURON_HW_ERR=DMA_ERROR nd-id=3x", "DMA_ERROR", None),
        ("NEURON_HW_ERR=DMA_ERROR round-id=3 nd-id=4", "DMA_ERROR", "4"),
    ],
)
def test_forms_of_lines(line: str, error_type: str, device: str | None) -> None:
    match = LINE.search(line)
    assert match is not None
    assert (match["error_type"], match["device"]) == (error_type, device)


@pytest.mark.parametrize("line", ["", "NEURON_HW_ERR=", "NEURON_HW_ERR=dma", "NEURON_HW_ERROR=X"])
def test_other_lines(line: str) -> None:
    assert LINE.search(line) is None


def test_errors_are_counted(pipe: tuple[KernelLog, Write]) -> None:
    """By device and type, among other lines. Each change is a new object."""
    log, write = pipe
    before = log.errors()
    assert before == {}
    write(AS_DOCUMENTED)
    write("neuron: npid_detach: pid=90193, slot=0")
    write(AS_DOCUMENTED)
    write("NEURON_HW_ERR=DMA_ERROR nd-id=3 nc-id=1")
    expected: Mapping[int, Mapping[str, int]] = {
        11: {"SRAM_UNCORRECTABLE_ERROR": 2},
        3: {"DMA_ERROR": 1},
    }
    wait_for(lambda: log.errors() == expected)
    assert before == {}


def test_lines_without_device(
    pipe: tuple[KernelLog, Write], problems: Counter[str], events: list[dict[str, Any]]
) -> None:
    """They are counted as problems, and reported once."""
    log, write = pipe
    for _ in range(3):
        write("kernel: NEURON_HW_ERR=DMA_ERROR affecting neuron devices")
    wait_for(lambda: problems["unclear"] == 3)
    assert events == [{"event": "kernel_log_line_unclear", "error_type": "DMA_ERROR"}]
    assert log.errors() == {}


def test_bounds(pipe: tuple[KernelLog, Write], problems: Counter[str]) -> None:
    """Programs that invent devices and types do not fill the memory."""
    log, write = pipe
    for number in range(MAX_TYPES + 5):
        write(f"NEURON_HW_ERR=E{number} nd-id=0")
    for number in range(MAX_DEVICES + 5):
        write(f"NEURON_HW_ERR=E0 nd-id={number}")
    wait_for(lambda: problems["unclear"] == 10)
    errors = log.errors()
    assert errors is not None
    assert len(errors) == MAX_DEVICES
    assert len(errors[0]) == MAX_TYPES


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOENT])
def test_log_that_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch,
    problems: Counter[str],
    events: list[dict[str, Any]],
    number: int,
) -> None:
    """The event names the right that is missing; nothing is counted."""

    def reject(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", reject)
    log = KernelLog(on_error=lambda reason: problems.update([reason]))
    log.start()
    monkeypatch.undo()
    log.stop()
    assert log.errors() is None
    assert problems == {"unreadable": 1}


def test_no_thread(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    problems: Counter[str],
    events: list[dict[str, Any]],
) -> None:
    """A machine that allows no further thread costs only these counts."""

    def reject(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    (tmp_path / "kmsg").touch()
    monkeypatch.setattr(threading.Thread, "start", reject)
    log = KernelLog(str(tmp_path / "kmsg"), lambda reason: problems.update([reason]))
    log.start()
    assert log.errors() is None
    assert problems == {"unreadable": 1}
    assert events[0]["reason"] == "can't start new thread"


def test_missing_right_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, events: list[dict[str, Any]]
) -> None:
    KernelLog(str(tmp_path / "none")).start()
    (event,) = events
    assert event["event"] == "kernel_log_unreadable"
    assert "CAP_SYSLOG" in event["needs"]


def test_end_of_the_log(
    tmp_path: Path, problems: Counter[str], events: list[dict[str, Any]]
) -> None:
    """A file in place of the log ends. Its counts are absent, rather than too low."""
    (tmp_path / "kmsg").write_text(f"{AS_DOCUMENTED}\n")
    log = KernelLog(str(tmp_path / "kmsg"), lambda reason: problems.update([reason]))
    log.start()
    wait_for(lambda: problems["unreadable"] == 1)
    wait_for(lambda: log.errors() is None)
    assert events[0]["reason"] == "it has ended"
    log.stop()


def test_overrun(
    pipe: tuple[KernelLog, Write],
    problems: Counter[str],
    events: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Linux answers EPIPE once if it has overwritten lines; the next lines count."""
    log, write = pipe
    read, overruns = os.read, [BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))]

    def overwritten(descriptor: int, size: int) -> bytes:
        if overruns:
            raise overruns.pop()
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", overwritten)
    write(AS_DOCUMENTED)
    wait_for(lambda: log.errors() == {11: {"SRAM_UNCORRECTABLE_ERROR": 1}})
    assert problems == {"overrun": 1}
    assert [event["event"] for event in events] == ["kernel_log_overrun"]


def test_real_log(problems: Counter[str]) -> None:
    """Lines from before the start do not count, and other programs' lines do not disturb."""
    error_type = f"TEST_{os.getpid()}"
    try:
        writer = os.open(PATH, os.O_WRONLY)
        os.close(os.open(PATH, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        pytest.skip(f"{PATH} cannot be used here: {error.strerror}")

    def write(device: int) -> None:
        os.write(
            writer, f"<3>NEURON_HW_ERR={error_type} nd-id={device} test of a program\n".encode()
        )

    write(60)
    log = KernelLog(on_error=lambda reason: problems.update([reason]))
    log.start()
    for device in (61, 62, 61):
        write(device)

    def counts() -> dict[int, int]:
        found = log.errors() or {}
        return {key: own[error_type] for key, own in found.items() if error_type in own}

    wait_for(lambda: counts() == {61: 2, 62: 1})
    log.stop()
    os.close(writer)
