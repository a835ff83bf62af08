"""The exporter's own directory inside the run directory.

Other users may be able to write to the run directory, which may be a shared volume. So the exporter
keeps its files in a directory of its own there, which only its user can enter.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

RUN_DIRECTORY_VARIABLE = "NEURON_EXPORTER_RUN_DIRECTORY"

TEMPORARY = "neuron-exporter-"
"""Beginning of the names of temporary files."""


def own_directory() -> str:
    """Return the path of the exporter's own directory, or "" without a run directory."""
    folder = os.environ.get(RUN_DIRECTORY_VARIABLE, "")
    return os.path.join(folder, f"uid-{os.geteuid()}") if folder else ""


@contextmanager
def opened() -> Iterator[int]:
    """Yield a descriptor of the exporter's own directory.

    Raises:
        OSError: the directory does not exist, is a link, or belongs to another user.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(own_directory(), flags)
    except NotADirectoryError as error:
        raise OSError(error.errno, "is a link or not a directory") from None
    try:
        owner = os.fstat(descriptor).st_uid
        if owner != os.geteuid():
            raise OSError(errno.EPERM, f"belongs to user {owner}, not to {os.geteuid()}")
        yield descriptor
    finally:
        os.close(descriptor)


def create() -> str:
    """Create the exporter's own directory unless it exists, and return its path.

    Raises:
        OSError: as `opened`, or it cannot be created.
    """
    with suppress(FileExistsError):
        os.mkdir(own_directory(), 0o700)
    with opened() as directory:
        if os.fstat(directory).st_mode & 0o077:
            os.chmod(directory, 0o700)
    return own_directory()


def remove_leftovers() -> None:
    """Remove the temporary files of an exporter that was killed."""
    from shutil import rmtree  # the health check does not need it

    with suppress(OSError), opened() as directory:
        for name in os.listdir(directory):
            if name.startswith(TEMPORARY):
                rmtree(name, ignore_errors=True, dir_fd=directory)
