"""Providers of owners with prepared results."""

from __future__ import annotations

from collections.abc import Callable

from neuron_exporter.identity.owners.lookup import OwnersResult
from neuron_exporter.model import Owner, Owners

RED = Owner(container="red")


class FakeProvider:
    """A provider that records the processes it is queried for."""

    name = "fake"

    def __init__(self, answer: Callable[[frozenset[int]], OwnersResult]) -> None:
        self.queries: list[frozenset[int]] = []
        self._answer = answer

    def lookup(self, pids: frozenset[int]) -> OwnersResult:
        """Return the prepared result."""
        self.queries.append(pids)
        return self._answer(pids)


def all_red(pids: frozenset[int]) -> OwnersResult:
    """Return RED as the owner of every process."""
    return OwnersResult(Owners(by_pid=dict.fromkeys(pids, RED)))
