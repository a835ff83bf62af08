"""The thread that looks up identity fields over the network while sinks still need them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from neuron_exporter.identity.fields import LookupResult
from neuron_exporter.identity.machine import Identity, IdentitySource
from neuron_exporter.log import get_logger
from neuron_exporter.model import Machine
from neuron_exporter.text import safe_message

LABELS_TIMEOUT = 60.0
"""Seconds after which labels are final, and sinks with a complete dimension set wait no longer."""

DIMENSION_SETS_TIMEOUT = 600.0
"""Seconds after which lookups end even if no dimension set is complete."""

_MIN_PAUSE, _MAX_PAUSE = 1.0, 30.0

_log = get_logger(part="identity")


class IdentityProvider(NamedTuple):
    """A service that can be queried for some fields."""

    source: IdentitySource
    fields: frozenset[str]
    lookup: Callable[[Set[str]], LookupResult]

    @property
    def name(self) -> str:
        """The name in logs and on the page."""
        return self.source.name.lower()


@dataclass(frozen=True, slots=True)
class RequiredFields:
    """The fields that become labels, and those that each dimension set consists of."""

    labels: frozenset[str] = frozenset()
    dimension_sets: tuple[frozenset[str], ...] = ()

    def missing(self, machine: Machine, age: float) -> frozenset[str]:
        """Return the unknown fields that are still worth a lookup, `age` seconds after start."""
        unknown = [_unknown(names, machine) for names in self.dimension_sets]
        if age < LABELS_TIMEOUT:
            return _unknown(self.labels, machine).union(*unknown)
        if age < DIMENSION_SETS_TIMEOUT and all(unknown):
            return frozenset(chain.from_iterable(unknown))
        return frozenset()


def _unknown(names: frozenset[str], machine: Machine) -> frozenset[str]:
    return frozenset(name for name in names if not getattr(machine, name))


class IdentityResolver:
    """Resolver of missing fields. Queries their providers with growing pauses while it can help."""

    def __init__(
        self,
        identity: Identity,
        providers: Sequence[IdentityProvider],
        required: RequiredFields,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity
        self._providers = providers
        self._required = required
        self._clock = clock
        self._started = clock()
        self._status = {provider.name: "pending" for provider in providers}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="identity", daemon=True)

    # Called by other threads.

    @property
    def is_needed(self) -> bool:
        """Whether a provider can supply a missing field."""
        return any(provider.fields & self._missing() for provider in self._providers)

    def start(self) -> None:
        """Start the lookups."""
        self._identity.first_lookup_done.clear()
        self._thread.start()

    def stop(self) -> None:
        """Start no further lookup; a pending one ends by its own timeout."""
        self._stopping.set()
        self._identity.first_lookup_done.set()

    def status(self) -> Mapping[str, str]:
        """Return the last result of each provider as text."""
        return dict(self._status)

    # Called by the resolver's thread.

    def _run(self) -> None:
        try:
            pause = _MIN_PAUSE
            while self._run_round() and not self._stopping.wait(pause):
                pause = min(2 * pause, _MAX_PAUSE)
        finally:
            self._identity.first_lookup_done.set()
        if not self._stopping.is_set():
            self._log_outcome()

    def _run_round(self) -> bool:
        """Query every provider of a missing field; return whether another round can help."""
        for provider in self._providers:
            missing = provider.fields & self._missing()
            if missing and not self._stopping.is_set():
                self._query(provider, missing)
        self._identity.first_lookup_done.set()
        return self.is_needed

    def _query(self, provider: IdentityProvider, missing: Set[str]) -> None:
        try:
            machine, error = provider.lookup(missing)
        except Exception as bug:  # noqa: BLE001 (a bug must not end the thread, and must be logged)
            machine, error = Machine(), f"internal error: {bug!r}"
        self._identity.update(provider.source, machine)
        result = safe_message(error) or "answered"
        if result != self._status[provider.name]:
            self._status[provider.name] = result
            _log.info("identity_lookup", provider=provider.name, result=result)

    def _log_outcome(self) -> None:
        machine = self._identity.machine()
        missing = sorted(self._required.missing(machine, 0.0))
        if not missing:
            _log.info("identity_complete")
        elif self._clock() - self._started >= LABELS_TIMEOUT:
            _log.warning("identity_incomplete", missing=missing, **self._status)

    def _missing(self) -> frozenset[str]:
        return self._required.missing(self._identity.machine(), self._clock() - self._started)
