"""The thread that asks whose cores are: now and then, and at once for a process not seen before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from neuron_exporter.log import get_logger
from neuron_exporter.model import Owner, Owners

REFRESH = 10.0
"""Seconds between two rounds in which nothing is new."""

_FIRST_PAUSE = 1.0

_UNKNOWN = Owners(asked=True)

_log = get_logger(part="owners")


class Told(NamedTuple):
    """What one place knows of owners; where something could not be told, why; and what else it saw,
    for people."""

    owners: Owners = Owners()
    why: str = ""
    seen: str = ""


class Place(Protocol):
    """Somebody who knows owners. Used by one thread."""

    @property
    def name(self) -> str:
        """What people call it."""

    def ask(self, pids: frozenset[int]) -> Told:
        """Whose these processes, and all cores and devices, are. Takes seconds at most."""


class Labels(Protocol):
    """Somebody who knows more of owners that are known. Used by one thread."""

    @property
    def name(self) -> str:
        """What people call it."""

    def add(self, owners: Owners) -> tuple[Owners, str]:
        """The owners with what else is known of them; and why some of it is not."""


class OwnersFinder:
    """Asks every place, and holds what they said last. The first place that names an owner counts.

    A round follows a process that was not seen before at once, others after 1, 2, 4 … up to
    `REFRESH` seconds: whose a container is may be known a moment after its processes are seen.
    """

    def __init__(
        self,
        places: Sequence[Place],
        labels: Labels | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = places
        self._labels = labels
        self._clock = clock
        self._pids: frozenset[int] = frozenset()
        self._cores: frozenset[int] = frozenset()
        self._owners = _UNKNOWN
        self._asked_at = clock()
        self._status = {each.name: "not asked yet" for each in (*places, labels) if each}
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="owners", daemon=True)

    # From other threads.

    @property
    def places(self) -> Sequence[Place]:
        """Who is asked, in the order in which they are believed."""
        return self._places

    @property
    def labels(self) -> Labels | None:
        """Who knows more of owners that are known."""
        return self._labels

    def owners(self) -> Owners:
        """What is known now; the same object while nothing changes. What nobody has confirmed for
        three rounds is not known."""
        return self._owners if self._clock() - self._asked_at < 3 * REFRESH else _UNKNOWN

    def see(self, pids: frozenset[int], cores: frozenset[int]) -> None:
        """Tell which processes there are, to be asked for from now on, and which cores they hold.
        Those that were not there before start a round."""
        are_known = pids <= self._pids and cores <= self._cores
        self._pids = pids
        self._cores |= cores  # one that is busy now and then is not news each time
        if not are_known:
            self._news.set()

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; a request that is under way ends by itself."""
        self._stopping.set()
        self._news.set()

    def status(self) -> Mapping[str, str]:
        """What each place said last, for people."""
        return dict(self._status)

    # The thread of its own.

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            self._news.clear()
            began = self._clock()
            self._ask_all(self._pids)
            if self._news.wait(pause):
                pause = _FIRST_PAUSE
                # Processes that come one after another are asked for together.
                self._stopping.wait(max(0.0, began + _FIRST_PAUSE - self._clock()))
            else:
                pause = min(2 * pause, REFRESH)

    def _ask_all(self, pids: frozenset[int]) -> None:
        told = [self._ask(place, pids) for place in self._places]
        owners = self._label(merge([each.owners for each in told]))
        if owners != self._owners:
            self._owners = owners
        self._asked_at = self._clock()

    def _ask(self, place: Place, pids: frozenset[int]) -> Told:
        try:
            told = place.ask(pids)
        except Exception as error:  # noqa: BLE001 (a bug must not end the thread, nor go unsaid)
            told = Told(why=f"internal error: {error!r}")
        self._say(place.name, told.why)
        return told

    def _label(self, owners: Owners) -> Owners:
        if self._labels is None:
            return owners
        try:
            owners, why = self._labels.add(owners)
        except Exception as error:  # noqa: BLE001 (as above)
            why = f"internal error: {error!r}"
        self._say(self._labels.name, why)
        return owners

    def _say(self, name: str, why: str) -> None:
        said = why or "answered"
        if said != self._status[name]:
            self._status[name] = said
            say = _log.warning if why else _log.info
            say("owners_asked", of=name, answer=said)


def merge(told: Sequence[Owners]) -> Owners:
    """All that is known; what is told first goes before what is told later."""
    by_core: dict[int, Owner] = {}
    by_pid: dict[int | None, Owner] = {}
    by_device: dict[int, Owner] = {}
    task = allocation = None
    for owners in reversed(told):
        by_core.update(owners.by_core)
        by_pid.update(owners.by_pid)
        by_device.update(owners.by_device)
        task = owners.task or task
        allocation = owners.allocation or allocation
    return Owners(by_core, by_pid, by_device, task, allocation, asked=True)
