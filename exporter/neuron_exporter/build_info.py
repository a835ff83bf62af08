"""Version and revision of the program."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from neuron_exporter import __version__

UNKNOWN = "unknown"


@cache
def revision() -> str:
    """Return the commit from which the package was built, `unknown` if the build did not write it
    to the file REVISION of the package."""
    try:
        return Path(__file__).with_name("REVISION").read_text().strip() or UNKNOWN
    except OSError:
        return UNKNOWN


def version_text() -> str:
    """Return version, revision and platform as Prometheus' exporters print them."""
    return (
        f"neuron-exporter, version {__version__} (revision: {revision()})\n"
        f"  python version: {platform.python_version()}\n"
        f"  platform:       {platform.system().lower()}/{platform.machine()}"
    )
