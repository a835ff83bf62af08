"""Logging: events with fields, one line each, on standard error."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict

LEVELS = ("debug", "info", "warning", "error")
"""The most talkative first."""

MOST_LINES_PER_SECOND = 100
"""Below errors: whatever floods us, the log does not fill a disk or an account."""

KEPT_LINES = 40
"""Important lines that are remembered, for those who look at the page."""

LONGEST_KEPT = 400
"""Characters of a remembered field."""

_IMPORTANT = ("warning", "error", "critical")


def configure(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Send events of `level` and above to `stream` (standard error by default).

    The form `auto` is `console` on a terminal and `json` elsewhere.
    """
    out = sys.stderr if stream is None else stream
    if form == "auto":
        form = "console" if out.isatty() else "json"
    last: list[Any] = (
        [_on_one_line, structlog.dev.ConsoleRenderer(colors=out.isatty())]
        if form == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _Ration(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _keep,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_factory(out),
        cache_logger_on_first_use=False,
    )
    # Libraries speak through the standard library's logging; what matters of theirs is raised to
    # us as an error and said in our own words.
    logging.lastResort = logging.NullHandler()


def set_level(level: str) -> None:
    """Log events of `level` and above from now on."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper()))
    )


def get_logger(**fields: Any) -> Any:
    """A logger; its methods take an event name and fields."""
    return structlog.get_logger(**fields)


def on_drop(tell: Callable[[], None]) -> None:
    """Call `tell` for every line that is dropped."""
    _Ration.tell = staticmethod(tell)


def last_lines() -> list[Mapping[str, Any]]:
    """The last lines of importance, warnings and above, the oldest first: when, of which level,
    which event, and its fields as text."""
    return list(_kept)


_kept: deque[Mapping[str, Any]] = deque(maxlen=KEPT_LINES)


def _keep(_: Any, level: str, event: EventDict) -> EventDict:
    """Remember what is important."""
    if level in _IMPORTANT:
        about = ("timestamp", "level", "event")
        fields = {
            name: str(value)[:LONGEST_KEPT]
            for name, value in event.items()
            if name not in (*about, "exc_info")
        }
        said = {name: str(event.get(name, ""))[:LONGEST_KEPT] for name in about}
        _kept.append({**said, "fields": fields})
    return event


class _Ration:
    """Drops lines above a rate; the next line that is written says how many."""

    tell: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second = 0
        self._lines = 0
        self._dropped = 0

    def __call__(self, _: Any, level: str, event: EventDict) -> EventDict:
        with self._lock:
            second = int(time.monotonic())
            if second != self._second:
                self._second, self._lines = second, 0
            self._lines += 1
            if self._lines > MOST_LINES_PER_SECOND and level not in ("error", "critical"):
                self._dropped += 1
                self.tell()
                raise structlog.DropEvent
            if self._dropped:
                event["lines_dropped"], self._dropped = self._dropped, 0
        return event


def _on_one_line(_: Any, __: str, event: EventDict) -> EventDict:
    """Escape what a terminal would obey; JSON does that by itself."""
    return {name: _escaped(value) for name, value in event.items()}


def _escaped(value: Any) -> Any:
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)


class _Quiet:
    """Writes lines and never raises: a closed standard error must not end the daemon."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        try:
            # One write a line, so that lines of several threads do not mix.
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            pass

    log = debug = info = warning = warn = error = critical = exception = msg


def _factory(out: TextIO) -> Any:
    quiet = _Quiet(out)
    return lambda *_: quiet
