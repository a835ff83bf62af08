"""The table of assumptions that the exporter makes about Neuron and that no document settles.

`docs/verification.md` has the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import Judgement, not_seen
from neuron_exporter.doctor.acceptance.judges import (
    driver_files,
    ecc,
    numbering,
    stream,
    workload,
)


class Assumption(NamedTuple):
    """An assumption.

    `used_by` is the module below `neuron_exporter` whose results would be wrong without it; empty
    if no code uses it yet.
    """

    name: str
    sentence: str
    used_by: str
    judge: Callable[[Evidence], Judgement]


ASSUMPTIONS = (
    Assumption(
        "lines",
        "neuron-monitor keeps running, and each line that it prints is a report",
        "source/neuron_monitor.py",
        stream.judge_lines,
    ),
    Assumption(
        "line-length",
        "A report is at most half as long as source.max_line allows",
        "source/stream.py",
        stream.judge_max_line,
    ),
    Assumption(
        "first-report",
        "The first report covers less than 0.5 s, and no later one does",
        "source/watchdog.py",
        stream.judge_first_report,
    ),
    Assumption(
        "period",
        "Reports and their groups have the configured period",
        "metrics/report_period.py",
        stream.judge_period,
    ),
    Assumption(
        "groups",
        "With one period for all groups, each report has every requested group",
        "metrics/last_readings.py",
        stream.judge_groups,
    ),
    Assumption(
        "fields",
        "Reports have no field that the exporter does not know",
        "report/schema.py",
        stream.judge_fields,
    ),
    Assumption(
        "values",
        "Each value has the expected type, and no number is negative",
        "report/schema.py",
        stream.judge_values,
    ),
    Assumption(
        "names",
        "Statuses, error types and percentiles have the documented names",
        "facts/report_names.py",
        stream.judge_names,
    ),
    Assumption(
        "group-errors",
        "No group has an error, except neuron_runtime_vcpu_usage in a container",
        "metrics/group_status.py",
        stream.judge_errors,
    ),
    Assumption(
        "ecc-level",
        "ECC readings are totals (levels), not counts of the period (tallies)",
        "metrics/ecc_counters.py",
        ecc.judge_ecc,
    ),
    Assumption(
        "device-list",
        "neuron_hw_counters lists every device, and the list does not change",
        "metrics/inventory.py",
        numbering.judge_device_list,
    ),
    Assumption(
        "device-files",
        "Reports list the devices that /dev has, or all of the machine's",
        "metrics/task_scope.py",
        numbering.judge_device_files,
    ),
    Assumption(
        "container-numbers",
        "In a container with some of the devices, reports number them as the host does",
        "metrics/task_scope.py",
        numbering.judge_container,
    ),
    Assumption(
        "neuron-ls-devices",
        "Reports list the devices that neuron-ls lists",
        "metrics/inventory.py",
        numbering.judge_devices_by_neuron_ls,
    ),
    Assumption(
        "neuron-ls-cores",
        "A core has the number device * cores per device + its position, as in neuron-ls",
        "metrics/inventory.py",
        numbering.judge_cores_by_neuron_ls,
    ),
    Assumption(
        "neuron-ls-lnc",
        "Reports and neuron-ls agree on LNC and on the number of logical cores",
        "metrics/inventory.py",
        numbering.judge_logical_cores,
    ),
    Assumption(
        "neuron-ls-memory",
        "Reports and neuron-ls agree on the memory of a device",
        "metrics/aggregate.py",
        numbering.judge_memory_size,
    ),
    Assumption(
        "instance-type",
        "The table of instance types has the right figures",
        "facts/instance_types.py",
        numbering.judge_instance_type,
    ),
    Assumption(
        "listed-cores",
        "Each runtime lists every core of the machine",
        "metrics/inventory.py",
        workload.judge_listed_cores,
    ),
    Assumption(
        "core-utilization",
        "A core is busy for at most 100 %, by one runtime and by all",
        "metrics/aggregate.py",
        workload.judge_utilization,
    ),
    Assumption(
        "physical-cores",
        "Names of physical cores end with their numbers in the machine; each core has LNC of them",
        "metrics/runtimes.py",
        workload.judge_physical_cores,
    ),
    Assumption(
        "memory-sums",
        "The memory of a runtime is the sum of its categories, on the devices and on the host",
        "metrics/runtimes.py",
        workload.judge_memory_sums,
    ),
    Assumption(
        "memory-fits",
        "The memory in use on a device's cores fits into the device",
        "metrics/aggregate.py",
        workload.judge_memory_fits,
    ),
    Assumption(
        "execution-tallies",
        "Executions are counts of the period (tallies), not totals",
        "metrics/counters.py",
        workload.judge_tallies,
    ),
    Assumption(
        "latency",
        "Latency percentiles rise, and are absent where no execution ended",
        "metrics/latency.py",
        workload.judge_latency,
    ),
    Assumption(
        "cpu-shares",
        "CPU use, also of runtimes, is in percent of all CPUs of the machine",
        "metrics/aggregate.py",
        workload.judge_cpu,
    ),
    Assumption(
        "runtime-pids",
        "Process ids of runtimes are those of the host",
        "identity/owners/cgroup.py",
        workload.judge_pids,
    ),
    Assumption(
        "sysfs-layout",
        "Drivers up to 2.30 have the published sysfs layout, and later ones another",
        "",
        driver_files.judge_layout,
    ),
    Assumption(
        "sysfs-values",
        "ECC totals, numbers of cores and power have the same names and forms in both layouts",
        "",
        driver_files.judge_values,
    ),
    Assumption(
        "sysfs-cores",
        "sysfs has one folder for each physical core",
        "",
        driver_files.judge_cores,
    ),
    Assumption(
        "sysfs-devices",
        "A container with some of the devices sees all devices of the machine in sysfs",
        "identity/local.py",
        driver_files.judge_devices,
    ),
    Assumption(
        "sysfs-ecc",
        "sysfs and neuron-monitor have the same ECC totals",
        "",
        driver_files.judge_uncorrected,
    ),
)


def judge_all(evidence: Evidence) -> Iterator[tuple[Assumption, Judgement]]:
    """Judge each assumption. Never raises."""
    for assumption in ASSUMPTIONS:
        try:
            judgement = assumption.judge(evidence)
        except Exception as error:  # noqa: BLE001 (a bug in one judge must not stop the others)
            judgement = not_seen(
                f"the check itself failed: {type(error).__name__}; report this bug"
            )
        yield assumption, judgement
