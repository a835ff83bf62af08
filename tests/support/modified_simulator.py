"""The simulator with every report changed, for machines and tags that it does not have.

python modified_simulator.py CHANGE [simulator's flags …]
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

MALICIOUS_TAGS = (
    "<script>alert(1)</script>",
    "a" * 5000,
    '"><img src=x onerror=alert(1)>' + " many words" * 30,
    "\u202egnirts\x1b[2J&amp;",
)
"""Malicious and overlong tags; the exporter exposes 255 characters."""


BAD_DEVICE = 3
"""The device with memory errors."""


def modified_simulator(change: str, *flags: str) -> dict[str, Any]:
    """Return a source configuration that runs the simulator with this change, every second."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), change, *flags]
    return {"command": command, "period": "1s"}


def _runtimes(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from report["neuron_runtime_data"]


def _single_cores(report: dict[str, Any]) -> None:
    """Split logical cores into one per physical core (LNC 1), each with half of the memory."""
    hardware = report["neuron_hardware_info"]
    hardware["neuroncore_per_device_count"] *= hardware["logical_neuroncore_config"]
    hardware["logical_neuroncore_config"] = 1
    for runtime in _runtimes(report):
        groups = runtime["report"]
        counters = groups.get("neuroncore_counters", {})
        memory = groups.get("memory_used", {}).get("neuron_runtime_used_bytes", {})
        for parent, key, share in (
            (counters, "neuroncores_in_use", 1),
            (memory.get("usage_breakdown", {}), "neuroncore_memory_usage", 2),
        ):
            if key in parent:
                parent[key] = {
                    str(2 * int(core) + half): {
                        name: value // share if share > 1 else value
                        for name, value in readings.items()
                        if not isinstance(value, dict)
                    }
                    for core, readings in parent[key].items()
                    for half in (0, 1)
                }


def _malicious_tags(report: dict[str, Any]) -> None:
    for runtime, tag in zip(_runtimes(report), MALICIOUS_TAGS, strict=True):
        runtime["neuron_runtime_tag"] = tag


def _no_groups(report: dict[str, Any]) -> None:
    """Give cores an error, and remove device memory and hardware counters."""
    for runtime in _runtimes(report):
        runtime["report"].pop("memory_used", None)
        runtime["report"]["neuroncore_counters"] = {
            "period": 1.0,
            "neuroncores_in_use": {},
            "error": "no <counters> today",
        }
    report["system_data"].pop("neuron_hw_counters", None)


def _only_corrected_ecc(report: dict[str, Any]) -> None:
    """Keep the corrected memory errors of one device, multiplied."""
    _scale_ecc(report, {"_corrected": 20, "_uncorrected": 0})


def _only_uncorrected_ecc(report: dict[str, Any]) -> None:
    """Keep the uncorrected memory errors of one device."""
    _scale_ecc(report, {"_corrected": 0, "_uncorrected": 1})


def _scale_ecc(report: dict[str, Any], factors: Mapping[str, int]) -> None:
    hardware = report["system_data"].get("neuron_hw_counters") or {}
    for device in hardware.get("neuron_devices") or ():
        is_bad = device["neuron_device_index"] == BAD_DEVICE
        for kind in device:
            for ending, factor in factors.items():
                if kind.endswith(ending):
                    device[kind] *= factor if is_bad else 0


SLOW_RUNTIME, SLOW_FROM, SLOWDOWN = 1, 300, 6
"""Index of the runtime that becomes slow, the report from which it is slow, and its factor."""


class _SlowRuntime:
    """Let the executions of one runtime take longer from a report on."""

    def __init__(self) -> None:
        self._reports = 0

    def __call__(self, report: dict[str, Any]) -> None:
        self._reports += 1
        if self._reports < SLOW_FROM:
            return
        stats = [*_runtimes(report)][SLOW_RUNTIME]["report"]["execution_stats"]
        summary = stats["execution_summary"]
        summary.update({status: count // SLOWDOWN for status, count in summary.items()})
        for percentiles in stats["latency_stats"].values():
            percentiles.update(
                {name: value * SLOWDOWN for name, value in percentiles.items() if value is not None}
            )


_CHANGES: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "single-cores": _single_cores,
    "malicious-tags": _malicious_tags,
    "no-groups": _no_groups,
    "only-corrected-ecc": _only_corrected_ecc,
    "only-uncorrected-ecc": _only_uncorrected_ecc,
    "slow-runtime": _SlowRuntime(),
}


def main(change: str, flags: list[str]) -> None:
    """Run the simulator until it ends."""
    command = [sys.executable, "-m", "neuron_exporter.simulator", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as simulator:
        assert simulator.stdout is not None
        for line in simulator.stdout:
            report = json.loads(line)
            _CHANGES[change](report)
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
