"""Recorded faults: those of cores in the last hour, and memory errors of devices since the boot."""

from __future__ import annotations

from grafana.rules_src.model import Recording
from grafana.rules_src.parameters import MACHINE, TARGET, WINDOW
from neuron_exporter.facts.problems import HARDWARE_FAULTS, MINOR_FAULTS

FAULTS = "core:neuroncore_hardware_errors:increase1h"
UNHEALTHY = "device:neurondevice_health:unhealthy"
HEALTH = "instance:neurondevice_health:min"
BAD_DEVICES = "device:uncorrected_ecc:boot_time"

_DEVICE = f"{MACHINE}, neuron_device_index"
_SAME_DEVICE = "cluster, instance_id, neuron_device_index"
"""Labels of a device that an exporter at another address keeps, such as the next pod."""

_KNOWN_ID = 'instance_id!=""'
_BOOT_TIME = (
    f"max by ({TARGET}) (last_over_time(neuron_exporter_host_boot_timestamp_seconds[{WINDOW}]))"
)
_UNCORRECTED = 'hardware_ecc_events_total{event_type=~".*_uncorrected"}'
_KNOWN = f"last_over_time({BAD_DEVICES}[1d])"
_NOW = (
    f"0 * group by ({_DEVICE}) ({_UNCORRECTED[:-1]}, {_KNOWN_ID}}})"
    f" + on ({TARGET}) group_left () {_BOOT_TIME}"
)

MINOR = f'error_type=~"{"|".join(MINOR_FAULTS)}"'
SEVERE = f'error_type!~"{"|".join(MINOR_FAULTS)}"'
"""Matchers of the recorded faults."""

RULES = (
    Recording(
        record=FAULTS,
        expr=(
            f"sum by ({MACHINE}, neuroncore, error_type)\n"
            "  (increase(neuroncore_hardware_errors_total"
            f'{{error_type=~"{HARDWARE_FAULTS}.+"}}[1h])) > 0'
        ),
        rationale="An hour of every core's counters is read once; only cores with faults have it. "
        "They keep it when their owner changes.",
    ),
    Recording(
        record=UNHEALTHY,
        expr=(f"max by ({MACHINE}, neuron_device_index, component) (neurondevice_health == 0)"),
        rationale="A fleet's table reads unhealthy components only. The value is 0.",
    ),
    Recording(
        record=HEALTH,
        expr=f"min by ({MACHINE}) (neurondevice_health)",
        rationale="Tells a healthy machine from one whose driver has no files on health.",
    ),
    Recording(
        record=BAD_DEVICES,
        expr=(
            f"0 * (sum by ({_DEVICE}) (increase({_UNCORRECTED}[10m])) > 0)\n"
            f"  + on ({TARGET}) group_left () ({_BOOT_TIME} < time() - 600)\n"
            f"or {_KNOWN}\n"
            f"  and on ({_DEVICE}) last_over_time({_UNCORRECTED}[1h])\n"
            f"  unless on ({_DEVICE})\n"
            f"    abs({_KNOWN} - on ({TARGET}) group_left () {_BOOT_TIME}) > 60\n"
            f"or {_NOW}\n"
            f"  and on ({_DEVICE}) abs({_NOW} - on ({_SAME_DEVICE}) group_left ()\n"
            f"    max by ({_SAME_DEVICE}) (last_over_time({BAD_DEVICES}{{{_KNOWN_ID}}}[1d]))) <= 60"
        ),
        rationale="The value is the time at which the machine booted, so that another boot ends "
        "it. The increase never reaches back to the time before the boot. On Kubernetes, an update "
        "of the exporter changes its address, but not the device.",
    ),
)
