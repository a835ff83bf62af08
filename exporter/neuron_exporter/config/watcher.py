"""Watch the configuration file and load the configuration again after a change."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping

from neuron_exporter.config.load import ConfigError, LoadedConfig, Override, load
from neuron_exporter.validation import MAX_FILE_BYTES

SETTLE_SECONDS = 2.0
"""A changed file is read after this time without further changes: it may still be written to."""


class ConfigWatcher:
    """Loader of file, environment variables and flags that notices changes of the file."""

    def __init__(
        self,
        path: str | None = None,
        environment: Mapping[str, str] | None = None,
        flags: Iterable[Override] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Note the state of the file. Create the watcher before the first `load`, so that a change
        between the two is noticed. Without a path, nothing is watched."""
        self.path = path
        self._environment = environment
        self._flags = tuple(flags)
        self._clock = clock
        self._state = self._file_state()
        # A pipe, as in `--config <(...)`, can be read only once.
        self._is_watched = self._state is not None
        self._changed_at: float | None = None
        self._loaded_digest: bytes | None = None

    def load(self) -> LoadedConfig:
        """Load the configuration.

        Raises:
            ConfigError: with all errors.
        """
        self._loaded_digest = self._digest() if self._is_watched else None
        return load(self.path, self._environment, self._flags)

    def reload(self) -> LoadedConfig:
        """Load the configuration again.

        Raises:
            ConfigError: with all errors, or if the file cannot be read a second time.
        """
        self._changed_at = None
        if self._file_state() is None and self.path is not None and os.path.exists(self.path):
            self._loaded_digest = None
            raise ConfigError([f"{self.path}: is not a file that can be read again"])
        return self.load()

    def has_settled(self) -> bool:
        """Return whether the file has changed and then stayed the same for `SETTLE_SECONDS`; true
        once per change. Call it every few seconds."""
        if not self._is_watched:
            return False
        state = self._file_state()
        if state != self._state:
            self._state, self._changed_at = state, self._clock()
        if self._changed_at is None or self._clock() - self._changed_at < SETTLE_SECONDS:
            return False
        self._changed_at = None
        return True

    def has_new_content(self) -> bool:
        """Return whether the content differs from what was loaded last."""
        return self._digest() != self._loaded_digest

    def _file_state(self) -> tuple[int, ...] | None:
        """Return the identity of the file's version; None if it is not a regular file. Links
        are followed: Kubernetes updates a mounted ConfigMap by replacing a link."""
        try:
            found = os.stat(self.path or "")
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _digest(self) -> bytes | None:
        if self._file_state() is None:
            return None
        try:
            with open(self.path or "", "rb") as file:
                return hashlib.sha256(file.read(MAX_FILE_BYTES + 1)).digest()
        except OSError:
            return None
