"""Spools under test: their requests, their clocks, and what they said."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter.sinks.delivery.spool.rows import pack
from neuron_exporter.sinks.delivery.spool.spool import Spool
from tests.support.entries import DAY, MIB, START, entry, name_of

_made: list[Shelf] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Imported by a module, closes what its tests have left open."""
    yield
    while _made:
        _made.pop().spool.close()


class Shelf:
    """A spool whose clocks are moved by hand, and what it lost."""

    def __init__(
        self,
        path: Path | None,
        max_bytes: int = MIB,
        max_age: float = 14 * DAY,
        template: str = "",
        wall: float = START,
    ) -> None:
        self.wall = wall
        self.uptime = 1000.0
        self.path = path
        self.lost: Counter[str] = Counter()
        _made.append(self)
        self.spool = Spool(
            path,
            max_bytes,
            max_age,
            self._lose,
            template=template,
            clock=lambda: self.wall,
            monotonic=lambda: self.uptime,
        )

    def _lose(self, reason: str, number: int) -> None:
        assert number > 0
        self.lost[reason] += number

    def wait(self, seconds: float) -> None:
        """Let time pass, and the spool do its upkeep."""
        self.wall += seconds
        self.uptime += seconds
        self.spool.upkeep()

    def add(self, *names: str, noise: int = 0) -> None:
        """Add pending requests, each stamped a second after the one before."""
        for number, name in enumerate(names):
            self.spool.add(entry(name, START + number, noise))

    def fill(self, number: int, noise: int = 100) -> None:
        """Add as many pending requests, named 0, 1, 2 …, by few transactions."""
        for each in range(number):
            self.spool._remember(pack(entry(str(each), START + each, noise)))
        self.spool.upkeep()

    def names(self) -> list[str]:
        """The names of all that can be sent now, in their order; they are settled by this."""
        found = []
        while (kept := self.spool.next()) is not None:
            found.append(name_of(kept.entry))
            self.spool.settled(kept.key)
        return found

    def size(self) -> int:
        """Bytes on disk: the file, its log, and whatever else has its name."""
        assert self.path is not None
        return sum(os.stat(each).st_size for each in self.path.parent.glob(f"{self.path.name}*"))


def filled(path: Path, number: int = 3, max_bytes: int = 16 * MIB) -> Shelf:
    """A spool with pending requests named 0, 1, 2 …"""
    shelf = Shelf(path, max_bytes)
    shelf.fill(number)
    return shelf
