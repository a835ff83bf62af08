"""Simulated processes: their load, executions and memory."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from neuron_exporter.simulator.hardware import Hardware

PERCENTILES = ("p0", "p1", "p25", "p50", "p75", "p99", "p100")

_TAGS = ("resnet50", "bert-base", "llama-3-8b", "stable-diffusion")
_SHARED_TAG = "1"
"""Default tag of the first process in a container."""

_FIRST_PID = 21_000
_PIDS_PER_ROLLOUT = 40_000
_ROLLOUTS = 40
_FIRST_HELPER_PID = 2_000_000
_HELPER_PIDS = 1_000_000

# In reports
_HELPER_INTERVAL = 9
_HELPER_LIFETIME = 3
_ERROR_INTERVAL = 23
_CHECKPOINT_INTERVAL = 60
_CHECKPOINT_DURATION = 2

_LONG = 60.0
"""Seconds above which single executions are simulated."""

_HELPER_MEMORY_SHARE = 0.02
_HELPER_CORE_SHARE = 0.04

_APPLICATION_MEMORY = 1_117_293_568

LoadModel = Callable[[float, int, random.Random], tuple[float, float]]
"""Function of a phase, the number of the report and a generator. Returns the share of time in which
cores are busy, and the seconds of one execution."""


def _idle_load(_phase: float, _number: int, _rng: random.Random) -> tuple[float, float]:
    return 0.0, 1.0


def _inference_load(phase: float, number: int, rng: random.Random) -> tuple[float, float]:
    wave = math.sin(phase + number / 12)
    share = min(0.98, max(0.02, 0.42 + 0.36 * wave + rng.gauss(0, 0.03)))
    return share, 0.0032 * (1 + share * share)


def _training_load(_phase: float, number: int, rng: random.Random) -> tuple[float, float]:
    if number % _CHECKPOINT_INTERVAL >= _CHECKPOINT_INTERVAL - _CHECKPOINT_DURATION:
        return 0.05, 0.21
    return 0.92 + 0.02 * rng.random(), 0.21


def _long_load(seconds: float) -> LoadModel:
    return lambda _phase, _number, rng: (0.92 + 0.02 * rng.random(), seconds)


def _helper_load(_phase: float, _number: int, rng: random.Random) -> tuple[float, float]:
    return 0.3 + 0.6 * rng.random(), 0.05


class _Behaviour(NamedTuple):
    """Load and memory of a kind of process.

    `memory_share` is the used share of the process's device memory. `memory_wave` is the share that
    is allocated and freed in turn.
    """

    load_model: LoadModel
    memory_share: float
    memory_wave: float = 0.0
    has_errors: bool = False


class ProcessKind(Enum):
    """Kind of a process."""

    IDLE = _Behaviour(_idle_load, 0.35)
    INFERENCE = _Behaviour(_inference_load, 0.35, 0.03)
    INFERENCE_WITH_ERRORS = _Behaviour(_inference_load, 0.3, 0.03, has_errors=True)
    TRAINING = _Behaviour(_training_load, 0.7, 0.05)
    SIX_MINUTES = _Behaviour(_long_load(360.0), 0.7)
    TEN_MINUTES = _Behaviour(_long_load(600.0), 0.7)
    HELPER = _Behaviour(_helper_load, 0.5)


Memory = dict[int, dict[str, int]]
"""Bytes of device memory by core and category."""


class Work(NamedTuple):
    """Work of a process in one period, and its memory at the end."""

    utilization: Mapping[int, float]
    """Percent by core."""
    completed: int
    statuses: Mapping[str, int]
    """Executions that did not complete, by status."""
    errors: Mapping[str, int]
    latency: Mapping[str, float] | None
    """Seconds by percentile; None if nothing was executed."""
    device_latency: Mapping[str, float] | None
    cpu_user: float
    cpu_system: float
    memory: Memory
    host_memory: int


class Process(NamedTuple):
    """A process that uses Neuron.

    `core_share` is its share of its cores' time, `memory_limits` is device memory in bytes by core,
    and `first_report` is the number of the first report that lists it. A process that `has_exited`
    is in no report, but its pod is.
    """

    pid: int
    tag: str
    cores: tuple[int, ...]
    kind: ProcessKind
    phase: float
    first_report: int
    core_share: float
    memory_limits: Mapping[int, int]
    host_memory_limit: int
    has_exited: bool = False

    def work(self, number: int, at: float, period: float, rng: random.Random) -> Work:
        """Return the work in the period before the report of this number, which is due `at`."""
        kind = self.kind.value
        load, seconds = kind.load_model(self.phase, number, rng)
        share = load * self.core_share
        busy = {core: self.core_share * _percent(load, rng) for core in self.cores}
        completed = round(share * period / seconds * len(self.cores))
        if seconds > _LONG:
            # One execution after another on all cores. Processes are at different points of it.
            begun = self.phase / math.tau * seconds
            ended = (at + begun) // seconds - (at - round(period) + begun) // seconds
            completed = int(ended) * len(self.cores)
        failed = kind.has_errors and number % _ERROR_INTERVAL == self.pid % _ERROR_INTERVAL
        device = _percentiles(seconds, rng) if completed else None
        if device and seconds > _LONG:
            device = dict.fromkeys(PERCENTILES, seconds)
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
            host_memory=min(_APPLICATION_MEMORY + 4096 * (self.pid % 1000), self.host_memory_limit),
        )

    def _memory(self, core: int, number: int) -> dict[str, int]:
        kind = self.kind.value
        limit = self.memory_limits[core]
        size = int(limit * kind.memory_share * (1 - 0.04 * (self.pid % 7)))
        wave = int(limit * kind.memory_wave * (1 + math.sin(self.phase + number / 9)) / 2)
        return {
            "constants": size // 2,
            "model_code": size // 8,
            "model_shared_scratchpad": size // 4,
            "runtime_memory": 43216 + 64 * core,
            "tensors": size // 8 + wave,
        }


def make_processes(
    kinds: tuple[ProcessKind, ...],
    runtimes: int,
    sharing: int,
    hardware: Hardware,
    seed: int,
    rollout: int,
    first_report: int,
) -> list[Process]:
    """Return the long-running processes of a rollout. Each rollout has new process ids."""
    rng = random.Random(f"{seed}:processes:{rollout}")
    bounds = [at * hardware.cores // runtimes for at in range(runtimes + 1)] if runtimes else []
    # With more processes than cores, each process has a share of one core.
    owned = [tuple(range(low, max(high, low + 1))) for low, high in pairwise(bounds)]
    owners = Counter(core for cores in owned for core in cores)
    core_memory = int(hardware.core_memory * (1 - _HELPER_MEMORY_SHARE))
    first = _FIRST_PID + rollout % _ROLLOUTS * _PIDS_PER_ROLLOUT
    return [
        Process(
            pid=first + 37 * at + rng.randrange(30),
            tag=_SHARED_TAG if at < sharing else _tag(at),
            cores=cores,
            kind=kinds[at % len(kinds)],
            phase=rng.uniform(0, 2 * math.pi),
            first_report=first_report,
            core_share=1 / owners[cores[0]],
            memory_limits={core: core_memory // owners[core] for core in cores},
            host_memory_limit=hardware.memory // 4 // runtimes,
        )
        for at, cores in enumerate(owned)
    ]


def make_helpers(number: int, hardware: Hardware, seed: int) -> list[Process]:
    """Return the short-lived processes in the report of this number."""
    first_report = number - number % _HELPER_INTERVAL
    if not first_report or number - first_report >= _HELPER_LIFETIME:
        return []
    rng = random.Random(f"{seed}:helper:{first_report}")
    core = rng.randrange(hardware.cores)
    return [
        Process(
            pid=_FIRST_HELPER_PID + first_report % _HELPER_PIDS,
            # Every other helper runs in a container, with the default tag that others have too.
            tag=_SHARED_TAG if first_report % (2 * _HELPER_INTERVAL) else "profiler",
            cores=(core,),
            kind=ProcessKind.HELPER,
            phase=0.0,
            first_report=first_report,
            core_share=_HELPER_CORE_SHARE,
            memory_limits={core: int(hardware.core_memory * _HELPER_MEMORY_SHARE)},
            host_memory_limit=hardware.memory // 100,
        )
    ]


def _tag(at: int) -> str:
    repetition = at // len(_TAGS)
    return _TAGS[at % len(_TAGS)] + (f"-{repetition}" if repetition else "")


def _percent(share: float, rng: random.Random) -> float:
    """Return a core's utilization in percent: noisy under load, and 0 without load."""
    return round(min(100.0, max(0.0, 100 * share + rng.gauss(0, 1.5))), 12) if share else 0.0


def _percentiles(seconds: float, rng: random.Random) -> dict[str, float]:
    """Return rising latency percentiles around a typical duration."""
    factors = (0.97, 0.975, 0.99, 1.0, 1.02, 1.2 + 0.3 * rng.random(), 1.6 + rng.random())
    return {name: seconds * factor for name, factor in zip(PERCENTILES, factors, strict=True)}
