"""The thread that reads the driver's files, and publishes what they say.

An access may hang while the driver resets a device, and a thread that hangs cannot be ended. It is
abandoned instead: another one takes over, which leaves out the device until some time after the
access has ended.
"""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Mapping

from neuron_exporter.facts.driver_files import DEVICE, FILE_TIMEOUT, ROOT
from neuron_exporter.hardware.device import CORES_INTERVAL, Device
from neuron_exporter.hardware.pauses import FIRST_PAUSE, Pauses
from neuron_exporter.hardware.problems import Problems
from neuron_exporter.readings import NO_READINGS, DeviceReadings, HardwareReadings

MIN_INTERVAL = 5.0
"""Minimum seconds between two passes over the files."""

MIN_LIFETIME = 15.0
"""Readings are valid for three intervals, but for at least this many seconds."""

LOOK_INTERVAL = 60.0
"""Seconds until a folder that has never been there is looked for again."""

MAX_HANGING = 3
"""Once this many abandoned threads hang, each at another device, no files are read."""

MAX_DEVICES = 64

_MAX_BYTES = 4096  # of a file in sysfs: a page


def root_of(setting: bool | str) -> str | None:
    """Return the folder of all devices by the setting `hardware.sysfs`; None if it is false."""
    if setting is False:
        return None
    return ROOT if setting is True or setting == "auto" else setting


class SysfsReader:
    """Reader of the driver's files.

    `setting` is that of `hardware.sysfs`: the path of the folder of all devices, True for the usual
    one, "auto" for the usual one if it exists, or False. `period` returns that of the reports (s).
    """

    def __init__(
        self,
        setting: bool | str,
        period: Callable[[], float] = lambda: 0.0,
        *,
        min_interval: float = MIN_INTERVAL,
        cores_interval: float = CORES_INTERVAL,
        file_timeout: float = FILE_TIMEOUT,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self.problems = Problems()
        self.setting = setting
        self.cores_interval = cores_interval
        self._period = period
        self._min_interval = min_interval
        self._file_timeout = file_timeout
        self._is_running = False
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._abandoned: set[_Worker] = set()
        self._pauses = Pauses(first_pause)
        self._devices: dict[int, Device] = {}
        self._published: tuple[HardwareReadings, float] = NO_READINGS, -math.inf
        self._pass_cpu_seconds = math.nan
        self._has_seen_root = False

    # Called by other threads

    def start(self) -> None:
        """Start reading, unless the setting forbids it."""
        self._is_running = True
        self.check()

    def stop(self) -> None:
        """Start no further pass. A thread that hangs is left behind."""
        with self._lock:
            self._is_running = False
            if self._worker is not None:
                self._worker.is_over.set()

    def configure(self, setting: bool | str) -> None:
        """Change the setting. What was read below another folder is dropped."""
        if setting != self.setting:
            self.setting = setting
            self.problems.rearm_off()
            with self._lock:
                self._abandon()
                self._devices = {}
                self._has_seen_root = False
                self._published = NO_READINGS, -math.inf
            self.check()

    def check(self) -> None:
        """Abandon a thread that hangs, and start one that is missing. Call it every few seconds."""
        with self._lock:
            for worker in (*self._abandoned, self._worker):
                if worker is not None and worker.path and not worker.is_late:
                    worker.is_late = worker.age > self._file_timeout
                    if worker.is_late:
                        self.problems.hanging(worker.path)
            if self._worker is not None and self._worker.is_late:
                self._devices = self._worker.idle_devices()
                self._abandon()
            if self._worker is not None or not self._is_running or self.setting is False:
                return
            if len(self._abandoned) >= MAX_HANGING:
                self.problems.off(f"{len(self._abandoned)} threads hang")
                return
            self._worker = _Worker(self, self._devices)
            try:
                threading.Thread(target=self._worker.run, name="hardware", daemon=True).start()
            except RuntimeError as error:  # no memory or no right for another thread
                self._worker = None
                self.problems.off(str(error))

    def _abandon(self) -> None:
        """Let the worker end at its next access, and count it until then. The lock is held."""
        if self._worker is not None:
            self._worker.is_over.set()
            if self._worker.path:
                self._abandoned.add(self._worker)
        self._worker = None

    def readings(self) -> HardwareReadings:
        """Return the latest readings; none if they are too old."""
        readings, at = self._published
        is_valid = time.monotonic() - at <= max(3 * self.interval, MIN_LIFETIME)
        return readings if is_valid else NO_READINGS

    def up(self) -> float:
        """Return 1 while there are readings of any device, otherwise 0; NaN if none are due."""
        if self.setting is False or (self.setting == "auto" and not self._has_seen_root):
            return math.nan
        return float(bool(self.readings().devices))

    def pass_cpu_seconds(self) -> float:
        """Return the CPU time of the last pass (s); NaN before the first."""
        return self._pass_cpu_seconds

    @property
    def interval(self) -> float:
        """Seconds between two passes."""
        return max(self._min_interval, self._period())

    # Called by a worker

    def exchange(self, worker: _Worker, path: str) -> None:
        """End the worker's access, and begin one of `path` unless that is empty.

        Raises:
            _Abandoned: another worker has replaced this one.
            OSError: the device of this path hangs, or did so lately (ETIMEDOUT).
        """
        with self._lock:
            if self._worker is not worker:
                raise _Abandoned
            worker.path = ""
            if path:
                now, folder = time.monotonic(), worker.folder_of(path)
                is_hanging = any(each.folder == folder for each in self._abandoned)
                if is_hanging or not self._pauses.is_over(folder, now):
                    raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)
                worker.path, worker.folder, worker.began = path, folder, now

    def end(self, worker: _Worker) -> None:
        """Forget a worker that ends. The device that made it late is left out for some time."""
        with self._lock:
            self._abandoned.discard(worker)
            if worker.is_late:
                self._pauses.begin(worker.folder, time.monotonic())

    def publish(self, worker: _Worker, readings: HardwareReadings | None, seconds: float) -> None:
        """Replace the readings; None if the folder of all devices is missing.

        Raises:
            _Abandoned: another worker has replaced this one.
        """
        self.exchange(worker, "")
        with self._lock:
            if self._worker is worker:
                self._pass_cpu_seconds = seconds
                if readings is not None:
                    self._has_seen_root = True
                    self._published = readings, time.monotonic()

    def pause(self) -> float:
        """Return the seconds until the next pass."""
        interval = self.interval
        return interval if self._has_seen_root else max(interval, LOOK_INTERVAL)

    def fail(self, worker: _Worker, error: Exception) -> None:
        """Stop because of a bug, unless it is that of a worker that has been replaced."""
        if not worker.is_over.is_set():
            self.stop()
            self.problems.off(f"internal error: {error!r}")


