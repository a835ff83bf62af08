"""What the cache of entities keeps, and what it forgets."""

from __future__ import annotations

import gc

from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.metrics.series_cache import SeriesCache
from neuron_exporter.model import Owners


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
