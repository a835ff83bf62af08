"""Logging: events with fields, one line each, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog


def configure(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Send events of `level` and above to `stream` (standard error by default).

    The form `auto` is `console` on a terminal and `json` elsewhere.
    """
    out = sys.stderr if stream is None else stream
    if form == "auto":
        form = "console" if out.isatty() else "json"
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=out.isatty())]
        if form == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_factory(out),
        cache_logger_on_first_use=False,
    )
    # Libraries speak through the standard library's logging; what matters of theirs is raised to
    # us as an error and said in our own words.
    logging.lastResort = logging.NullHandler()


def get_logger(**fields: Any) -> Any:
    """A logger; its methods take an event name and fields."""
    return structlog.get_logger(**fields)


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
