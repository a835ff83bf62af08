"""The thread that looks up the owners of cores, devices and processes.

It queries all providers periodically, and at once when a new process or core appears.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from neuron_exporter.log import get_logger
from neuron_exporter.model import Owner, Owners
from neuron_exporter.text import safe_message

REFRESH_INTERVAL = 10.0
"""Seconds between rounds while no new process or core appears."""

_MIN_PAUSE = 1.0

_log = get_logger(part="owners")


class OwnersResult(NamedTuple):
    """The owners that one provider found, and an error message if some could not be looked up.

    `resources` lists the resources and drivers of devices in use; only the kubelet reports them.
    """

    owners: Owners = Owners()
    error: str = ""
    resources: str = ""


class OwnerProvider(Protocol):
    """A source of owners. Called by one thread only."""

    name: str
    """Name in logs and on the page."""

    def lookup(self, pids: frozenset[int]) -> OwnersResult:
        """Return the owners of these processes, and of cores and devices.

        Must return within a few seconds.
        """


class LabelProvider(Protocol):
    """A source of additional labels for known owners. Called by one thread only."""

    name: str
    """Name in logs and on the page."""

    def add_labels(self, owners: Owners) -> tuple[Owners, str]:
        """Return the owners with their labels, and an error message if some are missing."""


class OwnerLookup:
    """Lookup of owners, merged from all providers; earlier providers take precedence.

    A new process or core triggers a round at once. The next rounds follow after 1, 2, 4 … up to
    `REFRESH_INTERVAL` seconds, because a container's owner may become known only shortly after its
    processes.
    """

    def __init__(
        self,
        providers: Sequence[OwnerProvider],
        label_provider: LabelProvider | None = None,
        process_labels: OwnerProvider | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.providers = (*providers, process_labels) if process_labels else providers
        self.label_provider = label_provider
        self.on_result: Callable[[str, bool], None] = lambda provider, succeeded: None
        """Called after each lookup of a provider."""
        self._clock = clock
        self._pids: Mapping[int, int] = {}  # with the number of the observation that was its first
        self._observations = 0
        self._cores: frozenset[int] = frozenset()
        self.finds_owners = bool(providers)
        self._unknown = Owners(
            process_labels={} if process_labels else None, lookup_enabled=self.finds_owners
        )
        self._result: tuple[Owners, Mapping[int, int]] = (self._unknown, {})
        self._updated_at = clock()
        self._status = {each.name: "pending" for each in (*self.providers, label_provider) if each}
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="owners", daemon=True)

    # Called by other threads.

    def owners(self) -> Owners:
        """Return the last result; the same object while nothing changes.

        A result that three rounds did not confirm is dropped. So are the labels of a process that
        was missing in a report since: another may have its pid.
        """
        if self._clock() - self._updated_at >= 3 * REFRESH_INTERVAL:
            return self._unknown
        (owners, looked_up), pids = self._result, self._pids
        labels = owners.process_labels or {}
        stayed = {pid: labels[pid] for pid in labels if pids.get(pid) == looked_up.get(pid)}
        return owners if len(stayed) == len(labels) else replace(owners, process_labels=stayed)

    def observe(self, pids: frozenset[int], cores: frozenset[int]) -> None:
        """Set the processes to look up; start a round if a process or a core in use is new."""
        is_known = pids <= self._pids.keys() and cores <= self._cores
        if pids != self._pids.keys():
            self._observations += 1
            self._pids = {pid: self._pids.get(pid, self._observations) for pid in pids}
        self._cores |= cores  # a core that is busy now and then is new only once
        if not is_known:
            self._changed.set()

    def start(self) -> None:
        """Start the lookups."""
        self._thread.start()

    def stop(self) -> None:
        """Start no further lookup; a pending one ends by its own timeout."""
        self._stopping.set()
        self._changed.set()

    def status(self) -> Mapping[str, str]:
        """Return the last result of each provider as text."""
        return dict(self._status)

    # Called by the lookup's own thread.

    def _run(self) -> None:
        pause = _MIN_PAUSE
        while True:
            self._changed.clear()
            if self._stopping.is_set():  # asked after clear(), so that no stop is lost
                return
            began = self._clock()
            pids = self._pids
            self._run_round(frozenset(pids), pids)
            if self._changed.wait(pause):
                pause = _MIN_PAUSE
                # Look up processes that start shortly after each other in one round.
                self._stopping.wait(max(0.0, began + _MIN_PAUSE - self._clock()))
            else:
                pause = min(2 * pause, REFRESH_INTERVAL)

    def _run_round(self, pids: frozenset[int], observed: Mapping[int, int] | None = None) -> None:
        """Query all providers; `observed` has the number of each pid's first observation."""
        results = [self._query(provider, pids) for provider in self.providers]
        owners = self._add_labels(merge([each.owners for each in results]))
        owners = replace(owners, lookup_enabled=self.finds_owners)
        if owners.process_labels is None:  # their provider raised, if there is one
            owners = replace(owners, process_labels=self._unknown.process_labels)
        before, _ = self._result
        self._result = (before if owners == before else owners), observed or {}
        self._updated_at = self._clock()

    def _query(self, provider: OwnerProvider, pids: frozenset[int]) -> OwnersResult:
        try:
            result = provider.lookup(pids)
        except Exception as error:  # noqa: BLE001 (a bug must not end the thread, and must be logged)
            result = OwnersResult(error=f"internal error: {error!r}")
        self._set_status(provider.name, result.error)
        return result

    def _add_labels(self, owners: Owners) -> Owners:
        if self.label_provider is None:
            return owners
        try:
            owners, error = self.label_provider.add_labels(owners)
        except Exception as bug:  # noqa: BLE001 (as above)
            error = f"internal error: {bug!r}"
        self._set_status(self.label_provider.name, error)
        return owners

    def _set_status(self, name: str, error: str) -> None:
        self.on_result(name, not error)
        result = safe_message(error) or "answered"
        if result != self._status[name]:
            self._status[name] = result
            log = _log.warning if error else _log.info
            log("owner_lookup", provider=name, result=result)


def merge(results: Sequence[Owners]) -> Owners:
    """Merge owners by precedence: an earlier element wins over a later one."""
    by_core: dict[int, Owner] = {}
    by_pid: dict[int | None, Owner] = {}
    by_device: dict[int, Owner] = {}
    task = allocation = process_labels = None
    for owners in reversed(results):
        by_core.update(owners.by_core)
        by_pid.update(owners.by_pid)
        by_device.update(owners.by_device)
        task = owners.task or task
        allocation = owners.allocation or allocation
        process_labels = process_labels if owners.process_labels is None else owners.process_labels
    return Owners(
        *(by_core, by_pid, by_device, task, allocation),
        process_labels=process_labels,
        lookup_enabled=True,
    )
