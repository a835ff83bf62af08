"""Reports of a stream in which each group has a period of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.reports import cores, ecc, executions, group, memory, report, runtime

CPU = {"user": 10, "nice": 0, "system": 5, "io_wait": 0, "irq": 0, "soft_irq": 0}
INTERVALS = {"neuron_hw_counters": 2, "memory_info": 3, "neuron_runtime_data": 5}
"""Groups that are not due in every report, and every how many reports they are."""

Omission = Callable[[dict[str, Any], dict[str, Any], str], None]


def leave_out(target: dict[str, Any], last: dict[str, Any], name: str) -> None:
    """Leave the key out."""


def set_null(target: dict[str, Any], last: dict[str, Any], name: str) -> None:
    """Set the key to null."""
    target[name] = None


def repeat(target: dict[str, Any], last: dict[str, Any], name: str) -> None:
    """Repeat the last reading."""
    if name in last:
        target[name] = last[name]


OMISSIONS = (leave_out, set_null, repeat)
"""What neuron-monitor does with a group that is not due."""


class MixedReports:
    """Reports in an interval of `seconds`. `runtimes` replace the one that they have otherwise."""

    def __init__(self, omit: Omission, seconds: float = 1) -> None:
        self.count = 0
        self._seconds = seconds
        self.runtimes: list[dict[str, Any]] | None = None
        self._omit = omit
        self._last: dict[str, Any] = {}

    def next(self) -> dict[str, Any]:
        """Return the next report. As in real streams, no two readings have the same period."""
        jitter = self.count / 1e6
        periods = {name: every * self._seconds + jitter for name, every in INTERVALS.items()}
        counters = ecc({"mem_ecc_corrected": 1}, {})
        due = {
            "neuron_hw_counters": {**counters, "period": periods["neuron_hw_counters"]},
            "memory_info": group(period=periods["memory_info"], memory_used_bytes=7),
            "neuron_runtime_data": self._runtimes(periods["neuron_runtime_data"]),
        }
        fields: dict[str, Any] = {}
        for name, every in INTERVALS.items():
            if self.count % every == 0:
                fields[name] = self._last[name] = due[name]
            else:
                self._omit(fields, self._last, name)
        system = {
            "vcpu_usage": group(
                period=self._seconds - jitter, average_usage=CPU, context_switch_count=10
            ),
            **{name: each for name, each in fields.items() if name != "neuron_runtime_data"},
        }
        document = report(system_data=system)
        del document["neuron_runtime_data"]
        if "neuron_runtime_data" in fields:
            document["neuron_runtime_data"] = fields["neuron_runtime_data"]
        self.count += 1
        return document

    def _runtimes(self, period: float) -> list[dict[str, Any]]:
        if self.runtimes is not None:
            return self.runtimes
        groups = {
            "neuroncore_counters": cores(_0=50, _1=0, _2=0, _3=0),
            "memory_used": memory({"0": {"tensors": 5}}),
            "execution_stats": executions(4, {"p50": 0.1}),
        }
        timed = {name: {**each, "period": period} for name, each in groups.items()}
        return [runtime(1, "app", "", **timed)]
