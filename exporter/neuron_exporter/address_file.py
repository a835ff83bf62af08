"""A file in the run directory with the URL of the running exporter.

Only the running exporter knows the result of its configuration file, its flags and port 0. With
this file a health check finds it without reading the configuration.
"""

from __future__ import annotations

import os
from contextlib import suppress

LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared)
"""Hosts that mean every address, with the loopback address that reaches them."""

_VARIABLE = "NEURON_EXPORTER_RUN_DIRECTORY"
_NAME = "url"


class AddressFile:
    """Writer of the file, if a run directory is set. Errors are ignored."""

    def __init__(self) -> None:
        self._url = ""
        self._path = _path()

    def write(self, url: str) -> None:
        """Write a URL, unless the file already contains it."""
        if not self._path or url == self._url:
            return
        self._url = url
        with suppress(OSError):
            # Replacing the file is atomic: a reader never sees half of a URL.
            new = f"{self._path}.new"
            with open(new, "w", encoding="utf-8") as file:
                file.write(f"{url}\n")
            os.replace(new, self._path)

    def remove(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            if self._path:
                os.unlink(self._path)


def read_address() -> str:
    """Return the URL in the file, or "" without one. The exporter may have been killed since."""
    with suppress(OSError, ValueError), open(_path(), encoding="utf-8") as file:
        return file.read(1000).strip()
    return ""


def local_address(host: str, port: str | int) -> str:
    """Return HOST:PORT at which this machine reaches a server that listens on `host`, which may
    stand for every address and may be in brackets."""
    host = LOOPBACK.get(host.strip("[]"), host.strip("[]"))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _path() -> str:
    folder = os.environ.get(_VARIABLE, "")
    return os.path.join(folder, _NAME) if folder else ""
