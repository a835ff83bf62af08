"""What can be going on on a simulated machine: one row for each scenario."""

from __future__ import annotations

from typing import NamedTuple

from neuron_exporter.simulator.processes import Kind

DEFAULT_SCENARIO = "inference"


class Scenario(NamedTuple):
    """Which processes there are and what they do, and what the host does besides."""

    name: str
    help: str
    kinds: tuple[Kind, ...]
    """What its processes do, in turn."""
    runtimes: int
    """How many there are when nobody says."""
    sharing: int = 0
    """How many of them, from the first on, are containers with the tag "1"."""
    helpers: bool = False
    """Whether short-lived processes come and go."""
    host_user: float = 0.8
    host_system: float = 0.3
    host_memory: float = 0.06
    """Percent of the CPUs and share of the memory that the host's own processes use."""


_ROWS = (
    Scenario("idle", "nothing runs; runtimes only hold memory", (Kind.IDLE,), 0),
    Scenario("inference", "a load that rises and falls, short executions", (Kind.INFERENCE,), 4),
    Scenario(
        "training",
        "every core steadily busy, long executions, a pause for a checkpoint every 60 reports",
        (Kind.TRAINING,),
        4,
    ),
    Scenario(
        "compile",
        "the host's CPUs are busy and its memory is taken, the cores are idle",
        (Kind.IDLE,),
        0,
        host_user=82.0,
        host_system=6.0,
        host_memory=0.55,
    ),
    Scenario(
        "mixed",
        "training beside inference, helpers that come and go, containers that share a tag, some "
        "errors",
        (Kind.FLAKY_INFERENCE, Kind.FLAKY_INFERENCE, Kind.TRAINING),
        4,
        sharing=2,
        helpers=True,
    ),
)

SCENARIOS = {row.name: row for row in _ROWS}
