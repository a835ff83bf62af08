"""Alerts on cores and those who hold them."""

from __future__ import annotations

from grafana.rules_src.alerts.fragments import MACHINE_NAME
from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import IDLE_UTILIZATION, MACHINE, OWNER, TARGET, WINDOW

_ALLOCATED = f"last_over_time(neuroncore_allocated[{WINDOW}])"
_RUNTIMES = f"last_over_time(neuroncore_runtime_info[{WINDOW}])"
_CORE = f"{TARGET}, neuroncore"

ALERTS = (
    Alert(
        name="NeuronAllocatedIdle",
        expr=f"holder:neuroncores_allocated_idle:count{WINDOW} > 0",
        for_="30m",
        severity="info",
        summary="{{ $labels.namespace }}/{{ $labels.pod }} has {{ $value }} idle NeuronCores on "
        f"{MACHINE_NAME}.",
        description=f"{{{{ $value }}}} NeuronCores of {MACHINE_NAME} are allocated to pod "
        "{{ $labels.pod }} ({{ $labels.namespace }}) and have been less than "
        f"{IDLE_UTILIZATION * 100:.0f} % busy for 30 minutes.",
        rationale="neuroncore_allocated is absent where the exporter does not know allocations.",
    ),
    Alert(
        name="NeuronCoreHeld",
        expr=(
            f"count by ({MACHINE}, {OWNER}, runtime_tag, pid) (\n"
            f"  {_RUNTIMES} and on ({_CORE}) max by ({_CORE}) ({_ALLOCATED}) == 0\n"
            f'  or last_over_time(neuroncore_runtime_info{{pod!=""}}[{WINDOW}])\n'
            f"    and on ({_CORE}) {_ALLOCATED} == 1\n"
            f"    unless on ({_CORE}, namespace, pod) {_ALLOCATED} == 1\n"
            ")"
        ),
        for_="10m",
        severity="warning",
        summary="Process {{ $labels.pid }} holds {{ $value }} NeuronCores on "
        f"{MACHINE_NAME} without a pod that may use them.",
        description="Process {{ $labels.pid }} ({{ $labels.runtime_tag }}) uses {{ $value }} "
        f"NeuronCores of {MACHINE_NAME} that are allocated to another pod or to none. A pod "
        "that is scheduled there cannot allocate them.",
        rationale="The kubelet lists living pods only. A pod that ends needs a moment to release "
        "its cores.",
    ),
    Alert(
        name="NeuronAllocatedWithoutRuntime",
        expr=(
            f"count by ({MACHINE}, {OWNER}) (\n"
            f"  min_over_time(neuroncore_allocated[{WINDOW}]) == 1\n"
            f"  unless on ({_CORE}) {_RUNTIMES}\n"
            f"  and on ({_CORE}) last_over_time(neuroncore_utilization_ratio[{WINDOW}])\n"
            ")"
        ),
        for_="15m",
        severity="info",
        summary="{{ $labels.namespace }}/{{ $labels.pod }} has {{ $value }} NeuronCores on "
        f"{MACHINE_NAME} and no runtime.",
        description=f"{{{{ $value }}}} NeuronCores of {MACHINE_NAME} have been allocated to pod "
        "{{ $labels.pod }} ({{ $labels.namespace }}) for 15 minutes, but no process uses them. The "
        "pod may have failed to allocate them.",
        rationale="A pod that compiles has no runtime either, so this is for information. Cores "
        "that no report lists are not judged.",
    ),
    Alert(
        name="NeuronOwnersUnknown",
        expr=(
            f"last_over_time(instance:neuroncore_allocated:count[1d])\n"
            f"unless on ({TARGET}) last_over_time(instance:neuroncore_allocated:count[{WINDOW}])\n"
            f"and on ({TARGET}) min_over_time(neuron_exporter_up[{WINDOW}]) == 1"
        ),
        for_="15m",
        severity="warning",
        summary=f"The exporter on {MACHINE_NAME} no longer knows which cores are allocated.",
        description=f"The exporter on {MACHINE_NAME} knew within the last day which NeuronCores "
        "are allocated to pods, and no longer does. NeuronAllocatedIdle, NeuronCoreHeld and "
        "NeuronAllocatedWithoutRuntime cannot fire.",
        rationale="Most machines outside of Kubernetes never know it. A recorded number per "
        "machine is remembered rather than every core of a fleet.",
    ),
)
