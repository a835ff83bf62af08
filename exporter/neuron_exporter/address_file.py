"""A file in the run directory with the URL of the running exporter.

Only the running exporter knows the result of its configuration file, its flags and port 0. With
this file a health check finds it without reading the configuration.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from neuron_exporter import run_directory

LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # compared
"""Hosts that mean every address, with the loopback address that reaches them."""

_NAME = "url"
_MAX_BYTES = 1000


class AddressFile:
    """Writer of the file, if a run directory is set. Errors are ignored."""

    def __init__(self) -> None:
        """Remove what an earlier exporter left.

        `problem` is the reason why there is no file, "" if there is none to name.
        """
        self._url = ""
        self.problem = ""
        if not run_directory.own_directory():
            return
        try:
            run_directory.create()
        except OSError as error:
            self.problem = error.strerror or str(error)
        else:
            run_directory.remove_leftovers()
            self.remove()

    def write(self, url: str) -> None:
        """Write a URL, unless the file already contains it."""
        if url == self._url:
            return
        if not run_directory.own_directory():
            return
        with suppress(OSError), run_directory.opened() as directory:
            # Replacing the file is atomic: a reader never sees half of a URL.
            new = f"{_NAME}.new"
            _unlink(new, directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(new, flags, 0o600, dir_fd=directory), "w", encoding="utf-8") as file:
                file.write(f"{url}\n")
            os.replace(new, _NAME, src_dir_fd=directory, dst_dir_fd=directory)
            self._url = url

    def remove(self) -> None:
        """Remove the file."""
        with suppress(OSError), run_directory.opened() as directory:
            _unlink(_NAME, directory)


def read_address() -> str:
    """Return the URL in the file, or "" without one. The exporter may have been killed since."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with (
        suppress(OSError, ValueError),
        run_directory.opened() as directory,
        open(os.open(_NAME, flags, dir_fd=directory), encoding="utf-8") as file,
    ):
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.read(_MAX_BYTES).strip()
    return ""


def _unlink(name: str, directory: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def local_address(host: str, port: str | int) -> str:
    """Return HOST:PORT at which this machine reaches a server that listens on `host`, which may
    stand for every address and may be in brackets."""
    host = LOOPBACK.get(host.strip("[]"), host.strip("[]"))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
