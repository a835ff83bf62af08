"""When a fault happens, and what is written then."""

from __future__ import annotations

import random
from enum import Enum
from typing import NamedTuple


class Now(NamedTuple):
    """One report of a fault: its number, the seconds since the fault began, its own chance."""

    number: int
    lasted: float
    seed: int
    rng: random.Random


class Then(Enum):
    """What the simulator does after it has written."""

    GO_ON = "go on"
    EXIT = "exit"
    HANG = "hang"


class Output(NamedTuple):
    """What is written at one report's time."""

    stdout: bytes
    stderr: bytes = b""
    then: Then = Then.GO_ON
