"""The exporter with an exception injected into one of its functions.

    python injected_fault.py PLACE ERROR FILE COMMAND [FLAG ...]

PLACE is MODULE:FUNCTION or MODULE:CLASS.METHOD. It raises the built-in ERROR while FILE exists.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from functools import wraps
from pathlib import Path
from typing import Any

from neuron_exporter.cli import main as cli


class InjectedFault:
    """A fault that a test turns on and off, and the command of the faulty exporter."""

    def __init__(self, folder: Path, place: str, error: type[BaseException]) -> None:
        self._file = folder / "fault"
        self.command = (
            *(sys.executable, "-P", str(Path(__file__).resolve())),
            *(place, error.__name__, str(self._file)),
        )

    def enable(self) -> None:
        """Raise from now on."""
        self._file.touch()

    def disable(self) -> None:
        """Stop raising."""
        self._file.unlink()


def _inject(place: str, error: type[BaseException], file: Path) -> None:
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    original = getattr(owner, name)

    @wraps(original)
    def faulty(*arguments: Any, **named: Any) -> Any:
        if file.exists():
            raise error("planted")
        return original(*arguments, **named)

    setattr(owner, name, faulty)


if __name__ == "__main__":
    _inject(sys.argv[1], getattr(builtins, sys.argv[2]), Path(sys.argv[3]))
    sys.exit(cli.main(sys.argv[4:]))
