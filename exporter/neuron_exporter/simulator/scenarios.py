"""The table of scenarios."""

from __future__ import annotations

from typing import NamedTuple

from neuron_exporter.simulator.processes import ProcessKind

DEFAULT_SCENARIO = "inference"


class Scenario(NamedTuple):
    """Load of a simulated machine: its processes, and the rest of the host."""

    name: str
    help: str
    kinds: tuple[ProcessKind, ...]
    """Kinds of its processes, assigned in turn."""
    runtimes: int
    """Default number of processes."""
    sharing: int = 0
    """Number of processes that run in a container, with the tag "1"."""
    helpers: bool = False
    """Whether there are short-lived processes."""
    host_user: float = 0.8
    host_system: float = 0.3
    host_memory: float = 0.06
    """Use of CPUs (percent) and memory (share) by the rest of the host."""


_ROWS = (
    Scenario("idle", "nothing runs; runtimes only keep memory allocated", (ProcessKind.IDLE,), 0),
    Scenario(
        "inference", "load that rises and falls, short executions", (ProcessKind.INFERENCE,), 4
    ),
    Scenario(
        "training",
        "every core steadily busy, long executions, a checkpoint pause every 60 reports",
        (ProcessKind.TRAINING,),
        4,
    ),
    Scenario(
        "long-executions",
        "every core steadily busy with executions of six or, every other runtime, ten minutes",
        (ProcessKind.SIX_MINUTES, ProcessKind.TEN_MINUTES),
        4,
    ),
    Scenario(
        "compile",
        "busy host CPUs and high host memory, idle cores",
        (ProcessKind.IDLE,),
        0,
        host_user=82.0,
        host_system=6.0,
        host_memory=0.55,
    ),
    Scenario(
        "mixed",
        "training beside inference, short-lived helpers, containers that share a tag, some errors",
        (
            ProcessKind.INFERENCE_WITH_ERRORS,
            ProcessKind.INFERENCE_WITH_ERRORS,
            ProcessKind.TRAINING,
        ),
        4,
        sharing=2,
        helpers=True,
    ),
)

SCENARIOS = {row.name: row for row in _ROWS}
