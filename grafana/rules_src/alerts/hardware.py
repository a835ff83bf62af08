"""Alerts on Neuron devices."""

from __future__ import annotations

from grafana.rules_src.alerts.fragments import COUNT, DEVICE_NAME, MACHINE_NAME, PERCENT
from grafana.rules_src.devices import BAD_DEVICES, FAULTS, MINOR, SEVERE
from grafana.rules_src.expressions import device_missing, device_unhealthy
from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import MACHINE, WINDOW
from neuron_exporter.facts.problems import CORRECTED_ECC_PER_HOUR, DEVICE_MEMORY_RATIO

_FAULT = "{{ $labels.error_type }} on core {{ $labels.neuroncore }} of " + MACHINE_NAME

ALERTS = (
    Alert(
        name="NeuronDeviceMissing",
        expr=device_missing(WINDOW),
        for_="1m",
        severity="critical",
        summary=f"{MACHINE_NAME} has only {{{{ $value }}}} Neuron devices.",
        description=f"neuron-monitor on {MACHINE_NAME} reports {{{{ $value }}}} Neuron devices, "
        "fewer than it should have. Workloads on the missing devices have failed. "
        "First read `dmesg | grep -i neuron` on the machine, then drain it.",
        rationale="A device that is gone has no series of its own, so nothing else alerts on it. "
        "An exporter in an ECS task sees the devices of its task only. The number is unknown, "
        "rather than 0, until the driver has answered once: NeuronSourceDown covers that.",
    ),
    Alert(
        name="NeuronUncorrectedEcc",
        expr=(
            f"sum by ({MACHINE}, neuron_device_index) "
            '(increase(hardware_ecc_events_total{event_type=~".*_uncorrected"}[1h])) > 0'
        ),
        for_="1m",
        severity="critical",
        summary=f"Uncorrected memory errors on {DEVICE_NAME}.",
        description=f"In the last hour, memory or SRAM of Neuron {DEVICE_NAME} had errors that "
        "could not be corrected. Results may be wrong. First move the workload to another machine, "
        "from a checkpoint before the error.",
        rationale="A window of an hour keeps the error visible. The first reading is the counter's "
        "baseline, so earlier errors of the device do not count.",
    ),
    Alert(
        name="NeuronDeviceSuspect",
        expr=f"group by ({MACHINE}, neuron_device_index) ({BAD_DEVICES})",
        for_="1m",
        severity="warning",
        summary=f"Neuron {DEVICE_NAME} had uncorrected memory errors.",
        description=f"Neuron {DEVICE_NAME} has had uncorrected memory errors since the machine "
        "booted. They may return at any time.",
        rationale="NeuronUncorrectedEcc ends an hour after the last error, but the device is as "
        "bad as before until the machine reboots or is replaced.",
    ),
    Alert(
        name="NeuronCorrectedEccRising",
        expr=(
            f"sum by ({MACHINE}, neuron_device_index) "
            '(increase(hardware_ecc_events_total{event_type=~".*_corrected"}[1h])) '
            f"> {CORRECTED_ECC_PER_HOUR}"
        ),
        for_="15m",
        severity="warning",
        summary=f"Many corrected memory errors on {DEVICE_NAME}.",
        description=f"Neuron {DEVICE_NAME} had {COUNT} corrected errors of memory and SRAM in the "
        "last hour.",
        rationale="Corrected errors are harmless, but many of them often precede uncorrected ones.",
    ),
    Alert(
        name="NeuronHardwareFaults",
        expr=f"{FAULTS}{{{SEVERE}}} > 0",
        for_="1m",
        severity="critical",
        summary=f"Hardware fault {_FAULT}.",
        description=f"In the last hour, the driver counted {COUNT} errors {_FAULT}. Executions "
        "there have failed. First move the workload to another machine.",
        rationale="A window of an hour keeps the error visible. Only the driver's names for errors "
        "of the hardware count. The first reading is the counter's baseline.",
    ),
    Alert(
        name="NeuronMinorHardwareFaults",
        expr=f"{FAULTS}{{{MINOR}}} > 0",
        for_="1m",
        severity="warning",
        summary=f"Hardware fault {_FAULT}.",
        description=f"In the last hour, the driver counted {COUNT} errors {_FAULT}. Executions "
        "there have failed, but the device need not be broken.",
        rationale="The end of another machine breaks collective operations, and the driver repairs "
        "memory when the device is reset.",
    ),
    Alert(
        name="NeuronDeviceUnhealthy",
        expr=device_unhealthy(WINDOW),
        for_="1m",
        severity="critical",
        summary=f"The driver reports {{{{ $labels.component }}}} of {DEVICE_NAME} as unhealthy.",
        description=f"For at least five minutes, the driver has reported {{{{ $labels.component "
        f"}}}} of Neuron {DEVICE_NAME} as unhealthy. First drain the machine.",
        rationale="Drivers without files on health have no such metric, and never raise the alert.",
    ),
    Alert(
        name="NeuronResetFailing",
        expr=(
            f"sum by ({MACHINE}, neuron_device_index) "
            '(increase(neurondevice_resets_total{result="failed"}[1h])) > 0'
        ),
        for_="1m",
        severity="warning",
        summary=f"Resets of {DEVICE_NAME} fail.",
        description=f"In the last hour, {COUNT} resets of Neuron {DEVICE_NAME} have failed. "
        "Processes that need the device cannot start.",
        rationale="The runtime resets a device before it uses it. A process that tries again "
        "shows no other error.",
    ),
    Alert(
        name="NeuronDeviceMemoryFull",
        expr=(
            f"avg_over_time(neurondevice_memory_utilization_ratio[{WINDOW}]) "
            f"> {DEVICE_MEMORY_RATIO}"
        ),
        for_="5m",
        severity="warning",
        summary=f"The memory of {DEVICE_NAME} is nearly full.",
        description=f"{PERCENT} of the memory of Neuron {DEVICE_NAME} is in use. Another model, "
        "or a larger batch, will not fit.",
        rationale="The average ignores short peaks while a model is loaded.",
    ),
)
