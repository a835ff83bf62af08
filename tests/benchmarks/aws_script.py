"""AWS's Prometheus script rebuilt for comparison: json.loads per line, one client child per series.

Series and labels are those of AWS's script, one series per runtime and core; a group with an error
is reported on stderr and left out. As a program it reads reports from stdin and serves them on a
free port, which it prints. The exporter's own server serves them, so that expositions are compared
and not HTTP servers.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, generate_latest

from neuron_exporter.web import Response, Server

MACHINE = {
    "instance_name": "instance_name",
    "instance_id": "instance_id",
    "instance_type": "instance_type",
    "availability_zone": "instance_availability_zone",
    "region": "instance_region",
    "subnet_id": "subnet_id",
    "ultraserver_id": "ultraserver_id",
}
"""Labels of every series, and their keys in `instance_info`; the last is not always there."""

HARDWARE = (
    "neuron_device_count",
    "neuroncore_per_device_count",
    "neuron_device_memory_size",  # since 2.19
)

CATEGORIES = ("constants", "model_code", "model_shared_scratchpad", "runtime_memory", "tensors")

Labels = dict[str, str]


class AwsScript:
    """The script's instruments, created on first use."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._instruments: dict[str, Any] = {}

    def put(self, line: str) -> None:
        """Update the instruments from one report."""
        report = json.loads(line)
        info = report["instance_info"]
        common = {label: info[key] for label, key in MACHINE.items() if key in info}
        handlers: dict[str, Callable[[Any, Labels], None]] = {
            "neuroncore_counters": self._cores,
            "memory_used": self._memory,
            "neuron_runtime_vcpu_usage": self._runtime_vcpu,
            "execution_stats": self._executions,
            "neuron_hw_counters": self._ecc,
            "vcpu_usage": self._host_vcpu,
            "memory_info": self._host_memory,
        }
        for runtime in report["neuron_runtime_data"]:
            tagged = {**common, "runtime_tag": runtime["neuron_runtime_tag"]}
            self._groups(runtime["report"], handlers, tagged)
        self._groups(report["system_data"], handlers, common)
        self._info("instance", common)
        hardware = report["neuron_hardware_info"]
        labels = {name: str(hardware[name]) for name in HARDWARE if name in hardware}
        self._info("neuron_hardware", {**common, **labels})

    def _groups(
        self,
        groups: dict[str, Any],
        handlers: dict[str, Callable[[Any, Labels], None]],
        labels: Labels,
    ) -> None:
        for name, group in groups.items():
            if group["error"]:
                print(f"{name} of {labels.get('runtime_tag')}: {group['error']}", file=sys.stderr)
            else:
                handlers[name](group, labels)

    def _child(self, kind: type[Gauge] | type[Counter], name: str, labels: Labels) -> Any:
        instrument = self._instruments.get(name)
        if instrument is None:
            instrument = kind(name, name, labels.keys(), registry=self.registry)
            self._instruments[name] = instrument
        return instrument.labels(**labels)

    def _set(self, name: str, value: float, labels: Labels) -> None:
        self._child(Gauge, name, labels).set(value)

    def _inc(self, name: str, value: float, labels: Labels) -> None:
        self._child(Counter, name, labels).inc(value)

    def _info(self, name: str, labels: Labels) -> None:
        if name not in self._instruments:
            self._instruments[name] = Info(name, name, registry=self.registry)
            self._instruments[name].info(labels)

    def _cores(self, group: Any, labels: Labels) -> None:
        for core, used in group["neuroncores_in_use"].items():
            share = used["neuroncore_utilization"] / 100
            self._set("neuroncore_utilization_ratio", share, {**labels, "neuroncore": core})

    def _memory(self, group: Any, labels: Labels) -> None:
        used = group["neuron_runtime_used_bytes"]
        for location in ("host", "neuron_device"):
            own = {**labels, "memory_location": location}
            self._set("neuron_runtime_memory_used_bytes", used[location], own)
        for core, parts in used["usage_breakdown"]["neuroncore_memory_usage"].items():
            own = {**labels, "memory_location": "None", "neuroncore": core}
            for category in CATEGORIES:
                self._set(f"neuroncore_memory_usage_{category}", parts[category], own)

    def _runtime_vcpu(self, group: Any, labels: Labels) -> None:
        for kind, share in group["vcpu_usage"].items():
            own = {**labels, "usage_type": kind}
            self._set("neuron_runtime_vcpu_usage_ratio", share / 100, own)

    def _executions(self, group: Any, labels: Labels) -> None:
        for kind, count in group["error_summary"].items():
            self._inc("execution_errors_total", count, {**labels, "error_type": kind})
        for kind, count in group["execution_summary"].items():
            self._inc("execution_status_total", count, {**labels, "status_type": kind})
        for percentile, seconds in (group["latency_stats"]["total_latency"] or {}).items():
            self._set("execution_latency_seconds", seconds, {**labels, "percentile": percentile})

    def _ecc(self, group: Any, labels: Labels) -> None:
        for device in group["neuron_devices"]:
            index = str(device["neuron_device_index"])
            for kind, count in device.items():
                if kind != "neuron_device_index":
                    own = {**labels, "event_type": kind, "neuron_device_index": index}
                    self._inc("hardware_ecc_events_total", count, own)

    def _host_vcpu(self, group: Any, labels: Labels) -> None:
        self._set("system_vcpu_count", len(group["usage_data"]), labels)
        average = group["average_usage"]
        for kind, parts in (
            ("user", ("user", "nice")),
            ("system", ("system", "io_wait", "irq", "soft_irq")),
        ):
            share = min(100.0, sum(average[part] for part in parts)) / 100
            self._set("system_vcpu_usage_ratio", share, {**labels, "usage_type": kind})

    def _host_memory(self, group: Any, labels: Labels) -> None:
        for name in (
            "memory_total_bytes",
            "memory_used_bytes",
            "swap_total_bytes",
            "swap_used_bytes",
        ):
            self._set(f"system_{name}", group[name], labels)


def main() -> None:
    """Serve the reports on stdin until its end."""
    script = AwsScript()
    server = Server(
        "127.0.0.1:0",
        {"/metrics": lambda _: Response(generate_latest(script.registry))},
        lambda: None,
    )
    server.start()
    print(server.port, flush=True)
    for line in sys.stdin:
        script.put(line)
    threading.Event().wait(0.1)
    server.close()


if __name__ == "__main__":
    main()
