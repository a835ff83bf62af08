"""Quantities that several runtimes tell of, and how they are added up."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from neuron_exporter.model import Column
from neuron_exporter.report.schema import UNREADABLE

CATEGORIES = ("constants", "model_code", "model_shared_scratchpad", "runtime_memory", "tensors")

LOCATIONS = ("host", "neuron_device")

USAGES = ("user", "system")

HOST_CATEGORIES = ("application_memory", "constants", "dma_buffers", "tensors")

Amounts = tuple[float | None, ...]
"""Quantities in a stated order, as bytes on one core in that of `CATEGORIES`; None where nobody
could read."""

NO_MEMORY: Amounts = (0.0,) * len(CATEGORIES)

C = TypeVar("C", bound=Hashable)
V = TypeVar("V")


class Sums(Generic[C]):
    """One quantity by core, summed over the runtimes that read it."""

    __slots__ = ("sums", "unread")

    def __init__(self) -> None:
        self.sums: dict[C, float] = {}
        self.unread: set[C] = set()

    def add(self, core: C, amount: float | None) -> None:
        """Add what one runtime read, or note that it could not read."""
        if amount is None:
            self.unread.add(core)
        else:
            self.sums[core] = self.sums.get(core, 0.0) + amount

    def fill(self, cores: Iterable[C]) -> None:
        """Put 0 for each of the cores that has no sum and was not left unread."""
        for core in cores:
            if core not in self.sums and core not in self.unread:
                self.sums[core] = 0.0


def readable(by_core: dict[int, V]) -> dict[int, V]:
    """The map without what stands for unreadable keys; the same object where there are none."""
    if UNREADABLE not in by_core:
        return by_core
    return {core: value for core, value in by_core.items() if core != UNREADABLE}


def plus(a: float | None, b: float | None) -> float | None:
    """The sum of what was read; None where neither was."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def by_name(names: Sequence[str], amounts: Iterable[Amounts | None]) -> dict[str, Column]:
    """A column for each name, from quantities in the order of the names; None was not read."""
    unread = (None,) * len(names)
    each = [unread if one is None else one for one in amounts]
    return {name: [one[at] for one in each] for at, name in enumerate(names)}


def plus_each(others: Amounts | None, amounts: Amounts) -> Amounts:
    """The sum of each category."""
    return amounts if others is None else tuple(map(plus, others, amounts))
