"""The exporter with an exception planted in one place of it.

    python planted.py PLACE ERROR FILE COMMAND [FLAG ...]

PLACE is MODULE:NAME of a function, or MODULE:CLASS.METHOD; it raises the built-in ERROR while FILE
exists, and does its work otherwise.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from functools import wraps
from pathlib import Path
from typing import Any

from neuron_exporter.cli import main as cli


class Planted:
    """A fault of a test, which comes and goes."""

    def __init__(self, folder: Path, place: str, error: type[BaseException]) -> None:
        self._file = folder / "planted"
        self.command = (
            *(sys.executable, "-P", str(Path(__file__).resolve())),
            *(place, error.__name__, str(self._file)),
        )

    def come(self) -> None:
        """Raise from now on."""
        self._file.touch()

    def go(self) -> None:
        """Raise no more."""
        self._file.unlink()


def _plant(place: str, error: type[BaseException], file: Path) -> None:
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    original = getattr(owner, name)

    @wraps(original)
    def planted(*arguments: Any, **named: Any) -> Any:
        if file.exists():
            raise error("planted")
        return original(*arguments, **named)

    setattr(owner, name, planted)


if __name__ == "__main__":
    _plant(sys.argv[1], getattr(builtins, sys.argv[2]), Path(sys.argv[3]))
    sys.exit(cli.main(sys.argv[4:]))
