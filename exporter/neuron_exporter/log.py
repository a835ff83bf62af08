"""Structured logging: one event with fields per line, on standard error."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from neuron_exporter.text import truncated_repr

# structlog imports rich if it is installed, for tracebacks that the exporter does not print: 4 MiB.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
try:
    import structlog
    from structlog.typing import EventDict
finally:
    if sys.modules.get("rich") is None:
        del sys.modules["rich"]

LEVELS = ("debug", "info", "warning", "error")
"""Log levels, the most verbose first."""

MAX_LINES_PER_SECOND = 100
"""Rate limit of lines below `error`, so that a flood does not fill a disk or cost money. Errors
have a limit of their own, of the same number, so that such a flood does not hide them."""

KEPT_EVENTS = 40
"""Number of recent warnings and errors kept in memory, for the page."""

MAX_FIELD_LENGTH = 400
"""Maximum length of a kept field, in characters."""

MAX_TEXT_LENGTH = 1000
"""Maximum length of a text in a line, in characters. Callers sanitize what comes from outside; this
limit also holds where one forgets it."""

_MAX_TRACEBACK_LENGTH = 8000
_MAX_ITEMS = 100

_HEADER = ("timestamp", "level", "event")


def configure(level: str = "info", log_format: str = "auto", stream: TextIO | None = None) -> None:
    """Write events of `level` and above to `stream`, by default standard error.

    The format `auto` is `console` on a terminal and `json` elsewhere.
    """
    out = sys.stderr if stream is None else stream
    if log_format == "auto":
        log_format = "console" if out.isatty() else "json"
    is_console = log_format == "console"
    renderers: list[Any]
    match log_format:
        case "console":
            renderers = [_escape_fields, structlog.dev.ConsoleRenderer(colors=out.isatty())]
        case "logfmt":
            renderers = [_escape_fields, structlog.processors.LogfmtRenderer(key_order=_HEADER)]
        case _:
            renderers = [_put_header_first, structlog.processors.JSONRenderer()]
    logger = _SafeLogger(out)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _RateLimit(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if is_console else [structlog.processors.format_exc_info]),
            _bound_fields,
            _keep,
            *renderers,
        ],
        logger_factory=lambda *_: logger,
        cache_logger_on_first_use=False,
    )
    set_level(level)
    # Libraries log through the standard library. Drop that: what matters reaches the exporter as an
    # exception, and is logged as an event of its own.
    logging.lastResort = logging.NullHandler()


def set_level(level: str) -> None:
    """Log events of `level` and above from now on."""
    logger = structlog.make_filtering_bound_logger(getattr(logging, level.upper()))
    structlog.configure(wrapper_class=logger)


def get_logger(**fields: Any) -> Any:
    """Return a logger. Its methods accept an event name and fields."""
    return structlog.get_logger(**fields)


def on_drop(callback: Callable[[], None]) -> None:
    """Call `callback` for every dropped line."""
    global _on_drop
    _on_drop = callback


def count_drop() -> None:
    """Count a line that standard error did not take."""
    _on_drop()


def report_drops(lines: int) -> None:
    """Log how many lines standard error did not take, now that it takes lines again."""
    _log.warning("log_lines_dropped", lines=lines, reason="standard error could not be written")


def recent_events() -> list[Mapping[str, Any]]:
    """Return the recent warnings and errors, oldest first.

    Each has `timestamp`, `level`, `event`, and `fields` as text.
    """
    return list(_kept)


_kept: deque[Mapping[str, Any]] = deque(maxlen=KEPT_EVENTS)
_log = get_logger()


def _on_drop() -> None:
    """Do nothing; `on_drop` replaces this function."""


def _keep(_: Any, level: str, event: EventDict) -> EventDict:
    """Keep warnings and errors in memory."""
    if level in ("warning", "error", "critical"):
        fields = {
            name: _as_text(value)[:MAX_FIELD_LENGTH]
            for name, value in event.items()
            if name not in (*_HEADER, "exc_info", "exception")
        }
        kept = {name: str(event.get(name, ""))[:MAX_FIELD_LENGTH] for name in _HEADER}
        _kept.append({**kept, "fields": fields})
    return event


def _as_text(value: Any) -> str:
    """Return a field as a reader expects it: a list as its items."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class _RateLimit:
    """Processor that drops lines above a rate. The next line carries their number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second = 0
        self._lines = [0, 0]  # below `error`, and errors
        self._dropped = 0

    def __call__(self, _: Any, level: str, event: EventDict) -> EventDict:
        with self._lock:
            second = int(time.monotonic())
            if second != self._second:
                self._second, self._lines = second, [0, 0]
            is_error = level in ("error", "critical")
            self._lines[is_error] += 1
            if self._lines[is_error] > MAX_LINES_PER_SECOND:
                self._dropped += 1
                _on_drop()
                raise structlog.DropEvent
            if self._dropped:
                event["lines_dropped"], self._dropped = self._dropped, 0
        return event


def _put_header_first(_: Any, __: str, event: EventDict) -> EventDict:
    """Let a line begin with its time, level and event."""
    return {name: event[name] for name in _HEADER} | dict(event)


def _bound_fields(_: Any, __: str, event: EventDict) -> EventDict:
    """Shorten long texts and lists."""
    return {name: _bound(name, value) for name, value in event.items()}


def _bound(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | float) or name == "exc_info":
        return value
    if isinstance(value, int) and value.bit_length() <= 64:
        return value
    if isinstance(value, str):
        limit = _MAX_TRACEBACK_LENGTH if name == "exception" else MAX_TEXT_LENGTH
        return value if len(value) <= limit else value[: limit - 1] + "…"
    if isinstance(value, list | tuple):
        return [_bound("", item) for item in value[:_MAX_ITEMS]]
    return truncated_repr(value, MAX_TEXT_LENGTH)


def _escape_fields(_: Any, __: str, event: EventDict) -> EventDict:
    """Escape control characters for a terminal. JSON escapes them by itself."""
    return {name: _escape(value) for name, value in event.items()}


def _escape(value: Any) -> Any:
    if isinstance(value, list):
        value = _as_text(value)
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)


class _SafeLogger:
    """Writer of lines that never raises: a closed standard error must not end the daemon."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        try:
            # One write per line, so that the lines of several threads do not mix.
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            pass

    log = debug = info = warning = warn = error = critical = exception = msg
