"""What simulated processes do: how busy their cores are, what they complete, what they hold."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

PERCENTILES = ("p0", "p1", "p25", "p50", "p75", "p99", "p100")

_TAGS = ("resnet50", "bert-base", "llama-3-8b", "stable-diffusion")
_SHARED_TAG = "1"
"""The tag of a process that is the first of its container and was given none."""

_FIRST_PID = 21_000
_PIDS_OF_A_ROLLOUT = 40_000
_ROLLOUTS = 40
_FIRST_HELPER = 2_000_000
_HELPERS = 1_000_000

_HELPER_EVERY = 9
_HELPER_LIFE = 3
_HELPERS_ROOM = 0.02
_HELPERS_PORTION = 0.04
_ERROR_EVERY = 23
_CHECKPOINT_EVERY, _CHECKPOINT = 60, 2

_APPLICATION_MEMORY = 1_117_293_568

Pace = Callable[[float, int, random.Random], tuple[float, float]]


def _waiting(_phase: float, _number: int, _rng: random.Random) -> tuple[float, float]:
    return 0.0, 1.0


def _serving(phase: float, number: int, rng: random.Random) -> tuple[float, float]:
    wave = math.sin(phase + number / 12)
    share = min(0.98, max(0.02, 0.42 + 0.36 * wave + rng.gauss(0, 0.03)))
    return share, 0.0032 * (1 + share * share)


def _training(_phase: float, number: int, rng: random.Random) -> tuple[float, float]:
    if number % _CHECKPOINT_EVERY >= _CHECKPOINT_EVERY - _CHECKPOINT:
        return 0.05, 0.21
    return 0.92 + 0.02 * rng.random(), 0.21


def _helping(_phase: float, _number: int, rng: random.Random) -> tuple[float, float]:
    return 0.3 + 0.6 * rng.random(), 0.05


class _Traits(NamedTuple):
    """How a kind of process behaves.

    `pace` gives the share of time that its cores are busy, and the seconds of one execution.
    `fill` is the share of the device memory open to it that its model takes; `wave` is how much of
    that comes and goes.
    """

    pace: Pace
    fill: float
    wave: float = 0.0
    flaky: bool = False


class Kind(Enum):
    """The kinds of processes."""

    IDLE = _Traits(_waiting, 0.35)
    INFERENCE = _Traits(_serving, 0.35, 0.03)
    FLAKY_INFERENCE = _Traits(_serving, 0.3, 0.03, flaky=True)
    TRAINING = _Traits(_training, 0.7, 0.05)
    HELPER = _Traits(_helping, 0.5)


Memory = dict[int, dict[str, int]]
"""Bytes of device memory by core and category."""


class Work(NamedTuple):
    """What one process did in one period, and what it holds at its end."""

    utilization: Mapping[int, float]
    """Percent by core."""
    completed: int
    statuses: Mapping[str, int]
    """Executions that ended in another way, by status."""
    errors: Mapping[str, int]
    latency: Mapping[str, float] | None
    """Seconds by percentile; None when nothing was executed."""
    device_latency: Mapping[str, float] | None
    cpu_user: float
    cpu_system: float
    memory: Memory
    host_memory: int


class Process(NamedTuple):
    """A process that uses Neuron. `portion` is the share of its cores' time that is open to it, and
    `room` the device memory, in bytes by core."""

    pid: int
    tag: str
    cores: tuple[int, ...]
    kind: Kind
    phase: float
    born: int
    portion: float
    room: Mapping[int, int]
    host_room: int

    def work(self, number: int, period: float, rng: random.Random) -> Work:
        """What it does in the period before the report of this number."""
        kind = self.kind.value
        whole, seconds = kind.pace(self.phase, number, rng)
        share = whole * self.portion
        busy = {core: self.portion * _percent(whole, rng) for core in self.cores}
        completed = round(share * period / seconds * len(self.cores))
        failed = kind.flaky and number % _ERROR_EVERY == self.pid % _ERROR_EVERY
        device = _spread(seconds, rng) if completed else None
        return Work(
            utilization=busy,
            completed=completed,
            statuses={
                "completed_with_num_err": int(failed),
                "timed_out": int(failed and self.pid % 2 == 0),
            },
            errors={"numerical": int(failed)},
            latency={name: 1.045 * value for name, value in device.items()} if device else None,
            device_latency=device,
            cpu_user=round(share * 9 + rng.random(), 2),
            cpu_system=round(share * 2 + rng.random(), 2),
            memory={core: self._memory(core, number) for core in self.cores},
            host_memory=min(_APPLICATION_MEMORY + 4096 * (self.pid % 1000), self.host_room),
        )

    def _memory(self, core: int, number: int) -> dict[str, int]:
        kind = self.kind.value
        size = int(self.room[core] * kind.fill * (1 - 0.04 * (self.pid % 7)))
        wave = int(self.room[core] * kind.wave * (1 + math.sin(self.phase + number / 9)) / 2)
        return {
            "constants": size // 2,
            "model_code": size // 8,
            "model_shared_scratchpad": size // 4,
            "runtime_memory": 43216 + 64 * core,
            "tensors": size // 8 + wave,
        }


class Room(NamedTuple):
    """What the processes of a machine share."""

    cores: int
    core_memory: int
    host_memory: int


def processes(
    kinds: tuple[Kind, ...], runtimes: int, sharing: int, room: Room, seed: int, rollout: int = 0
) -> list[Process]:
    """The processes that stay. Those of another rollout are others, with other process ids."""
    rng = random.Random(f"{seed}:processes:{rollout}")  # noqa: S311 (a simulation)
    bounds = [at * room.cores // runtimes for at in range(runtimes + 1)] if runtimes else []
    # Where there are more of them than cores, each has a share of one.
    owned = [tuple(range(low, max(high, low + 1))) for low, high in pairwise(bounds)]
    owners = Counter(core for cores in owned for core in cores)
    open_to_them = int(room.core_memory * (1 - _HELPERS_ROOM))
    first = _FIRST_PID + rollout % _ROLLOUTS * _PIDS_OF_A_ROLLOUT
    return [
        Process(
            pid=first + 37 * at + rng.randrange(30),
            tag=_SHARED_TAG if at < sharing else _tag(at),
            cores=cores,
            kind=kinds[at % len(kinds)],
            phase=rng.uniform(0, 2 * math.pi),
            born=0,
            portion=1 / owners[cores[0]],
            room={core: open_to_them // owners[core] for core in cores},
            host_room=room.host_memory // 4 // runtimes,
        )
        for at, cores in enumerate(owned)
    ]


def helpers(number: int, room: Room, seed: int) -> list[Process]:
    """The short-lived processes that are there at the report of this number."""
    born = number - number % _HELPER_EVERY
    if not born or number - born >= _HELPER_LIFE:
        return []
    rng = random.Random(f"{seed}:helper:{born}")  # noqa: S311 (a simulation)
    core = rng.randrange(room.cores)
    return [
        Process(
            pid=_FIRST_HELPER + born % _HELPERS,
            # Every other one is a container whose process has a tag that others have as well.
            tag=_SHARED_TAG if born % (2 * _HELPER_EVERY) else "profiler",
            cores=(core,),
            kind=Kind.HELPER,
            phase=0.0,
            born=born,
            portion=_HELPERS_PORTION,
            room={core: int(room.core_memory * _HELPERS_ROOM)},
            host_room=room.host_memory // 100,
        )
    ]


def _tag(at: int) -> str:
    again = at // len(_TAGS)
    return _TAGS[at % len(_TAGS)] + (f"-{again}" if again else "")


def _percent(share: float, rng: random.Random) -> float:
    """Percent of a period that one core is busy; a core without work is not busy at all."""
    return round(min(100.0, max(0.0, 100 * share + rng.gauss(0, 1.5))), 12) if share else 0.0


def _spread(seconds: float, rng: random.Random) -> dict[str, float]:
    """Percentiles around a usual duration, in rising order."""
    factors = (0.97, 0.975, 0.99, 1.0, 1.02, 1.2 + 0.3 * rng.random(), 1.6 + rng.random())
    return {name: seconds * factor for name, factor in zip(PERCENTILES, factors, strict=True)}
