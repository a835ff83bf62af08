"""File that keeps the ECC counters from one exporter to the next.

Without it, each start would take a new baseline, and CloudWatch would not see the events that
occurred during a rollout. The file counts for one boot of the machine only.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec

from neuron_exporter import own_files
from neuron_exporter.log import get_logger
from neuron_exporter.metrics.ecc_counters import SavedCounter, SavedCounters
from neuron_exporter.report.schema import Index

LOAD_TIMEOUT = 2.0
"""Seconds that the first report with ECC readings waits for the file."""

RETRY_SECONDS = 60.0
"""Seconds from a failed write to the next attempt."""

MAX_BYTES = 1 << 20
"""Maximum size of a file that is read. The file of 64 devices has 10 kB."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""File with the kernel's random ID of this boot (man 5 proc); containers have that of the host."""

_VERSION = 1

_log = get_logger(part="metrics")


class _Contents(msgspec.Struct):
    """Contents of the file: of each device and event, the last reading and the counter's value."""

    boot_id: str
    mode: str
    devices: dict[Index, dict[str, SavedCounter]]
    version: int = _VERSION


class EccStateFile:
    """The file, for one thread. Helper threads access the disk, which may hang.

    A file that is unreadable, damaged, of another boot or of another mode is as good as none, and
    so is one that another user may have written.
    """

    def __init__(self, path: Path, boot_id: Path = BOOT_ID) -> None:
        self._path = path
        self._name = str(path)
        self._boot_id = ""
        with suppress(OSError, ValueError):
            self._boot_id = boot_id.read_text().strip()
        self._written: object = None
        self._is_writing = False
        self._retry_at = 0.0
        self._logged: set[str] = set()

    def load(self, mode: str) -> SavedCounters:
        """Return the counters in the file; empty if it has none for this boot and mode, or does not
        answer in time."""
        result: SimpleQueue[SavedCounters] = SimpleQueue()
        if not self._in_thread(lambda: result.put(self._read(mode))):
            return {}
        try:
            return result.get(timeout=LOAD_TIMEOUT)
        except Empty:
            self._log_once(
                "ecc_state_unreadable",
                file=self._name,
                reason=f"no answer within {LOAD_TIMEOUT:g} s",
            )
            return {}

    def save(self, mode: str, counters: SavedCounters) -> None:
        """Replace the file in a helper thread, unless it has these counters already.

        Call this with every report: what is not written now is written by a later call.
        """
        if counters is self._written or self._is_writing or time.monotonic() < self._retry_at:
            return
        self._is_writing = True
        if not self._in_thread(lambda: self._write(mode, counters)):
            self._is_writing = False

    def _in_thread(self, work: Callable[[], None]) -> bool:
        if not self._boot_id:
            return False
        try:
            threading.Thread(target=work, name="ecc-state", daemon=True).start()
        except RuntimeError as error:  # no memory or no right for another thread
            self._log_once("ecc_state_unwritable", file=self._name, reason=str(error))
            return False
        return True

    def _read(self, mode: str) -> SavedCounters:
        try:
            content = own_files.read(self._path, MAX_BYTES)
            contents = msgspec.json.decode(content, type=_Contents)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._log_once("ecc_state_unreadable", file=self._name, reason=str(error))
            return {}
        if (contents.version, contents.boot_id, contents.mode) != (_VERSION, self._boot_id, mode):
            return {}
        return contents.devices

    def _write(self, mode: str, counters: SavedCounters) -> None:
        new = Path(f"{self._path}.new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            with open(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(msgspec.json.encode(_Contents(self._boot_id, mode, counters)))
            new.replace(self._path)  # atomic: a reader never sees half of the file
            self._written = counters
        except OSError as error:
            with suppress(OSError):  # old readings would make the next exporter count events twice
                self._path.unlink(missing_ok=True)
            self._log_once("ecc_state_unwritable", file=self._name, reason=str(error))
            self._retry_at = time.monotonic() + RETRY_SECONDS
        finally:
            self._is_writing = False

    def _log_once(self, event: str, **fields: str) -> None:
        if event not in self._logged:
            self._logged.add(event)
            _log.warning(event, **fields)
