"""What simulated processes do: how busy their cores are, what they complete, how long it takes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

PERCENTILES = ("p0", "p1", "p25", "p50", "p75", "p99", "p100")

_MIB = 2**20
_TAGS = ("resnet50", "bert-base", "llama-3-8b", "stable-diffusion")
_FIRST_PID = 21000
_FIRST_HELPER = 100_000
_HELPER_EVERY = 9
_HELPER_LIFE = 3
_ERROR_EVERY = 23


class Work(NamedTuple):
    """What one process did in one period."""

    utilization: dict[int, float]
    """Percent by core."""
    completed: int
    numerical_errors: int
    timed_out: int
    latency: dict[str, float] | None
    """Seconds by percentile; None when nothing was executed."""
    device_latency: dict[str, float] | None
    cpu_user: float
    cpu_system: float


class Process(NamedTuple):
    """A process that uses Neuron."""

    pid: int
    tag: str
    cores: tuple[int, ...]
    kind: str
    phase: float
    born: int
    gone: int | None

    def lives(self, number: int) -> bool:
        """Whether it is there at the report of this number."""
        return self.born <= number and (self.gone is None or number < self.gone)

    def memory(self, core: int, number: int) -> dict[str, int]:
        """Bytes by category on one of its cores."""
        size = 40 if self.kind == "helper" else 900 + 60 * (self.pid % 7)
        wave = int(24 * (1 + math.sin(self.phase + number / 9))) if self.kind != "idle" else 0
        return {
            "constants": size * _MIB // 2,
            "model_code": size * _MIB // 8,
            "model_shared_scratchpad": size * _MIB // 4,
            "runtime_memory": 43216 + 64 * core,
            "tensors": (size // 8 + wave) * _MIB,
        }

    def work(self, number: int, period: float, rng: random.Random) -> Work:
        """What it does in the period before the report of this number."""
        if self.kind == "idle":
            return Work(dict.fromkeys(self.cores, 0.0), 0, 0, 0, None, None, 0.3, 0.1)
        if self.kind == "training":
            share, seconds = 0.93 + 0.02 * rng.random(), 0.21
        elif self.kind == "helper":
            share, seconds = 0.12 + 0.1 * rng.random(), 0.05
        else:
            wave = math.sin(self.phase + number / 12)
            share = min(0.98, max(0.02, 0.42 + 0.36 * wave + rng.gauss(0, 0.03)))
            seconds = 0.0032 * (1 + share * share)
        utilization = {
            core: round(min(100.0, max(0.0, 100 * share + rng.gauss(0, 1.5))), 12)
            for core in self.cores
        }
        completed = round(share * period / seconds * len(self.cores))
        failed = self.kind == "mixed" and number % _ERROR_EVERY == self.pid % _ERROR_EVERY
        device = _spread(seconds, rng) if completed else None
        total = {name: value * 1.045 for name, value in device.items()} if device else None
        return Work(
            utilization,
            completed,
            int(failed),
            int(failed and self.pid % 2 == 0),
            total,
            device,
            round(share * 9 + rng.random(), 2),
            round(share * 2 + rng.random(), 2),
        )


def processes(scenario: str, runtimes: int, cores: int, seed: int) -> list[Process]:
    """The processes that stay for the whole run."""
    rng = random.Random(f"{seed}:processes")  # noqa: S311 (a simulation)
    made = []
    for at in range(runtimes):
        low, high = at * cores // runtimes, (at + 1) * cores // runtimes
        own = tuple(range(low, high)) or (at % cores,)
        kind = {"idle": "idle", "inference": "inference"}.get(scenario, "mixed")
        tag = f"{_TAGS[at % len(_TAGS)]}" + (f"-{at // len(_TAGS)}" if at >= len(_TAGS) else "")
        if scenario == "mixed":
            # Every third trains; the first two of the others are containers with the tag "1".
            kind = "training" if at % 3 == 2 else "mixed"
            tag = "1" if at in (0, 1) else tag
        pid = _FIRST_PID + 37 * at + rng.randrange(30)
        made.append(Process(pid, tag, own, kind, rng.uniform(0, 2 * math.pi), 0, None))
    return made


def helpers(scenario: str, number: int, cores: int, seed: int) -> Iterator[Process]:
    """The short-lived processes that are there at the report of this number."""
    if scenario != "mixed":
        return
    for born in range(max(1, number - _HELPER_LIFE), number + 1):
        if born % _HELPER_EVERY:
            continue
        rng = random.Random(f"{seed}:helper:{born}")  # noqa: S311 (a simulation)
        # Every other one is a container whose process has the tag "1", as some that stay.
        tag = "1" if born % (2 * _HELPER_EVERY) else "profiler"
        core = rng.randrange(cores)
        pid = _FIRST_HELPER + born
        helper = Process(pid, tag, (core,), "helper", 0.0, born, born + _HELPER_LIFE)
        if helper.lives(number):
            yield helper


def _spread(seconds: float, rng: random.Random) -> dict[str, float]:
    """Percentiles around a usual duration, in rising order."""
    factors = (0.97, 0.975, 0.99, 1.0, 1.02, 1.2 + 0.3 * rng.random(), 1.6 + rng.random())
    return dict(
        sorted((name, seconds * factor) for name, factor in zip(PERCENTILES, factors, strict=True))
    )