class _Abandoned(Exception):
    """Another worker has replaced this one."""


class _Worker:
    """One thread of the reader, with the devices that it or an abandoned one has found."""

    def __init__(self, reader: SysfsReader, devices: Mapping[int, Device]) -> None:
        self._reader = reader
        self._root = root_of(reader.setting) or ""
        self._must_exist = reader.setting != "auto"
        self._devices = dict(devices)
        for device in devices.values():
            device.files = self
        self.path = ""
        """Path that is accessed now; empty if none is."""
        self.folder = ""
        """Folder that the path belongs to: that of a device, or of all devices."""
        self.began = 0.0
        self.is_late = False
        """Whether the access has been reported as one that hangs."""
        self.is_over = threading.Event()
        """Set once the worker is to make no further pass."""

    @property
    def age(self) -> float:
        """Seconds since the access began."""
        return time.monotonic() - self.began

    def folder_of(self, path: str) -> str:
        """Return the folder of the device that a path belongs to, or that of all devices."""
        name = path[len(self._root) + 1 :].partition("/")[0]
        return f"{self._root}/{name}" if name else self._root

    def idle_devices(self) -> dict[int, Device]:
        """Return all known devices except the one that is accessed now."""
        known = self._devices.copy()  # at once: the worker may go on meanwhile
        return {
            index: device
            for index, device in known.items()
            if f"{self._root}/neuron{index}" != self.folder
        }

    def run(self) -> None:
        """Read until the reader stops or has another worker."""
        reader = self._reader
        try:
            while not self.is_over.is_set():
                began = time.thread_time()
                readings = self._pass()
                reader.publish(self, readings, time.thread_time() - began)
                self.is_over.wait(reader.pause())
        except _Abandoned:
            return
        except Exception as error:  # noqa: BLE001 (the exporter goes on without these values)
            reader.fail(self, error)
        finally:
            reader.end(self)

    def _pass(self) -> HardwareReadings | None:
        """Read all devices once; None if their folder is missing."""
        try:
            self.begin(self._root)
            names = os.listdir(self._root)
        except OSError as error:
            if self._must_exist:
                self._reader.problems.missing(self._root, error.strerror or repr(error))
            return None
        present = sorted(int(match[1]) for name in names if (match := DEVICE.fullmatch(name)))
        for index in self._devices.keys() - set(present):
            del self._devices[index]  # one that returns is a new one
            self._reader.problems.vanished(f"{self._root}/neuron{index}")
        readings: dict[int, DeviceReadings] = {}
        for index in present[:MAX_DEVICES]:
            folder = f"{self._root}/neuron{index}"
            try:
                self.begin(folder)
                status = os.stat(folder)
            except OSError:
                continue  # gone since it was listed, or hanging
            if index not in self._devices:
                reader = self._reader
                device = Device(folder, self, reader.problems, reader.cores_interval)
                self._devices[index] = device
            identity = status.st_dev, status.st_ino
            readings[index] = self._devices[index].read(identity, time.monotonic())
        return HardwareReadings(readings)

    def begin(self, path: str) -> None:
        """Begin an access, which ends with the next one."""
        self._reader.exchange(self, path)

    def read(self, path: str) -> str:
        """Return the content of a file, without the white space around it."""
        self.begin(path)
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, _MAX_BYTES).decode("utf-8", "replace").strip()
        finally:
            os.close(file)
