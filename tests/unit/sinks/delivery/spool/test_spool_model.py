"""Whatever is done in whatever order, the spool holds what a simple model says."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.entries import START, entry, name_of
from tests.support.spools import Shelf
from tests.support.spools import closed as closed


class Model(RuleBasedStateMachine):
    """A spool beside two dictionaries: what is pending, and what is in flight."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._copies = 0
        self.path = Path(self._folder.name) / "spool.db"
        self.shelf = Shelf(self.path)
        self.pending: dict[str, tuple[int, float]] = {}
        self.held: dict[str, tuple[int, tuple[int, float]]] = {}
        self.made = 0

    def _new(self, age: int) -> tuple[str, float]:
        self.made += 1
        # No two share a stamp: their order would be nobody's promise.
        return str(self.made), START - age * 1000 - self.made

    @rule(age=st.integers(0, 9))
    def keep(self, age: int) -> None:
        name, stamp = self._new(age)
        self.held[name] = (self.shelf.spool.keep(entry(name, stamp)), (0, stamp))

    @rule(age=st.integers(0, 9))
    def add(self, age: int) -> None:
        name, stamp = self._new(age)
        self.shelf.spool.add(entry(name, stamp))
        self.pending[name] = (0, stamp)

    @rule()
    def take(self) -> None:
        kept = self.shelf.spool.next()
        if kept is None:
            assert not self.pending
            return
        name = min(self.pending, key=self.pending.__getitem__)
        assert name_of(kept.entry) == name
        turn = self.pending.pop(name)
        assert kept.failures == turn[0]
        self.held[name] = (kept.key, turn)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), failed=st.booleans())
    def give_back(self, data: st.DataObject, failed: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        key, (failures, stamp) = self.held.pop(name)
        self.shelf.spool.returned(key, failed=failed)
        self.pending[name] = (failures + failed, stamp)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.shelf.spool.settled(self.held.pop(name)[0])

    @rule()
    def upkeep(self) -> None:
        self.shelf.wait(0.5)

    @rule(killed=st.booleans())
    def reopen(self, killed: bool) -> None:
        """By an orderly stop, or from what a kill at this moment would leave."""
        if killed:
            self._copies += 1
            copy = self.path.with_name(f"copy-{self._copies}.db")
            if self.path.exists():
                for end in ("", "-wal"):
                    subprocess.run(["cp", f"{self.path}{end}", f"{copy}{end}"], check=True)
            self.path = copy
        self.shelf.spool.close()
        self.shelf = Shelf(self.path)
        self.shelf.spool.upkeep()
        assert self.shelf.spool.ambiguous == len(self.held)
        self.pending |= {name: turn for name, (_, turn) in self.held.items()}
        self.held.clear()

    @rule()
    def lose_the_file(self) -> None:
        """Somebody deletes it: what was pending is saved, what is in flight is in hand."""
        if self.path.exists():
            self.path.unlink()
            self.shelf.wait(1000)

    @invariant()
    def agrees(self) -> None:
        assert len(self.shelf.spool) == len(self.pending)
        assert not self.shelf.lost
        assert self.shelf.spool.state == "disk" or self.path.exists() is False

    def teardown(self) -> None:
        try:
            assert self.shelf.names() == sorted(self.pending, key=self.pending.__getitem__)
        finally:
            self.shelf.spool.close()
            self._folder.cleanup()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
