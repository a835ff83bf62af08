"""A lookup of owners that runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from neuron_exporter.identity.owners.lookup import OwnerLookup
from tests.support.owner_providers import RED, FakeProvider, all_red
from tests.support.waiting import wait_for


@contextmanager
def running_lookup(*providers: FakeProvider) -> Iterator[OwnerLookup]:
    """Run a lookup."""
    lookup = OwnerLookup(providers)
    lookup.start()
    try:
        yield lookup
    finally:
        lookup.stop()
        wait_for(lambda: all(t.name != "owners" for t in threading.enumerate()))


def test_new_process_starts_round() -> None:
    provider = FakeProvider(all_red)
    with running_lookup(provider) as lookup:
        wait_for(lambda: provider.queries)
        lookup.observe(frozenset({7}), frozenset())
        assert lookup.owners().lookup_enabled
        wait_for(lambda: lookup.owners().by_pid == {7: RED})
