"""The log: one event a line, on a stream that may be closed."""

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
    """A stream that people look at."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture
def written() -> Callable[..., list[dict[str, Any]]]:
    """Configure the log, let something speak, and give what stands in it as JSON."""

    def run(speak: Callable[[], object], level: str = "debug") -> list[dict[str, Any]]:
        stream = io.StringIO()
        log.configure(level, "json", stream)
        speak()
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    return run


Written = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_holds_the_ones_above_it(written: Written, level: str) -> None:
    """With log.level X, events of X and of everything more serious are written, no others."""
    events = written(lambda: [getattr(log.get_logger(), each)(each) for each in LEVELS], level)
    assert [event["event"] for event in events] == list(LEVELS[LEVELS.index(level) :])
    assert [event["level"] for event in events] == list(LEVELS[LEVELS.index(level) :])


def test_an_event_is_one_line_of_json_with_its_fields(written: Written) -> None:
    """Programs that read the log find name, level, time in UTC and every field, on one line."""
    (event,) = written(lambda: log.get_logger(part="x").info("thing_done", text="a\nb", count=3))
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "thing_done", "level": "info", "part": "x", "text": "a\nb", "count": 3
    }  # fmt: skip


@pytest.mark.parametrize("value", [object(), {1, 2}, b"\xff", "\udcff", float("nan")])
def test_no_value_is_too_strange_for_the_log(written: Written, value: object) -> None:
    """A field that JSON has no word for is written somehow; the event is not lost."""
    (event,) = written(lambda: log.get_logger().info("strange", value=value))
    assert "value" in event


def test_an_exception_is_written_with_its_traceback(written: Written) -> None:
    """Whoever logs an exception finds where it came from, still on one line."""

    def speak() -> None:
        try:
            raise ValueError("broken")
        except ValueError:
            log.get_logger().exception("failed")

    (event,) = written(speak)
    assert "ValueError: broken" in event["exception"]


def test_a_terminal_gets_words_and_everything_else_json() -> None:
    """`auto` writes for people on a terminal, and for programs in a file or a pipe."""
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        log.configure("info", "auto", stream)
        log.get_logger().info("started", url="x")
    assert "started" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert json.loads(pipe.getvalue())["event"] == "started"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_form_that_was_chosen_is_kept_on_every_stream(form: str) -> None:
    """`json` and `console` are what they say, terminal or not."""
    for stream in (Terminal(), io.StringIO()):
        log.configure("info", form, stream)
        log.get_logger().info("started")
        assert stream.getvalue().startswith("{") is (form == "json")


def test_a_logger_that_was_made_before_obeys_what_is_configured_later() -> None:
    """Modules make their loggers when they are imported, before the level is known."""
    logger, stream = log.get_logger(part="early"), io.StringIO()
    log.configure("error", "json", stream)
    logger.info("hidden")
    log.configure("info", "json", stream)
    logger.info("shown")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["shown"]


def test_a_closed_stream_ends_nothing() -> None:
    """A daemon whose standard error was closed lives on."""
    stream = io.StringIO()
    log.configure("info", "json", stream)
    stream.close()
    log.get_logger().info("nobody_reads_this")


def test_libraries_say_nothing_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    """The log holds our events only: no bare lines of botocore between them."""
    log.configure("info", "json", io.StringIO())
    logging.getLogger("a.library").propagate = False
    logging.getLogger("a.library").error("trouble")
    assert capfd.readouterr() == ("", "")


def test_lines_of_many_threads_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line is whole, also when all threads speak at once."""
    monkeypatch.setattr(log, "MOST_LINES_PER_SECOND", 1000)
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
