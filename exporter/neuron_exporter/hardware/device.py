"""Reads the files of one device."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from neuron_exporter.facts.driver_files import (
    FAILED_RESETS,
    HARDWARE_ERRORS,
    POWER,
    REPAIRABLE,
    RESETS,
    SERIAL_NUMBER,
    UNHEALTHY,
)
from neuron_exporter.hardware.discovery import find_files
from neuron_exporter.hardware.problems import Problems
from neuron_exporter.hardware.values import (
    parse_health,
    parse_power,
    parse_serial_number,
    parse_total,
)
from neuron_exporter.readings import DeviceReadings

CORES_INTERVAL = 30.0
"""Minimum seconds between two readings of the files of the cores, which are most of all files."""

SEARCH_INTERVAL = 60.0
"""Minimum seconds between two searches for the files of a device."""

_GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR)

T = TypeVar("T")


class FileAccess(Protocol):
    """Access to files that may hang."""

    def begin(self, path: str) -> None:
        """Begin an access. Raises OSError (ETIMEDOUT) for a path that hangs."""

    def read(self, path: str) -> str:
        """Return the content of a file, without the white space around it. Raises OSError."""


class Device:
    """A device, and what was found and read of it so far. Used by one thread at a time, with its
    own `files`."""

    def __init__(
        self,
        folder: str,
        files: FileAccess,
        problems: Problems,
        cores_interval: float = CORES_INTERVAL,
    ) -> None:
        self._folder = folder
        self.files = files
        self._problems = problems
        self._cores_interval = cores_interval
        self._device_files: dict[str, str] = {}
        self._core_files: dict[int, dict[str, str]] = {}
        self._identity: object = None
        self._searched_at: float | None = None
        self._is_incomplete = False
        self._cores_read_at: float | None = None
        self._serial_number = ""
        self._resets: Mapping[str, int] = {}
        self._core_errors: Mapping[int, Mapping[str, int]] = {}

    def read(self, identity: object, now: float) -> DeviceReadings:
        """Return the readings. `identity` tells the folder from another one at its path."""
        if self._searched_at is None or (
            now - self._searched_at >= SEARCH_INTERVAL
            and (self._is_incomplete or identity != self._identity)
        ):
            found = find_files(self._folder, self.files.begin)
            self._problems.unclear(found.unclear)
            self._device_files = self._absolute(found.device)
            self._core_files = {core: self._absolute(each) for core, each in found.cores.items()}
            # A new device is searched twice: the driver adds its files one after the other.
            self._is_incomplete = self._searched_at is None
            self._identity, self._searched_at = identity, now
            self._serial_number, self._cores_read_at = "", None
        if self._cores_read_at is None or now - self._cores_read_at >= self._cores_interval:
            self._cores_read_at = now
            self._read_cores()
        # The serial number does not change, and the driver asks the firmware for it.
        if not self._serial_number:
            self._serial_number = self._value(SERIAL_NUMBER, parse_serial_number) or ""
        return DeviceReadings(
            power=self._value(POWER, parse_power) or {},
            serial_number=self._serial_number,
            health=self._value(UNHEALTHY, parse_health) or {},
            ecc_repairable=self._value(REPAIRABLE, parse_total),
            resets=self._resets,
            core_errors=self._core_errors,
        )

    def _read_cores(self) -> None:
        first = min(self._core_files, default=0)
        totals = {
            core: {
                name: self._parsed(path, parse_total)
                for name, path in paths.items()
                if name != FAILED_RESETS or core == first  # it is the same at all cores
            }
            for core, paths in self._core_files.items()
        }
        self._resets = {}
        for result, name in (("requested", RESETS), ("failed", FAILED_RESETS)):
            counts = [read[name] for read in totals.values() if name in read]
            known = [count for count in counts if count is not None]
            if known and len(known) == len(counts):  # the highest of some cores could be too low
                self._resets[result] = max(known)
        self._core_errors = {
            core: {name: total for name in HARDWARE_ERRORS if (total := read.get(name)) is not None}
            for core, read in totals.items()
        }

    def _absolute(self, paths: dict[str, str]) -> dict[str, str]:
        return {name: f"{self._folder}/{path}" for name, path in paths.items()}

    def _value(self, name: str, parse: Callable[[str], T]) -> T | None:
        path = self._device_files.get(name)
        return None if path is None else self._parsed(path, parse)

    def _parsed(self, path: str, parse: Callable[[str], T]) -> T | None:
        try:
            text = self.files.read(path)
        except OSError as error:
            if error.errno in _GONE:
                self._is_incomplete = True
                self._problems.vanished(self._folder)
            elif error.errno != errno.ETIMEDOUT:
                self._problems.unreadable(path, error.strerror or repr(error))
            return None
        try:
            return parse(text)
        except ValueError as error:
            self._problems.invalid(path, f"{error}: {text[:100]!r}")
            return None
