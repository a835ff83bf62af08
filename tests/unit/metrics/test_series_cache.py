"""What the cache of entities keeps, and what it forgets."""

from __future__ import annotations

import gc

import pytest

from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.metrics.series_cache import SeriesCache
from neuron_exporter.model import Owner, Owners


@pytest.mark.parametrize("by", ["cores", "pid"])
def test_equal_owner_keeps_the_entity(by: str) -> None:
    """Each lookup makes new objects, and so does the search for what two containers share."""
    cache, key = SeriesCache(("runtime_tag",)), RuntimeKey(1, "worker")
    entities = []
    for _ in range(2):
        owners = Owners(by_pid={1: Owner(pod="train")})
        if by == "cores":
            one, two = (Owner(pod="train", container=name) for name in ("one", "two"))
            owners = Owners(by_core={0: one, 1: two})
        cache.resolve_owner(key, owners, lambda: (0, 1), 0.0)
        entities.append(cache.runtime(key))
    assert entities[0].labels == (("runtime_tag", "worker"), ("pod", "train"))
    assert entities[0] is entities[1]


def test_entities_of_exited_runtimes_are_forgotten() -> None:
    """Otherwise, each process of the machine would leave its cores behind."""
    cache = SeriesCache(("runtime_tag", "pid"))
    keys = [RuntimeKey(pid, "worker") for pid in (1, 2)]
    for key in keys:
        cache.resolve_owner(key, Owners(), lambda: (), 0.0)
    runtimes = [cache.runtime(key) for key in keys]
    core_runtimes = [cache.core_runtime(3, key) for key in keys]
    cache.retain_runtimes({keys[1]})
    for entities in (runtimes, core_runtimes):
        kept = [any(isinstance(r, dict) for r in gc.get_referrers(each)) for each in entities]
        assert kept == [False, True]
    assert cache.core_runtime(3, keys[1]) is core_runtimes[1]
