"""Sums of quantities that several runtimes report."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from neuron_exporter.model import Column
from neuron_exporter.report.schema import UNREADABLE, CpuShares

CATEGORIES = ("constants", "model_code", "model_shared_scratchpad", "runtime_memory", "tensors")
LOCATIONS = ("host", "neuron_device")
USAGES = ("user", "system")
HOST_CATEGORIES = ("application_memory", "constants", "dma_buffers", "tensors")

Quantities = tuple[float | None, ...]
"""Quantities in a fixed order, such as the bytes on a core in the order of `CATEGORIES`; None where
no runtime has a reading."""

NO_MEMORY: Quantities = (0.0,) * len(CATEGORIES)

C = TypeVar("C", bound=Hashable)
V = TypeVar("V")


class CoreSums(Generic[C]):
    """Sum of one quantity over runtimes, by core; `unread` are cores with a missing reading."""

    __slots__ = ("sums", "unread")

    def __init__(self) -> None:
        self.sums: dict[C, float] = {}
        self.unread: set[C] = set()

    def add(self, core: C, amount: float | None) -> None:
        """Add the reading of one runtime."""
        if amount is None:
            self.unread.add(core)
        else:
            self.sums[core] = self.sums.get(core, 0.0) + amount

    def fill_zeros(self, cores: Iterable[C]) -> None:
        """Set the sum of each core that has neither a sum nor a missing reading to 0."""
        for core in cores:
            if core not in self.sums and core not in self.unread:
                self.sums[core] = 0.0


def readable(by_core: dict[int, V]) -> dict[int, V]:
    """Return the mapping without unreadable keys; the same object if there are none."""
    if UNREADABLE not in by_core:
        return by_core
    return {core: value for core, value in by_core.items() if core != UNREADABLE}


def add_optional(a: float | None, b: float | None) -> float | None:
    """Return the sum of the readings that are present; None if both are missing."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def max_optional(a: float | None, b: float | None) -> float | None:
    """Return the higher of the readings that are present; None if both are missing."""
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)


def add_each(others: Quantities | None, quantities: Quantities) -> Quantities:
    """Return the sums of two sets of quantities."""
    return quantities if others is None else tuple(map(add_optional, others, quantities))


def shares(percents: Iterable[float | None]) -> Column:
    """Return ratios, capped at 1: no core can be busy for longer than the period."""
    return [None if percent is None else min(1.0, percent / 100) for percent in percents]


def host_shares(cpu: CpuShares | None) -> dict[str, float]:
    """Return user and system ratios, summed and capped as in AWS's script."""
    if cpu is None:
        return {}
    parts = {
        "user": (cpu.user, cpu.nice),
        "system": (cpu.system, cpu.io_wait, cpu.irq, cpu.soft_irq),
    }
    return {
        name: min(1.0, sum(known) / 100)
        for name, part in parts.items()
        if len(known := [share for share in part if share is not None]) == len(part)
    }


def columns_by_name(
    names: Sequence[str], entities: Iterable[Quantities | None]
) -> dict[str, Column]:
    """Return a column for each name from quantities that are in the order of the names."""
    unread = (None,) * len(names)
    rows = [unread if quantities is None else quantities for quantities in entities]
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}
