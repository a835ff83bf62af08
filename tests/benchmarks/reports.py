"""Reports in which everything moves that moves in life."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.system_section import hardware_counters

_PERCENTILES = {"p0": 0.8, "p1": 0.82, "p25": 0.9, "p50": 1, "p75": 1.1, "p99": 1.6, "p100": 2}
_PERIOD = 5.0


def moving(line: bytes) -> Iterator[bytes]:
    """Yield a recorded report of runtimes at work repeatedly, with other values each time:
    utilization, memory of the host and of devices, counts, latencies and context switches."""
    rng = random.Random(1)
    document = json.loads(line)
    while True:
        for runtime in document["neuron_runtime_data"]:
            _move_runtime(runtime["report"], rng)
        _move_host(document["system_data"], rng)
        yield _encode(document)


def _move_runtime(report: dict[str, Any], rng: random.Random) -> None:
    for group in report.values():  # the recording is a start-up report of runtimes that had ended
        group.update(period=_PERIOD, error="")
    used = report["memory_used"]["neuron_runtime_used_bytes"]
    cores = used["usage_breakdown"]["neuroncore_memory_usage"]
    own = [name for name, memory in cores.items() if memory["tensors"]]
    for name in own:
        cores[name]["tensors"] += rng.randrange(-4096, 4096)
        core = report["neuroncore_counters"]["neuroncores_in_use"][name]
        core["neuroncore_utilization"] = 100 * rng.random()
        core["flops"] = core["effective_flops"] = rng.randrange(10**13)
    used["neuron_device"] = sum(sum(memory.values()) for memory in cores.values())
    host = used["usage_breakdown"]["host"]
    host["application_memory"] += rng.randrange(4096)
    used["host"] = sum(host.values())
    share = rng.random()
    report["neuron_runtime_vcpu_usage"]["vcpu_usage"] = {"user": share, "system": share / 9}
    executions = report["execution_stats"]
    executions["execution_summary"]["completed"] = rng.randrange(1, 1000)
    executions["latency_stats"] = {
        kind: {name: factor * median for name, factor in _PERCENTILES.items()}
        for kind in ("total_latency", "device_latency")
        for median in [rng.uniform(0.005, 0.02)]
    }


def _move_host(data: dict[str, Any], rng: random.Random) -> None:
    for group in data.values():  # a stream with several periods repeats readings
        group.update(period=_PERIOD)
    vcpu, memory = data["vcpu_usage"], data["memory_info"]
    for shares in (vcpu["average_usage"], *vcpu["usage_data"].values()):
        shares["user"] = rng.randrange(9000) / 100
        shares["system"] = rng.randrange(500) / 100
        shares["idle"] = 100 - shares["user"] - shares["system"]
    vcpu["context_switch_count"] = rng.randrange(10**6)
    memory["memory_used_bytes"] = rng.randrange(memory["memory_total_bytes"])


def simulated(runtimes: int, instance_type: str = "trn1.32xlarge") -> Iterator[bytes]:
    """Yield reports of a simulated machine under load, in which the same moves."""
    options = parse(
        ["--instance-type", instance_type, "--runtimes", str(runtimes), "--scenario", "inference"]
    )
    machine = Machine(options)
    machine.report(0)
    number = 1
    while True:
        report = machine.report(number)
        # The simulator's default configuration has no hardware counters.
        report["system_data"].setdefault(
            "neuron_hw_counters",
            {"period": _PERIOD, **hardware_counters(options.hardware), "error": ""},
        )
        yield _encode(report)
        number += 1


def _encode(report: dict[str, Any]) -> bytes:
    return json.dumps(report, separators=(",", ":")).encode() + b"\n"
