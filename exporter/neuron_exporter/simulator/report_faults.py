"""Faults of reports and of the output stream."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Set
from typing import Any

from neuron_exporter.simulator.context import FaultContext, NextAction, Output

HUGE_LINE = 17 * 2**20
"""Length in bytes, above the exporter's default limit for a line."""

_STDERR_LINES = 2000
_NULLS = 3
_NANS = 3
_ERROR_PROBABILITY = 0.2
_UNUSED_SECTIONS = ("loaded_models", "usage_data")
ECC_SECONDS = {
    "mem_ecc_corrected": (10, 40),
    "mem_ecc_uncorrected": (120, 300),
    "sram_ecc_uncorrected": (200, 400),
    "sram_ecc_corrected": (30, 90),
}
"""Minimum and maximum seconds between two errors of a type on one device."""

Report = dict[str, Any]

# Reports


def insert_nulls(report: Report, context: FaultContext) -> None:
    """Set random sections, groups or readings to null."""
    for _ in range(_NULLS):
        inside: Any = report
        while True:
            keys = list(inside) if isinstance(inside, dict) else range(len(inside))
            key = context.rng.choice(keys)
            below = inside[key]
            if not isinstance(below, dict | list) or not below or context.rng.random() < 0.2:
                inside[key] = None
                break
            inside = below


def insert_nan(report: Report, context: FaultContext) -> None:
    """Set random readings to NaN or infinity, tokens that JSON does not have."""
    readings = list(_readings(report))
    for inside, key in context.rng.sample(readings, min(_NANS, len(readings))):
        inside[key] = context.rng.choice([float("nan"), float("inf"), float("-inf")])


def insert_errors(report: Report, context: FaultContext) -> None:
    """Set groups to zero and give them an error text.

    This always affects the CPU shares of runtimes, as in a container without the host's process
    ids, and other groups at random.
    """
    for runtime in report["neuron_runtime_data"]:
        for name, group in runtime["report"].items():
            if name == "neuron_runtime_vcpu_usage":
                _fail(group, f"open /proc/{runtime['pid']}/stat: no such file or directory")
            elif context.rng.random() < _ERROR_PROBABILITY:
                _fail(group, f"simulated: {name} could not be read")
    for name, group in report["system_data"].items():
        if context.rng.random() < _ERROR_PROBABILITY:
            _fail(group, f"simulated: {name} could not be read")


def lose_device(report: Report, context: FaultContext) -> None:
    """Remove a device: its section, its cores, and the runtimes that had no others.

    The number of devices stays: it is unknown whether neuron-monitor lowers it.
    """
    hardware = report["neuron_hardware_info"]
    per_device = hardware["neuroncore_per_device_count"]
    lost = lost_device(context.seed, hardware["neuron_device_count"])
    counters = report["system_data"].get("neuron_hw_counters")
    if counters:
        counters["neuron_devices"] = [
            each for each in counters["neuron_devices"] if each["neuron_device_index"] != lost
        ]
    cores = {str(lost * per_device + index) for index in range(per_device)}
    report["neuron_runtime_data"] = [
        runtime
        for runtime in report["neuron_runtime_data"]
        if _lose_cores(runtime["report"], cores)
    ]


def lost_device(seed: int, devices: int) -> int:
    """Return the device that is missing."""
    rng = random.Random(f"{seed}:lost-device")
    return rng.randrange(devices)


def _lose_cores(groups: Report, cores: Set[str]) -> bool:
    """Remove the cores from a runtime; return whether it has others."""
    used: set[str] = set()
    if counters := groups.get("neuroncore_counters"):
        in_use = counters["neuroncores_in_use"]
        used |= {core for core, each in in_use.items() if each["neuroncore_utilization"]}
        counters["neuroncores_in_use"] = _without(in_use, cores)
    if memory := groups.get("memory_used"):
        used_bytes = memory["neuron_runtime_used_bytes"]
        breakdown = used_bytes["usage_breakdown"]
        used |= breakdown["neuroncore_memory_usage"].keys()
        left = _without(breakdown["neuroncore_memory_usage"], cores)
        breakdown["neuroncore_memory_usage"] = left
        used_bytes["neuron_device"] = sum(sum(parts.values()) for parts in left.values())
    return not used or not used <= cores


def _without(by_core: Report, cores: Set[str]) -> Report:
    return {core: value for core, value in by_core.items() if core not in cores}


def insert_ecc_totals(report: Report, context: FaultContext) -> None:
    """Add memory errors of the devices; each reading is the total so far."""
    for device, kind, events in _ecc(report, context):
        device[kind] = events(context.elapsed)


def insert_ecc_counts(report: Report, context: FaultContext) -> None:
    """Add memory errors of the devices; each reading is the count of its period."""
    hardware = report["system_data"].get("neuron_hw_counters")
    for device, kind, events in _ecc(report, context):
        device[kind] = events(context.elapsed) - events(context.elapsed - hardware["period"])


def events(rng: random.Random, low: int, high: int) -> Callable[[float], int]:
    """Return the number of errors at regular times, as a function of the seconds so far."""
    interval = rng.randint(low, high)
    # Reports are at whole seconds, so that half a second puts each error into one period.
    first = rng.randrange(interval) + 0.5
    return lambda seconds: int((seconds - first) // interval + 1) if seconds > first else 0


def _ecc(
    report: Report, context: FaultContext
) -> Iterator[tuple[Report, str, Callable[[float], int]]]:
    hardware = report["system_data"].get("neuron_hw_counters")
    for device in (hardware or {}).get("neuron_devices") or ():
        index = device["neuron_device_index"]
        rng = random.Random(f"{context.seed}:ecc:{index}")
        for kind, (low, high) in ECC_SECONDS.items():
            yield device, kind, events(rng, low, high)


def _readings(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the mapping and the key of each number in the groups of a report."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, int | float) and isinstance(value, dict) and key != "pid":
            yield value, key
        elif isinstance(item, dict | list) and key not in _UNUSED_SECTIONS:
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


def crash(output: Output, context: FaultContext) -> Output:
    """Exit in place of the report."""
    return Output(b"", b"simulated crash\n", NextAction.EXIT)


def stall(output: Output, context: FaultContext) -> Output:
    """Stop writing, and do not exit."""
    return Output(b"", next_action=NextAction.HANG)


def add_garbage(output: Output, context: FaultContext) -> Output:
    """Add lines that are not reports: text, half a report, other JSON, bytes."""
    half = output.stdout[: context.rng.randrange(1, max(2, len(output.stdout) - 1))].strip(b"\n")
    noise = bytes(byte for byte in context.rng.randbytes(64) if byte != 0x0A)
    lines = (b"time=now level=warn msg=simulated", half, b"[]", b"{}", noise, b"")
    return output._replace(stdout=b"\n".join(lines) + output.stdout)


def add_huge_line(output: Output, context: FaultContext) -> Output:
    """Add a line of 17 MiB."""
    line = b'{"neuron_runtime_data":["'.ljust(HUGE_LINE, b"x")
    return output._replace(stdout=line + b"\n" + output.stdout)


def cut_in_half(output: Output, context: FaultContext) -> Output:
    """Cut the report off in the middle."""
    return output._replace(stdout=output.stdout[: len(output.stdout) // 2] + b"\n")


def flood_stderr(output: Output, context: FaultContext) -> Output:
    """Add lines on standard error."""
    lines = (
        b"level=error msg=simulated report=%d line=%04d %s" % (context.number + 1, n, b"x" * 80)
        for n in range(_STDERR_LINES)
    )
    return output._replace(stderr=output.stderr + b"\n".join(lines) + b"\n")
