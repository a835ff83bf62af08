"""Problems with the driver's files: each is counted, and logged once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from neuron_exporter.log import get_logger

REASONS = ("hanging", "invalid", "unclear", "unreadable", "vanished")
"""Reasons of errors, a label value of `neuron_exporter_sysfs_errors_total`."""

MAX_LOGGED = 100
"""Maximum number of problems that are logged."""

MAX_PATHS = 20
"""Maximum number of paths in one line of the log."""

_log = get_logger(part="hardware")


class Problems:
    """Log and counter of problems, for all threads."""

    def __init__(self) -> None:
        self.on_error: Callable[[str], None] = lambda reason: None
        """Called with the reason of each error."""
        self._logged: set[tuple[str, str]] = set()
        self._unclear: set[str] = set()

    def missing(self, root: str, reason: str) -> None:
        """Report that the folder of all devices is missing although it is configured."""
        self._log_once("sysfs_missing", root, path=root, reason=reason)

    def off(self, reason: str) -> None:
        """Report that no files are read any more."""
        self._log_once("sysfs_off", "", reason=reason)

    def rearm_off(self) -> None:
        """Log `sysfs_off` again the next time it occurs: the setting has changed."""
        self._logged.discard(("sysfs_off", ""))

    def hanging(self, path: str) -> None:
        """Report an access that does not end."""
        self.on_error("hanging")
        self._log_once("sysfs_file_hangs", path, file=path)

    def invalid(self, path: str, problem: str) -> None:
        """Report a file without a valid value."""
        self.on_error("invalid")
        self._log_once("sysfs_value_invalid", path, file=path, problem=problem)

    def unclear(self, paths: Iterable[str]) -> None:
        """Report paths below a device that are not understood."""
        new = [path for path in paths if path not in self._unclear]
        if new:
            self._unclear.update(new)
            for _ in new:
                self.on_error("unclear")
            _log.warning("sysfs_paths_unclear", paths=new[:MAX_PATHS], count=len(new))

    def unreadable(self, path: str, reason: str) -> None:
        """Report a file that cannot be read."""
        self.on_error("unreadable")
        self._log_once("sysfs_file_unreadable", path, file=path, reason=reason)

    def vanished(self, folder: str) -> None:
        """Report that files of a device, or all of them, are gone."""
        self.on_error("vanished")
        self._log_once("sysfs_files_vanished", folder, folder=folder)

    def _log_once(self, event: str, key: str, **fields: str) -> None:
        if (event, key) not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add((event, key))
            _log.warning(event, **fields)
