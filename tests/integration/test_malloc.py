"""The arenas of malloc in a running exporter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exporter import running_exporter, simulated
from tests.support.waiting import wait_for

_HEAP = 64 * 2**20
"""Size and alignment of a heap of an arena, of which most is reserved without access (glibc)."""


def arenas(pid: int) -> int:
    """Return the number of arenas beside the main one, from the maps of a process."""
    maps = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    ranges = [[int(each, 16) for each in line[0].split("-")] for line in maps]
    return sum(
        begin % _HEAP == 0 and maps[at + 1][1] == "---p" and ranges[at + 1][1] == begin + _HEAP
        for at, (begin, _) in enumerate(ranges[:-1])
    )


@pytest.mark.parametrize(("variable", "has_others"), [(None, False), ("4", True)])
def test_threads_share_one_arena(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, has_others: bool
) -> None:
    """A number that is set in the environment wins."""
    if variable is not None:
        monkeypatch.setenv("MALLOC_ARENA_MAX", variable)
    else:
        monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        exporter.get("/metrics")
        if has_others:
            wait_for(lambda: arenas(exporter.process.pid))
        assert bool(arenas(exporter.process.pid)) is has_others
