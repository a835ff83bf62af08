"""The thread that counts the hardware errors in the kernel's log."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from neuron_exporter.facts.kernel_log import LINE, PATH
from neuron_exporter.log import get_logger

MAX_TYPES, MAX_DEVICES = 16, 64
"""Maximum numbers that are counted. A program that may open a device can log any text."""

REASONS = ("overrun", "unclear", "unreadable")
"""Reasons of problems, a label value of `neuron_exporter_kernel_log_errors_total`."""

_MAX_RECORD = 8192
"""Bytes of the longest record (CONSOLE_EXT_LOG_MAX in Linux)."""

_NEEDS = {
    errno.EPERM: "the capability CAP_SYSLOG; a container also needs the device /dev/kmsg",
    errno.EACCES: "root, and the capability CAP_SYSLOG",
    errno.ENOENT: "the device /dev/kmsg in the container, and the capability CAP_SYSLOG",
}

_log = get_logger(part="hardware")


class KernelLog:
    """Number of hardware errors by device and type since the start. Earlier lines do not count.

    `on_error` is called with a reason for each problem: overrun (lines were overwritten before they
    were read), unclear (a line without a device, or beyond the maximum numbers), unreadable.
    """

    def __init__(self, path: str = PATH, on_error: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._on_error = on_error
        self._errors: dict[int, dict[str, int]] | None = None
        self._logged: set[str] = set()
        self._stop: int | None = None

    def start(self) -> None:
        """Begin to read at the end of the log. If it cannot be opened, say why and read nothing."""
        try:
            log = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._fail(error)
            return
        with suppress(OSError):  # a pipe has no end
            os.lseek(log, 0, os.SEEK_END)
        stop = os.eventfd(0, os.EFD_CLOEXEC)
        thread = threading.Thread(
            target=self._run, args=(log, stop), name="kernel-log", daemon=True
        )
        self._errors, self._stop = {}, stop
        try:
            thread.start()
        except RuntimeError as error:  # no memory or no right for another thread
            os.close(log)
            self._errors = None
            self._fail(OSError(errno.EAGAIN, str(error)))

    def stop(self) -> None:
        """End the thread."""
        if self._stop is not None:
            os.eventfd_write(self._stop, 1)

    def errors(self) -> Mapping[int, Mapping[str, int]] | None:
        """Return the numbers, another object after each change; None unless the log is read."""
        return self._errors

    def _run(self, log: int, stop: int) -> None:
        poll = select.poll()
        poll.register(log, select.POLLIN)
        poll.register(stop, select.POLLIN)
        try:
            while stop not in dict(poll.poll()):
                self._read(log)
        except OSError as error:
            self._errors = None
            self._fail(error)
        finally:
            os.close(log)

    def _read(self, log: int) -> None:
        """Count the errors in all records that are there. A read returns one record.

        Raises:
            OSError: the log cannot be read any more.
        """
        with suppress(BlockingIOError):
            while True:
                try:
                    record = os.read(log, _MAX_RECORD)
                except BrokenPipeError:
                    self._report("overrun", "kernel_log_overrun", path=self._path)
                    continue
                if not record:
                    raise OSError(errno.EPIPE, "it has ended")
                for match in LINE.finditer(record.decode("utf-8", "replace")):
                    self._count(match["error_type"], match["device"])

    def _count(self, error_type: str, device: str | None) -> None:
        errors = self._errors or {}
        index = -1 if device is None else int(device)
        types = {error_type}.union(*errors.values())
        if device is None or len({*errors, index}) > MAX_DEVICES or len(types) > MAX_TYPES:
            self._report("unclear", "kernel_log_line_unclear", error_type=error_type)
            return
        before = errors.get(index, {})
        counts = {**before, error_type: before.get(error_type, 0) + 1}
        self._errors = {**errors, index: counts}

    def _fail(self, error: OSError) -> None:
        fields = {"path": self._path, "reason": error.strerror or repr(error)}
        if error.errno in _NEEDS:
            fields["needs"] = _NEEDS[error.errno]
        self._report("unreadable", "kernel_log_unreadable", **fields)

    def _report(self, kind: str, event: str, **fields: str) -> None:
        self._on_error(kind)
        if event not in self._logged:
            self._logged.add(event)
            _log.warning(event, **fields)
