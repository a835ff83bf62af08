"""Inputs and outputs of faults."""

from __future__ import annotations

import random
from enum import Enum
from typing import NamedTuple


class FaultContext(NamedTuple):
    """The report in which a fault occurs."""

    number: int
    """Number of the report, counted from 0."""
    elapsed: float
    """Seconds since the fault began."""
    seed: int
    rng: random.Random


class NextAction(Enum):
    """Action of the simulator after it has written."""

    CONTINUE = "go on"
    EXIT = "exit"
    HANG = "hang"


class Output(NamedTuple):
    """Bytes to write at the time of one report, and the action that follows."""

    stdout: bytes
    stderr: bytes = b""
    next_action: NextAction = NextAction.CONTINUE
