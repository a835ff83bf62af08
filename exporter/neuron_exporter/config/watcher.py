"""Where a configuration comes from, to be read again: its file is watched for changes."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping

from neuron_exporter.config.load import LARGEST_FILE, ConfigError, Given, Loaded, load

QUIET = 2.0
"""Seconds for which a file must not change before it is read: somebody may be writing it."""

_Stamp = tuple[int, ...] | None


class Origin:
    """A file, the environment and flags. Without a file there is nothing to watch."""

    def __init__(
        self,
        path: str | None = None,
        environment: Mapping[str, str] | None = None,
        flags: Iterable[Given] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make it before the first `load`: what changes later is then seen as a change."""
        self.path = path
        self._environment = environment
        self._flags = tuple(flags)
        self._clock = clock
        self._seen = self._stamp()
        # A pipe, as of `--config <(...)`, can be read once.
        self._is_watched = self._seen is not None
        self._changed_at: float | None = None
        self._read: bytes | None = None

    def load(self) -> Loaded:
        """The configuration as it is now.

        Raises:
            ConfigError: with every problem.
        """
        self._read = self._digest() if self._is_watched else None
        return load(self.path, self._environment, self._flags)

    def load_again(self) -> Loaded:
        """The configuration of a file that can be read again.

        Raises:
            ConfigError: with every problem.
        """
        self._changed_at = None
        if self._stamp() is None and self.path is not None and os.path.exists(self.path):
            self._read = None
            raise ConfigError([f"{self.path}: is not a file that can be read again"])
        return self.load()

    def has_settled(self) -> bool:
        """Whether the file has changed and been quiet since; once for each change. Ask about once a
        second."""
        if not self._is_watched:
            return False
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen, self._changed_at = stamp, self._clock()
        if self._changed_at is None or self._clock() - self._changed_at < QUIET:
            return False
        self._changed_at = None
        return True

    def has_news(self) -> bool:
        """Whether the file has other content than when it was read last."""
        return self._digest() != self._read

    def _stamp(self) -> _Stamp:
        """The state of the file; links are followed, so that one that is turned is a change."""
        try:
            found = os.stat(self.path or "")
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _digest(self) -> bytes | None:
        """What tells one content from another; None where there is nothing to read."""
        if self._stamp() is None:
            return None
        try:
            with open(self.path or "", "rb") as file:
                return hashlib.sha256(file.read(LARGEST_FILE + 1)).digest()
        except OSError:
            return None
