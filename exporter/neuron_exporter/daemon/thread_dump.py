"""What every thread is doing now: for those who look into an exporter that hangs."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator


def stacks() -> str:
    """The stack of each thread, by its name: places in the code, and no values."""
    return "\n".join(_stacks())


def _stacks() -> Iterator[str]:
    frames = sys._current_frames()
    for thread in sorted(threading.enumerate(), key=lambda each: each.name):
        frame = frames.get(thread.ident or 0)
        if frame is not None:
            yield f"{thread.name}:\n{''.join(traceback.format_stack(frame))}"
