"""Files of the Neuron driver below /sys: their paths, names and forms.

The layout of drivers up to 2.30 is that of the driver's source (aws-neuron/aws-neuron-driver
6bbfbe2 and 9cc489e, neuron_sysfs_metrics.c) and of AWS's guide. Driver 2.31 has moved files to
paths that are not published, so moved files are recognized by their names.
https://awsdocs-neuron.readthedocs-hosted.com/en/latest/tools/neuron-sys-tools/neuron-sysfs-user-guide.html
"""

from __future__ import annotations

import re

from neuron_exporter.facts.report_names import ECC_EVENTS

ROOT = "/sys/devices/virtual/neuron_device"
"""Folder with a folder `neuron<N>` for each device. Containers see those of all devices."""

DEVICE = re.compile(r"neuron(\d{1,3})")
"""Name of a device's folder."""

CORE = re.compile(r"neuron_core(\d{1,3})")
"""Name of a core's folder, which may be a physical core."""

FILE_TIMEOUT = 5.0
"""Seconds that a file may take."""

REPAIRABLE = "mem_ecc_repairable_uncorrected"
"""File of the uncorrected errors of the device's memory while a repair is pending. Otherwise the
driver has the same total in `mem_ecc_uncorrected` (v3/neuron_dhal_v3.c)."""

SERIAL_NUMBER, POWER, UNHEALTHY = "serial_number", "utilization", "unhealthy_components"
RESETS, FAILED_RESETS = "reset_req_count", "reset_fail_count"
"""Counters of resets. Each core has both: the reset of a device is counted at all of its cores,
that of single cores at these, and a failure at all (neuron_reset.c)."""

HARDWARE_ERRORS = (
    "hw_error",
    "hw_collectives_error",
    "hw_hbm_ue_error",
    "hw_nc_ue_error",
    "hw_dma_abort_error",
    "hw_repairable_hbm_ue_error",
)
"""Statuses of a core that are faults of the hardware."""

COMPONENTS = (
    "hbm",
    "sram",
    "firmware_service_api",
    "firmware_service_processor",
    "link_intraserver",
    "link_host",
    "link_efa",
    "link_interserver",
    "link_switch",
    "axi_fabric",
)
"""Parts of a device that `unhealthy_components` may name, joined by commas; it is empty if none
fails (driver 2.30)."""

UNREACHABLE = "device_unreachable"
"""Content of `unhealthy_components` if the driver cannot read the device's registers."""

POWER_FORM = re.compile(
    r"POWER_STATUS_(VALID|NO_DATA|INVALID),[0-9]+"
    r",([0-9]+(?:\.[0-9]+)?),([0-9]+(?:\.[0-9]+)?),([0-9]+(?:\.[0-9]+)?)"
)
"""Status, Unix time, and the lowest, highest and average percentage of the maximum power in the
last minute (neuron_power.c)."""

TOTAL_FORM = re.compile(r"[0-9]{1,20}")

STATUSES = (
    *("success", "failure", "timeout", "exec_bad_input", "generic_error", "resource_error"),
    *("invalid_error", "resource_nc_error", "unsupported_neff_version", "oob_error"),
    *("execute_completed_with_error", "execute_completed_with_num_error"),
    *("execute_failed_to_queue", "execute_sw_nq_overflow", "execute_sw_semaphore_error"),
    *("execute_sw_event_error", "execute_sw_psum_collision", "execute_sw_sequencer_fatal"),
    *HARDWARE_ERRORS,
)
"""Statuses of executions on a core. AWS's guide calls those of `execute_` by `infer_`."""

OTHER_COUNTERS = (
    *("model_load_count", "reset_req_count", "reset_fail_count", "inference_count", "flop_count"),
    "nc_time_in_use",
)
DEVICE_MEMORY = (
    *("model_code", "tensors", "constants", "model_shared_scratchpad", "runtime_memory"),
    *("driver_memory", "collectives", "nonshared_scratchpad", "notifications", "dma_rings"),
    "uncategorized",
)
HOST_MEMORY = (
    *("dma_buffers", "tensors", "constants", "application_memory", "driver_memory"),
    *("notifications", "dma_rings", "uncategorized"),
)
ECC_KINDS = (*ECC_EVENTS, REPAIRABLE)
"""Other counters of a core, categories of memory, and kinds of memory errors of a device."""


def _any_of(names: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(names)})"


_STATUS = _any_of((*STATUSES, *(each.replace("execute_", "infer_", 1) for each in STATUSES)))
_OTHER, _ECC = _any_of(OTHER_COUNTERS), _any_of(ECC_KINDS)
_COUNTER, _LEVEL = "(?:total|present)", "(?:total|present|peak)"

KNOWN_PATHS = re.compile(
    "|".join(
        (
            "core_count|connected_devices|reset",
            "info/(?:serial_number|notify_delay)",
            "info/architecture/(?:arch_type|device_name|instance_type)",
            rf"stats/hardware/(?:{_ECC}|unhealthy_components|healthcheck_heartbeat)",
            r"stats/hardware/health_status/\w+",
            rf"stats/memory_usage/host_mem/(?:{_any_of(HOST_MEMORY)}/)?{_LEVEL}",
            "stats/power/(?:utilization|utilization_raw)",
            r"neuron_core\*/info/architecture/arch_type",
            rf"neuron_core\*/stats/status/{_STATUS}/{_COUNTER}",
            rf"neuron_core\*/stats/memory_usage/device_mem/(?:{_any_of(DEVICE_MEMORY)}/)?{_LEVEL}",
            rf"neuron_core\*/stats/memory_usage/host_mem/{_LEVEL}",
            rf"neuron_core\*/stats/other_info/{_OTHER}/{_COUNTER}",
            r"neuron_core\*/stats/tensor_engine/pe_cntrs",
        )
    )
)
"""Paths below a device up to driver 2.30, with `neuron_core*` for each core."""

KERNEL_PATHS = re.compile(r"uevent|dev|power/[a-z_]+")
"""Files that Linux adds to every device."""

KNOWN_NAMES = re.compile(
    rf"core_count|connected_devices|serial_number|arch_type|device_name|{_ECC}"
    rf"|utilization|utilization_raw|pe_cntrs|{_STATUS}|{_OTHER}"
    r"|unhealthy_components|healthcheck_heartbeat|hw_error_event"
)
"""Names of counters and values that are recognized at any path. A counter's files are named after
it or are in a folder with its name."""

COUNTS = re.compile(_LEVEL)
"""Names of the files in the folder of a counter."""

DEVICE_FILES = {
    SERIAL_NUMBER: "info/serial_number",
    POWER: "stats/power/utilization",
    REPAIRABLE: f"stats/hardware/{REPAIRABLE}",
    UNHEALTHY: f"stats/hardware/health_status/{UNHEALTHY}",
}
"""Files of a device that the exporter reads, by name, at their paths up to driver 2.30."""

CORE_FILES = {
    **{name: f"stats/other_info/{name}/total" for name in (RESETS, FAILED_RESETS)},
    **{name: f"stats/status/{name}/total" for name in HARDWARE_ERRORS},
}
"""The same for the files of a core, below its folder."""
