"""The thread that asks who the machine is, while somebody lacks a field that can still be told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from neuron_exporter.identity.fields import Answer
from neuron_exporter.identity.machine import Identity, Step
from neuron_exporter.log import get_logger
from neuron_exporter.model import Machine

LABELS_WAIT = 60.0
"""Seconds after which labels are what they are; sinks that have one complete set have begun."""

SETS_WAIT = 600.0
"""Seconds in which a sink without any complete set is still helped."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0

_log = get_logger(part="identity")


class Source(NamedTuple):
    """A place that can be asked: where it stands in the chain, which fields it may tell."""

    step: Step
    gives: frozenset[str]
    ask: Callable[[Set[str]], Answer]

    @property
    def name(self) -> str:
        """What people call it."""
        return self.step.name.lower()


@dataclass(frozen=True, slots=True)
class Wants:
    """The fields that labels are made of, and those that each dimension set cannot be without."""

    labels: frozenset[str] = frozenset()
    sets: tuple[frozenset[str], ...] = ()

    def lacking(self, machine: Machine, age: float) -> frozenset[str]:
        """The fields that are worth asking for, so long after the start."""
        unknown = [_unknown(names, machine) for names in self.sets]
        if age < LABELS_WAIT:
            return _unknown(self.labels, machine).union(*unknown)
        if age < SETS_WAIT and all(unknown):
            return frozenset(chain.from_iterable(unknown))
        return frozenset()


def _unknown(names: frozenset[str], machine: Machine) -> frozenset[str]:
    return frozenset(name for name in names if not getattr(machine, name))


class Finder:
    """Asks each source that may tell a field that is lacking, again and again, with longer pauses,
    until none can."""

    def __init__(
        self,
        identity: Identity,
        sources: Sequence[Source],
        wants: Wants,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity
        self._sources = sources
        self._wants = wants
        self._clock = clock
        self._started = clock()
        self._status = {source.name: "not asked yet" for source in sources}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="identity", daemon=True)

    # From other threads.

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to ask anybody."""
        return any(source.gives & self._lacking() for source in self._sources)

    def start(self) -> None:
        """Begin to ask."""
        self._identity.settled.clear()
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; a request that is under way ends by itself."""
        self._stopping.set()
        self._identity.settled.set()

    def status(self) -> Mapping[str, str]:
        """What each source said last, for people."""
        return dict(self._status)

    # The finder's thread.

    def _run(self) -> None:
        try:
            pause = _FIRST_PAUSE
            while self._ask_round() and not self._stopping.wait(pause):
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._identity.settled.set()
        if not self._stopping.is_set():
            self._conclude()

    def _ask_round(self) -> bool:
        """Ask everybody who may know; gives whether it is worth asking again."""
        for source in self._sources:
            lacking = source.gives & self._lacking()
            if lacking and not self._stopping.is_set():
                self._ask(source, lacking)
        self._identity.settled.set()
        return self.is_needed

    def _ask(self, source: Source, lacking: Set[str]) -> None:
        try:
            machine, why = source.ask(lacking)
        except Exception as error:  # noqa: BLE001 (a bug must not end the thread, nor go unsaid)
            machine, why = Machine(), f"internal error: {error!r}"
        self._identity.learn(source.step, machine)
        said = why or "answered"
        if said != self._status[source.name]:
            self._status[source.name] = said
            _log.info("identity_asked", of=source.name, answer=said)

    def _conclude(self) -> None:
        machine = self._identity.machine()
        missing = sorted(self._wants.lacking(machine, 0.0))
        if not missing:
            _log.info("identity_complete")
        elif self._clock() - self._started >= LABELS_WAIT:
            _log.warning("identity_incomplete", missing=missing, **self._status)

    def _lacking(self) -> frozenset[str]:
        return self._wants.lacking(self._identity.machine(), self._clock() - self._started)
