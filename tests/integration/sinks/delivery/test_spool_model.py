"""Any sequence of operations leaves the spool as a simple model predicts."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.spool_requests import START, make_request, name_of
from tests.support.spools import SpoolHarness
from tests.support.spools import close_spools as close_spools


class Model(RuleBasedStateMachine):
    """A spool and its model: dictionaries of pending requests and of requests in flight."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._copies = 0
        self.path = Path(self._folder.name) / "spool.db"
        self.harness = SpoolHarness(self.path)
        self.pending: dict[str, tuple[int, float]] = {}
        self.held: dict[str, tuple[int, tuple[int, float]]] = {}
        self.made = 0

    def _new(self, age: int) -> tuple[str, float]:
        self.made += 1
        # Stamps are unique, since the order of equal stamps is undefined.
        return str(self.made), START - age * 1000 - self.made

    @rule(age=st.integers(0, 9))
    def add_in_flight(self, age: int) -> None:
        name, stamp = self._new(age)
        self.held[name] = (self.harness.spool.add_in_flight(make_request(name, stamp)), (0, stamp))

    @rule(age=st.integers(0, 9))
    def add(self, age: int) -> None:
        name, stamp = self._new(age)
        self.harness.spool.add(make_request(name, stamp))
        self.pending[name] = (0, stamp)

    @rule()
    def take(self) -> None:
        taken = self.harness.spool.take()
        if taken is None:
            assert not self.pending
            return
        name = min(self.pending, key=self.pending.__getitem__)
        assert name_of(taken.request) == name
        turn = self.pending.pop(name)
        assert taken.failures == turn[0]
        self.held[name] = (taken.key, turn)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), failed=st.booleans())
    def give_back(self, data: st.DataObject, failed: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        key, (failures, stamp) = self.held.pop(name)
        self.harness.spool.requeue(key, failed=failed)
        self.pending[name] = (failures + failed, stamp)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.harness.spool.discard(self.held.pop(name)[0])

    @rule()
    def maintain(self) -> None:
        self.harness.wait(0.5)

    @rule(killed=st.booleans())
    def reopen(self, killed: bool) -> None:
        """Reopen after an orderly stop, or from the files that a kill would leave."""
        if killed:
            self._copies += 1
            copy = self.path.with_name(f"copy-{self._copies}.db")
            if self.path.exists():
                for end in ("", "-wal"):
                    subprocess.run(["cp", f"{self.path}{end}", f"{copy}{end}"], check=True)
            self.path = copy
        self.harness.spool.close()
        self.harness = SpoolHarness(self.path)
        self.harness.spool.maintain()
        assert self.harness.spool.ambiguous == len(self.held)
        self.pending |= {name: turn for name, (_, turn) in self.held.items()}
        self.held.clear()

    @rule()
    def lose_the_file(self) -> None:
        """Delete the file: pending requests are salvaged, requests in flight are in memory."""
        if self.path.exists():
            self.path.unlink()
            self.harness.wait(1000)

    @invariant()
    def agrees(self) -> None:
        assert len(self.harness.spool) == len(self.pending)
        assert len(self.harness.spool._in_flight) == len(self.held)
        assert not self.harness.lost
        assert self.harness.spool.state == "disk" or self.path.exists() is False

    def teardown(self) -> None:
        try:
            assert self.harness.drain() == sorted(self.pending, key=self.pending.__getitem__)
        finally:
            self.harness.spool.close()
            self._folder.cleanup()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
