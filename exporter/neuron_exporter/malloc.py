"""Settings of the C library's memory allocation."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_ARENA_MAX = -8  # glibc's malloc.h


def use_one_arena() -> None:
    """Let all threads allocate from one arena, unless MALLOC_ARENA_MAX is set; see mallopt(3).

    By default, glibc creates an arena for each of the first threads, and retains freed memory in
    each. Call this before the first thread starts, because threads keep their arena.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError):  # musl has neither arenas nor this function
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
