"""Series for each core and runtime, as AWS's script has them (`prometheus.layout: aws`)."""

from __future__ import annotations

from operator import attrgetter

from neuron_exporter.metrics.runtimes import limited_runtimes, runtime_key
from neuron_exporter.metrics.series_cache import SeriesCache
from neuron_exporter.metrics.sums import (
    CATEGORIES,
    Quantities,
    add_each,
    add_optional,
    columns_by_name,
    readable,
    shares,
)
from neuron_exporter.metrics.tables import RuntimeCoreTable
from neuron_exporter.model import Entity
from neuron_exporter.report.schema import CoreMemory, Report

_UNREAD = CoreMemory()
_quantities = attrgetter(*CATEGORIES)


def runtime_cores(report: Report, cache: SeriesCache) -> RuntimeCoreTable:
    """Return the values of each core of each runtime; runtimes with equal labels are merged."""
    percents: dict[Entity, float | None] = {}
    memory: dict[Entity, Quantities] = {}
    for runtime in limited_runtimes(report):
        if runtime is None or runtime.error or runtime.report is None:
            continue
        labels = cache.runtime(runtime_key(runtime)).labels
        counters = runtime.report.neuroncore_counters
        if counters is not None and not counters.error:
            for core, used in readable(counters.neuroncores_in_use or {}).items():
                entity = Entity((("neuroncore", str(core)), *labels))
                percent = used.neuroncore_utilization if used else None
                percents[entity] = add_optional(percents.get(entity), percent)
        group = runtime.report.memory_used
        if group is None or group.error or group.neuron_runtime_used_bytes is None:
            continue
        breakdown = group.neuron_runtime_used_bytes.usage_breakdown
        by_core = (breakdown and breakdown.neuroncore_memory_usage) or {}
        for core, categories in readable(by_core).items():
            entity = Entity((("neuroncore", str(core)), *labels))
            memory[entity] = add_each(memory.get(entity), _quantities(categories or _UNREAD))
    entities = list(dict.fromkeys((*percents, *memory)))
    return RuntimeCoreTable(
        entities,
        **columns_by_name(CATEGORIES, map(memory.get, entities)),
        utilization=shares(map(percents.get, entities)),
    )
