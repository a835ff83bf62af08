"""Logging."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from neuron_exporter import log

LEVELS = ("debug", "info", "warning", "error")


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture
def log_events() -> Callable[..., list[dict[str, Any]]]:
    """Return a function that logs and returns the written events."""

    def run(write: Callable[[], object], level: str = "debug") -> list[dict[str, Any]]:
        stream = io.StringIO()
        log.configure(level, "json", stream)
        write()
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    return run


LogEvents = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("level", LEVELS)
def test_level(log_events: LogEvents, level: str) -> None:
    """Events of the level and above are written."""
    events = log_events(lambda: [getattr(log.get_logger(), each)(each) for each in LEVELS], level)
    assert [event["event"] for event in events] == list(LEVELS[LEVELS.index(level) :])
    assert [event["level"] for event in events] == list(LEVELS[LEVELS.index(level) :])


def test_json_event(log_events: LogEvents) -> None:
    """An event is one line that begins with its UTC time, level and name; then come its fields."""
    (event,) = log_events(lambda: log.get_logger(part="x").info("thing_done", text="a\nb", count=3))
    assert list(event)[:3] == ["timestamp", "level", "event"]
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "thing_done", "level": "info", "part": "x", "text": "a\nb", "count": 3
    }  # fmt: skip


@pytest.mark.parametrize("value", [object(), {1, 2}, b"\xff", "\udcff", float("nan")])
def test_values_without_a_json_type(log_events: LogEvents, value: object) -> None:
    (event,) = log_events(lambda: log.get_logger().info("strange", value=value))
    assert "value" in event


def test_traceback_is_logged(log_events: LogEvents) -> None:

    def write() -> None:
        try:
            raise ValueError("broken")
        except ValueError:
            log.get_logger().exception("failed")

    (event,) = log_events(write)
    assert "ValueError: broken" in event["exception"]


def test_auto_format() -> None:
    """`auto` is `console` on a terminal and `json` elsewhere."""
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        log.configure("info", "auto", stream)
        log.get_logger().info("started", url="x")
    assert "started" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert json.loads(pipe.getvalue())["event"] == "started"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_explicit_format(log_format: str) -> None:
    """`json` and `console` apply to terminals and other streams alike."""
    for stream in (Terminal(), io.StringIO()):
        log.configure("info", log_format, stream)
        log.get_logger().info("started")
        assert stream.getvalue().startswith("{") is (log_format == "json")


def test_early_logger() -> None:
    """A logger that is created before `configure` uses the configured level."""
    logger, stream = log.get_logger(part="early"), io.StringIO()
    log.configure("error", "json", stream)
    logger.info("hidden")
    log.configure("info", "json", stream)
    logger.info("shown")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["shown"]


def test_closed_stream() -> None:
    """Logging to a closed stream raises nothing."""
    stream = io.StringIO()
    log.configure("info", "json", stream)
    stream.close()
    log.get_logger().info("lost")


def test_library_logs_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json", io.StringIO())
    logging.getLogger("a.library").propagate = False
    logging.getLogger("a.library").error("trouble")
    assert capfd.readouterr() == ("", "")


def test_concurrent_lines_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_LINES_PER_SECOND", 1000)
    stream = io.StringIO()
    log.configure("info", "json", stream)
    threads = [
        threading.Thread(
            target=lambda: [log.get_logger().info("tick", filler="x" * 500) for _ in range(100)]
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in stream.getvalue().splitlines()]) == 800


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_text_cannot_forge_log_lines(log_format: str) -> None:
    stream = io.StringIO()
    log.configure("info", log_format, stream)
    log.get_logger().warning("field_invalid", path='x"} 1\nevent\n# \r\x1b[2J\u2028\u202e')
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    ["x" * 2**20, "\0" * 2**20, ["x" * 2**20] * 1000, 10**5000, {"x": "x" * 2**20}, b"x" * 2**20],
    ids=["text", "control characters", "list", "number", "mapping", "bytes"],
)
def test_lines_are_short(log_format: str, value: object) -> None:
    stream = io.StringIO()
    log.configure("info", log_format, stream)
    log.get_logger().warning("attacked", value=value)
    assert 0 < len(stream.getvalue()) < 110_000


def test_traceback_is_short(log_events: LogEvents) -> None:
    def write() -> None:
        try:
            raise ValueError("x" * 2**20)
        except ValueError:
            log.get_logger().exception("failed")

    (event,) = log_events(write)
    assert event["exception"].startswith("Traceback")
    assert len(event["exception"]) < 10_000


def test_flood_of_errors_is_limited(log_events: LogEvents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuron_exporter.log.time.monotonic", lambda: 100.0)
    events = log_events(lambda: [log.get_logger().error("trouble") for _ in range(1000)])
    assert len(events) == log.MAX_LINES_PER_SECOND


def test_log_lines_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines above the rate are dropped and counted; errors have a limit of their own."""
    monkeypatch.setattr(log, "MAX_LINES_PER_SECOND", 3)
    monkeypatch.setattr(log, "_on_drop", log._on_drop)
    clock = iter([100.0] * 12 + [101.0] * 5)
    monkeypatch.setattr("neuron_exporter.log.time.monotonic", lambda: next(clock))
    stream, dropped = io.StringIO(), []
    log.on_drop(lambda: dropped.append(1))
    log.configure("info", "json", stream)
    for number in range(10):
        log.get_logger().info("flood", number=number)
    log.get_logger().error("trouble")
    log.get_logger().info("flood")
    log.get_logger().info("later")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["flood"] * 3 + ["trouble", "later"]
    assert [line.get("lines_dropped") for line in lines] == [None, None, None, 7, 1]
    assert len(dropped) == 8


def test_logfmt() -> None:
    """Each event is one line, whatever its fields contain."""
    stream = io.StringIO()
    log.configure("info", "logfmt", stream)
    log.get_logger().warning("delivery_failing", reason='a "b"\nc', count=2, items=["x", "y"])
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("timestamp=")
    assert " level=warning event=delivery_failing " in line
    assert "count=2" in line
    assert r"\nc" in line
