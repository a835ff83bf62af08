"""New files that only their owner can read, for what a user shares."""

from __future__ import annotations

import os
from typing import BinaryIO

from neuron_exporter.config import ConfigError


def create_private_file(flag: str, path: str) -> BinaryIO:
    """Create a new file for writing, which only its owner can read.

    Args:
        flag: the flag that names the path, for errors.

    Raises:
        ConfigError: the file exists or cannot be created.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.fdopen(os.open(path, flags, 0o600), "wb")
    except FileExistsError as error:
        raise ConfigError([f"{flag}: {path}: exists already and is not overwritten"]) from error
    except OSError as error:
        raise ConfigError([f"{flag}: {path}: {error.strerror or error}"]) from error
