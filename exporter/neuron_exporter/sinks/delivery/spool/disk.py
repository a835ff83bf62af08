"""The spool's part on disk: the exporter's own file and an adopted one, whatever happens to them.

Nothing of what goes wrong with a file is raised. What cannot be written is refused, and the caller
keeps it. What is in a file that only cannot be written stays there and waits; the rows of one that
is corrupt or gone are handed to the caller as far as they can be read. A row that was sent and
could not be deleted is remembered, to be deleted when its file can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from neuron_exporter.log import get_logger
from neuron_exporter.sinks.delivery.spool.error import Reason, StoreError
from neuron_exporter.sinks.delivery.spool.file import SpoolFile
from neuron_exporter.sinks.delivery.spool.orphans import Orphans
from neuron_exporter.sinks.delivery.spool.rows import Place, Row
from neuron_exporter.sinks.delivery.spool.store import Store, Turn

T = TypeVar("T")

_log = get_logger(sink="cloudwatch")


class Disk:
    """Keeps rows in files. `rescue` takes rows of a file that is lost; `held` tells what the caller
    has taken and not yet settled; `dropped` is told why and how many rows were lost."""

    def __init__(
        self,
        path: Path,
        template: str,
        max_bytes: int,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        dropped: Callable[[str, int], None],
        rescue: Callable[[Row], None],
        held: Callable[[], Iterable[Place]],
    ) -> None:
        self._closed = False
        self._own_ambiguous = 0
        self._dropped = dropped
        self._rescue = rescue
        self._held = held
        self._obsolete: dict[str, set[int]] = {}
        self._file = SpoolFile(
            path, max_bytes, clock, monotonic, lambda number: dropped("spool_full", number)
        )
        self._orphans = Orphans(template, path, clock, monotonic)

    # From any thread.

    @property
    def ambiguous(self) -> int:
        """Rows that were found in flight."""
        return self._own_ambiguous + self._orphans.ambiguous

    @property
    def pending(self) -> int:
        """Rows that wait."""
        return sum(store.pending for store in self._stores())

    @property
    def bytes(self) -> int:
        """The size of the own file and its log."""
        store = self._file.store
        return store.bytes if store else 0

    @property
    def trouble(self) -> StoreError | None:
        """Why nothing can be written, if so."""
        return self._file.trouble

    # From the one thread.

    def open(self) -> None:
        """Open the own file if it is not, and it is time to try."""
        file = self._file
        if self._closed or file.store is not None or not file.is_due:
            return
        store = file.open()
        if store is None:
            return
        held = {place.number for place in self._held() if place.token == store.token}
        obsolete = self._obsolete.get(store.token, ())
        ambiguous = self._try(store, lambda store: store.release(held, obsolete))
        if ambiguous is None:
            return
        self._obsolete.pop(store.token, None)
        self._own_ambiguous += ambiguous
        file.succeeded()
        if store.pending:
            _log.info("spool_found", requests=store.pending, ambiguous=ambiguous)

    def write(self, rows: Sequence[Row], *, in_flight: bool) -> list[Place] | None:
        """Where the rows are now, all committed; None if they cannot be written."""
        self.open()
        store = self._file.writable
        if store is None or sum(row.size for row in rows) > store.largest:
            return None
        numbers = self._try(store, lambda store: store.insert(rows, in_flight=in_flight))
        if numbers is None:
            return None
        self._file.succeeded()
        return [Place(store.token, number) for number in numbers]

    @property
    def largest(self) -> int:
        """Bytes of rows that can be written at once; 0 while nothing can be."""
        store = self._file.writable
        return store.largest if store else 0

    def turns(self, earliest: float, latest: float) -> list[tuple[Turn, Place]]:
        """The pending row of each file whose turn is next, of those stamped in these bounds."""
        self.open()
        found = []
        for store in self._stores():
            turn = self._try(store, lambda store: store.first(earliest, latest))
            if turn is not None:
                found.append((turn, Place(store.token, turn.id)))
        return sorted(found)

    def holds(self, place: Place) -> bool:
        """Whether the file of a row is open."""
        return self._store_of(place) is not None

    def take(self, place: Place) -> Row | None:
        """Mark a row as in flight, committed, and give it; None if it cannot be marked."""
        store = self._store_of(place)
        return self._try(store, lambda store: store.take(place.number)) if store else None

    def give_back(self, place: Place, failures: int) -> bool:
        """Make a row pending; False if the caller has to keep it, since this cannot be written."""
        return self._change(place, lambda store: store.give_back(place.number, failures))

    def delete(self, place: Place) -> None:
        """Forget a row, now or when its file can be written."""
        self._change(place, lambda store: store.delete(place.number))

    def drop_outside(self, earliest: float, latest: float) -> tuple[int, int]:
        """Drop pending rows stamped before and after these bounds; gives how many of each."""
        early = late = 0
        for store in self._stores():
            found = self._try(store, lambda store: store.drop_outside(earliest, latest))
            if found is not None:
                early, late = early + found[0], late + found[1]
        return early, late

    def upkeep(self) -> None:
        """Delete what could not be deleted before, adopt orphans, give free space back."""
        self.open()
        for store in self._stores():
            for number in list(self._obsolete.get(store.token, ())):
                place = Place(store.token, number)
                self._obsolete[store.token].discard(number)
                if not self._change(place, lambda store, at=number: store.delete(at)):  # type: ignore[misc]
                    break
        self._orphans.adopt({place.token for place in self._held()}, self._obsolete)
        if self._file.store is not None and self._file.trouble is None:
            self._try(self._file.store, lambda store: store.tidy())

    def oldest(self) -> float | None:
        """The stamp of the oldest pending row, in Unix seconds."""
        stamps = [self._try(store, lambda store: store.oldest()) for store in self._stores()]
        return min((stamp for stamp in stamps if stamp is not None), default=None)

    def close(self) -> None:
        """Let go of the files, for good."""
        self._closed = True
        for store in self._stores():
            store.close()
        self._file.store = self._orphans.store = None

    def _stores(self) -> list[Store]:
        return [store for store in (self._file.store, self._orphans.store) if store is not None]

    def _store_of(self, place: Place) -> Store | None:
        return next((each for each in self._stores() if each.token == place.token), None)

    def _change(self, place: Place, change: Callable[[Store], None]) -> bool:
        store = self._store_of(place)

        def changed(store: Store) -> bool:
            change(store)
            return True

        if store and self._try(store, changed):
            return True
        self._obsolete.setdefault(place.token, set()).add(place.number)
        return False

    def _try(self, store: Store, step: Callable[[Store], T]) -> T | None:
        """What the step gives; None if the file fails it."""
        try:
            return step(store)
        except StoreError as error:
            if store is self._orphans.store:
                self._orphans.leave(error)
            elif error.reason in (Reason.CORRUPT, Reason.GONE):
                self._lose(error)
            else:
                self._file.failed(error)
            return None

    def _lose(self, error: StoreError) -> None:
        """Save what can be read of the own file, and begin a new one."""
        lost = self._file.detach(error)
        if lost is None:
            return
        here = {place.number for place in self._held() if place.token == lost.token}
        here |= self._obsolete.pop(lost.token, set())
        missing = lost.pending
        for row in lost.salvage(here):
            self._rescue(row)
            missing -= 1
        lost.abandon()
        if missing > 0:
            self._dropped("corrupt", missing)
        self.open()
