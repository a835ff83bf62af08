"""Build the readers of the driver's files and of the kernel's log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from neuron_exporter.config import Config
from neuron_exporter.hardware import kernel_log
from neuron_exporter.hardware.kernel_log import KernelLog
from neuron_exporter.hardware.problems import REASONS
from neuron_exporter.hardware.sysfs import SysfsReader
from neuron_exporter.pipeline.identity import is_local_source
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from neuron_exporter.telemetry import Telemetry


def make_sysfs_reader(
    config: Config, period: Callable[[], float], telemetry: Telemetry
) -> SysfsReader | None:
    """Build the reader; None if the reports are not those of this machine.

    `period` returns the period of the reports (s).
    """
    if not is_local_source(config):
        return None
    reader = SysfsReader(config.hardware.sysfs, period)
    for reason in REASONS:
        telemetry.sysfs_errors.labels(reason)
    reader.problems.on_error = lambda reason: telemetry.sysfs_errors.labels(reason).inc()
    telemetry.sysfs_up.set_function(reader.up)
    telemetry.sysfs_read_seconds.set_function(reader.pass_cpu_seconds)
    return reader


def make_kernel_log(config: Config, telemetry: Telemetry) -> KernelLog | None:
    """Build the reader of the kernel's log; None if it is off, or if the reports are not those of
    this machine."""
    if not (config.hardware.kernel_log and is_local_source(config)):
        return None
    for reason in kernel_log.REASONS:
        telemetry.kernel_log_errors.labels(reason)
    return KernelLog(on_error=lambda reason: telemetry.kernel_log_errors.labels(reason).inc())


class JoinedReadings:
    """Readings of the driver's files with the errors in the kernel's log: the same object while
    neither has changed. Used by one thread."""

    def __init__(
        self,
        readings: Callable[[], HardwareReadings],
        errors: Callable[[], Mapping[int, Mapping[str, int]] | None],
    ) -> None:
        self._readings = readings
        self._errors = errors
        self._files, self._joined = NO_READINGS, NO_READINGS

    def __call__(self) -> HardwareReadings:
        """Return the latest readings."""
        files, errors = self._readings(), self._errors()
        if files is not self._files or errors is not self._joined.kernel_errors:
            self._files, self._joined = files, replace(files, kernel_errors=errors)
        return self._joined
