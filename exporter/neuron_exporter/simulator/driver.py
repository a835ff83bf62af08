"""The driver of a simulated machine: what its files say after each report."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping

from neuron_exporter.facts.driver_files import ECC_KINDS, REPAIRABLE
from neuron_exporter.simulator.hardware import Hardware
from neuron_exporter.simulator.processes import Process, Work
from neuron_exporter.simulator.sysfs import ARCHITECTURES, idle_device

FIRST_SAMPLE = 1_760_000_000
"""Seconds since the epoch of the first power statistics, so that each run has the same files."""

_MINUTE = 60
_IDLE_POWER, _FULL_POWER = 11.0, 88.0
_POWER_SPREAD = 0.04
"""Percent of the maximum power without and with full load; share by which single samples differ
from the mean of a report. Invented: no measurement is public."""

_STATUS_NAMES = {
    "completed_with_err": "execute_completed_with_error",
    "completed_with_num_err": "execute_completed_with_num_error",
    "timed_out": "timeout",
    "incorrect_input": "exec_bad_input",
    "failed_to_queue": "execute_failed_to_queue",
}
_ERROR_NAMES = {"generic": "generic_error", "hardware": "hw_error"}
_ERRORS_OF_ECC = {
    "mem_ecc_uncorrected": "hw_hbm_ue_error",
    REPAIRABLE: "hw_repairable_hbm_ue_error",
    "sram_ecc_uncorrected": "hw_nc_ue_error",
}


class Driver:
    """Counters and readings of all devices.

    For each report call `begin`, then the faults, then `end`. Cores are physical ones, numbered
    within their device. Counters of executions belong to a process and end with it, as those of
    the driver, which adds those of the processes that run.

    Attributes:
        seconds: Time since the report before.
        absent: Devices without files, in this report.
        unhealthy: Components by device, in this report.
        ecc_rises: Memory errors by device and kind, in this report.
        resets: Requested and failed resets by device.
    """

    def __init__(self, hardware: Hardware, seed: int) -> None:
        self._hardware = hardware
        self._architecture = ARCHITECTURES[hardware.accelerator]
        self.devices = range(hardware.devices)
        self.cores_per_device = hardware.cores_per_device * hardware.logical_core_size
        self._idle = {n: self._idle_files(n, seed) for n in self.devices}
        self._at = self.seconds = 0.0
        self.absent: set[int] = set()
        self.unhealthy: dict[int, tuple[str, ...]] = {}
        self.ecc_rises: dict[int, Mapping[str, int]] = {}
        self.resets = {n: Counter[str]() for n in self.devices}
        self._ecc = {n: Counter[str]() for n in self.devices}
        self._health_events = Counter[int]()
        self._reported: dict[int, tuple[str, ...]] = {}
        self._counts: dict[int, Counter[tuple[int, str]]] = {}
        self._users: dict[int, tuple[int, int]] = {}
        self._samples: dict[int, list[float]] = {n: [] for n in self.devices}
        self._power: dict[int, str] = {}
        self._minute = -1

    def begin(self, at: float, work: Iterable[tuple[Process, Work]]) -> None:
        """Add the work of all processes up to a report that is due `at`."""
        self.seconds, self._at = at - self._at, at
        self.absent, self.unhealthy, self.ecc_rises = set(), {}, {}
        work = list(work)
        running = {process.pid for process, _ in work}
        self._counts = {pid: each for pid, each in self._counts.items() if pid in running}
        self._users = {}
        busy = Counter[int]()
        for process, done in work:
            busy.update(done.utilization)
            self._count_executions(process, done)
            for core in process.cores:
                device = core // self._hardware.cores_per_device
                self._users.setdefault(device, (process.pid, self._physical(core)))
        for device in self.devices:
            size = self._hardware.cores_per_device
            load = sum(min(100.0, busy[device * size + core]) for core in range(size)) / size
            self._samples[device].append(_IDLE_POWER + (_FULL_POWER - _IDLE_POWER) * load / 100)

    def _count_executions(self, process: Process, done: Work) -> None:
        counts = {"success": done.completed}
        counts |= {_STATUS_NAMES[name]: number for name, number in done.statuses.items()}
        counts |= {
            _ERROR_NAMES[name]: number
            for name, number in done.errors.items()
            if name in _ERROR_NAMES
        }
        total = self._counts.setdefault(process.pid, Counter())
        for name, number in counts.items():
            each, left = divmod(number, len(process.cores))
            for at, core in enumerate(process.cores):
                total[self._physical(core), name] += each + (at < left)

    def _physical(self, core: int) -> int:
        """Return the first physical core of a logical one. Both are numbered within the machine."""
        return core * self._hardware.logical_core_size

    def count_error(self, device: int, name: str, number: int, core: int | None = None) -> None:
        """Count a hardware error where a process uses a device: the runtime counts them.

        Args:
            core: physical core within the device; one that is in use by default.
        """
        if device in self._users:
            pid, used = self._users[device]
            at = used if core is None else device * self.cores_per_device + core
            self._counts[pid][at, name] += number

    def restart(self) -> None:
        """Load the driver again: all counters but those of memory errors start at 0."""
        self.absent = {*self.devices}
        self._counts = {pid: Counter() for pid in self._counts}
        self._health_events.clear()
        for resets in self.resets.values():
            resets.clear()

    def end(self) -> None:
        """Add the effects of the report's faults."""
        for device, rises in self.ecc_rises.items():
            self._ecc[device].update(rises)
            for kind, name in _ERRORS_OF_ECC.items():
                self.count_error(device, name, rises.get(kind, 0))
        for device in self.devices:
            self._health_events[device] += self.unhealthy.get(device) != self._reported.get(device)
        self._reported = self.unhealthy
        minute = int(self._at // _MINUTE)
        if minute != self._minute:
            self._minute = minute
            for device, samples in self._samples.items():
                low, high = min(samples) * (1 - _POWER_SPREAD), max(samples) * (1 + _POWER_SPREAD)
                mean = sum(samples) / len(samples)
                at = FIRST_SAMPLE + minute * _MINUTE
                self._power[device] = f"POWER_STATUS_VALID,{at},{low:.2f},{high:.2f},{mean:.2f}\n"
                samples.clear()

    def files(self) -> dict[int, dict[str, str]]:
        """Return the files of each device by path."""
        totals = sum(self._counts.values(), Counter[tuple[int, str]]())
        found = {n: {**self._idle[n], **self._device_files(n)} for n in self.devices}
        for (core, name), total in totals.items():
            device, core_of_device = divmod(core, self.cores_per_device)
            below = f"neuron_core{core_of_device}/stats/status/{name}"
            for file in ("total", "present"):
                found[device][f"{below}/{file}"] = f"{total}\n"
        return {n: files for n, files in found.items() if n not in self.absent}

    def _device_files(self, device: int) -> dict[str, str]:
        files = {f"stats/hardware/{kind}": f"{self._ecc[device][kind]}\n" for kind in ECC_KINDS}
        files["stats/power/utilization"] = self._power[device]
        for core in range(self.cores_per_device):
            for name, number in self.resets[device].items():
                for file in ("total", "present"):
                    below = f"neuron_core{core}/stats/other_info/{name}"
                    files[f"{below}/{file}"] = f"{number}\n"
        if self._architecture.has_health:
            below = "stats/hardware/health_status"
            components = ",".join(self.unhealthy.get(device, ()))
            files[f"{below}/unhealthy_components"] = f"{components}\n"
            files[f"{below}/healthcheck_heartbeat"] = f"{int(self._at) % 256}\n"
            files[f"{below}/hw_error_event"] = f"{self._health_events[device]}\n"
        return files

    def _idle_files(self, device: int, seed: int) -> dict[str, str]:
        rng = random.Random(f"{seed}:serial:{device}")
        neighbours = ", ".join(map(str, _neighbours(device, self._hardware.devices)))
        return {
            **idle_device(self._architecture, device, self.cores_per_device),
            "info/serial_number": f"{rng.getrandbits(64):016x}\n",
            "connected_devices": f"{neighbours}\n",
        }


def _neighbours(device: int, devices: int) -> list[int]:
    """Return the connected devices: in a torus of four rows, or in a ring."""
    if devices == 16:
        row = device - device % 4
        left, right = row + (device - 1) % 4, row + (device + 1) % 4
        return [(device - 4) % 16, left, (device + 4) % 16, right]
    return sorted({(device - 1) % devices, (device + 1) % devices} - {device})
