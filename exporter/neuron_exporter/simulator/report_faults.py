"""Faults of reports and of the stream: what is read, and what is written of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from neuron_exporter.simulator.context import Now, Output, Then

HUGE = 17 * 2**20
"""Bytes of a line that is longer than any reader should have to keep."""

_FLOOD = 2000
_NULLS = 3
_NO_NUMBERS = 3
_CHANCE_OF_ERROR = 0.2
_UNREAD = ("loaded_models", "usage_data")
_ECC_SECONDS = {
    "mem_ecc_corrected": (10, 40),
    "mem_ecc_uncorrected": (120, 300),
    "sram_ecc_uncorrected": (200, 400),
    "sram_ecc_corrected": (30, 90),
}
"""The least and the most seconds between two errors of a kind, on one device."""

Report = dict[str, Any]

# Reports


def put_nulls(report: Report, now: Now) -> None:
    """Something is null: a section, a group, a reading, wherever."""
    for _ in range(_NULLS):
        inside: Any = report
        while True:
            key = now.rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
            below = inside[key]
            if not isinstance(below, dict | list) or not below or now.rng.random() < 0.2:
                inside[key] = None
                break
            inside = below


def put_no_numbers(report: Report, now: Now) -> None:
    """Some readings are no numbers: JSON has no such tokens, and careless writers print them."""
    readings = list(_readings(report))
    for inside, key in now.rng.sample(readings, min(_NO_NUMBERS, len(readings))):
        inside[key] = now.rng.choice([float("nan"), float("inf"), float("-inf")])


def put_errors(report: Report, now: Now) -> None:
    """Groups carry an error text beside their zeros: the CPU shares of runtimes always, as without
    the host's process ids; others now and then."""
    for runtime in report["neuron_runtime_data"]:
        for name, group in runtime["report"].items():
            if name == "neuron_runtime_vcpu_usage":
                _fail(group, f"open /proc/{runtime['pid']}/stat: no such file or directory")
            elif now.rng.random() < _CHANCE_OF_ERROR:
                _fail(group, f"simulated: {name} could not be read")
    for name, group in report["system_data"].items():
        if now.rng.random() < _CHANCE_OF_ERROR:
            _fail(group, f"simulated: {name} could not be read")


def put_ecc_levels(report: Report, now: Now) -> None:
    """Errors of the devices' memory, each reading with all that there were so far."""
    for device, kind, events in _ecc(report, now):
        device[kind] = events(now.lasted)


def put_ecc_tallies(report: Report, now: Now) -> None:
    """The same errors, each reading with those of its period alone."""
    hardware = report["system_data"].get("neuron_hw_counters")
    for device, kind, events in _ecc(report, now):
        device[kind] = events(now.lasted) - events(now.lasted - hardware["period"])


class _Events:
    """Errors at regular times; gives how many there were until a second."""

    def __init__(self, rng: random.Random, least: int, most: int) -> None:
        self._every = rng.randint(least, most)
        # Between two whole seconds, as no report is: each error is in one period, and only in one.
        self._first = rng.randrange(self._every) + 0.5

    def __call__(self, seconds: float) -> int:
        return int((seconds - self._first) // self._every + 1) if seconds > self._first else 0


def _ecc(report: Report, now: Now) -> Iterator[tuple[Report, str, _Events]]:
    hardware = report["system_data"].get("neuron_hw_counters")
    for device in (hardware or {}).get("neuron_devices") or ():
        index = device["neuron_device_index"]
        rng = random.Random(f"{now.seed}:ecc:{index}")  # noqa: S311 (a simulation)
        for kind, (least, most) in _ECC_SECONDS.items():
            yield device, kind, _Events(rng, least, most)


def _readings(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a number in the groups of a report, as its container and its key."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, int | float) and isinstance(value, dict) and key != "pid":
            yield value, key
        elif isinstance(item, dict | list) and key not in _UNREAD:
            yield from _readings(item)


def _fail(group: Report, error: str) -> None:
    zeros = {name: value if name == "period" else _zeros(value) for name, value in group.items()}
    group.update(zeros, error=error)


def _zeros(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _zeros(item) for name, item in value.items()}
    if isinstance(value, list):
        return []
    return 0 if isinstance(value, int | float) else value


# The stream


def crash(output: Output, now: Now) -> Output:
    """The program ends."""
    return Output(b"", b"simulated crash\n", Then.EXIT)


def stall(output: Output, now: Now) -> Output:
    """The program says nothing more, and does not end."""
    return Output(b"", then=Then.HANG)


def add_garbage(output: Output, now: Now) -> Output:
    """Lines that are no reports: text, half a report, other JSON, bytes."""
    half = output.stdout[: now.rng.randrange(1, max(2, len(output.stdout) - 1))].strip(b"\n")
    noise = bytes(byte for byte in now.rng.randbytes(64) if byte != 0x0A)
    lines = (b"time=now level=warn msg=simulated", half, b"[]", b"{}", noise, b"")
    return output._replace(stdout=b"\n".join(lines) + output.stdout)


def add_huge_line(output: Output, now: Now) -> Output:
    """A line that goes on and on."""
    return output._replace(
        stdout=b'{"neuron_runtime_data":["'.ljust(HUGE, b"x") + b"\n" + output.stdout
    )


def cut_in_half(output: Output, now: Now) -> Output:
    """The report ends in its middle."""
    return output._replace(stdout=output.stdout[: len(output.stdout) // 2] + b"\n")


def flood_stderr(output: Output, now: Now) -> Output:
    """Thousands of complaints."""
    lines = (
        b"level=error msg=simulated report=%d line=%04d %s" % (now.number + 1, n, b"x" * 80)
        for n in range(_FLOOD)
    )
    return output._replace(stderr=output.stderr + b"\n".join(lines) + b"\n")
