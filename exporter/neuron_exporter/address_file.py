"""Where the exporter of this container listens, told by a file in its run directory.

A port or TLS that only the configuration file names, a flag, or port 0 are known to the running
exporter alone, and a health check should read no configuration.
"""

from __future__ import annotations

import os
from contextlib import suppress

_VARIABLE = "NEURON_EXPORTER_RUN_DIRECTORY"
_NAME = "url"


class Whereabouts:
    """Tells them, if there is a run directory. Whatever that has against it, the exporter runs."""

    def __init__(self) -> None:
        self._told = ""
        self._path = _path()

    def tell(self, url: str) -> None:
        """Tell a URL, unless it was told already."""
        if not self._path or url == self._told:
            return
        self._told = url
        with suppress(OSError):
            # Whoever reads meanwhile gets the whole of one or the other.
            new = f"{self._path}.new"
            with open(new, "w", encoding="utf-8") as file:
                file.write(f"{url}\n")
            os.replace(new, self._path)

    def forget(self) -> None:
        """Tell nothing any more."""
        with suppress(OSError):
            if self._path:
                os.unlink(self._path)


def whereabouts() -> str:
    """The URL of the exporter that runs here, or ran until it was killed; empty where none told."""
    with suppress(OSError, ValueError), open(_path(), encoding="utf-8") as file:
        return file.read(1000).strip()
    return ""


def _path() -> str:
    folder = os.environ.get(_VARIABLE, "")
    return os.path.join(folder, _NAME) if folder else ""
