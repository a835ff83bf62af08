"""The alarms, one rule each: what it means, what to do, and how it treats missing data.

How CloudWatch treats missing data in expressions and alarms is described in its user guide
(using-metric-math, AlarmThatSendsEmail, 2023). The limits are those of PutMetricAlarm (botocore
1.44). Texts of this module appear in users' AlarmDescription and parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from neuron_exporter.facts.problems import MIN_FAILURES

Missing = Literal["breaching", "notBreaching", "ignore", "missing"]
Comparison = Literal["GreaterThanThreshold", "GreaterThanOrEqualToThreshold", "LessThanThreshold"]


class Query(NamedTuple):
    """A series that an alarm reads: its id in the expression, the metric, and the statistic."""

    id: str
    metric: str
    statistic: str


class Threshold(NamedTuple):
    """A parameter of the template with its default, bounds, and description with unit."""

    parameter: str
    default: float
    help: str
    maximum: float | None = None
    minimum: float = 0


class Expected(NamedTuple):
    """The number of machines or tasks that should report: a metric of CloudWatch, or a parameter.

    With the metric, an alarm also reads `query` and watches the rule's expression; `with_number` is
    the expression with the parameter. `condition` is the name of the template's condition that
    chooses the metric.
    """

    query: Query
    namespace: str
    dimensions: tuple[str, ...]
    parameter: str
    about: str
    """Description of the parameter if the metric can be read, too."""
    with_number: str
    condition: str
    own_dimension: str | None = None
    """Description of a parameter with the value of the metric's dimension, if sets may lack it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alarm. `period` is the shortest one allowed (s); M of N `datapoints` must breach.

    Without an expression the alarm watches its single query. `{interval}` in an expression stands
    for the seconds between two values of a machine.
    """

    name: str
    alert: str
    """Alert of the Prometheus rules with the same meaning, whose section of the runbook applies."""
    meaning: str
    action: str
    queries: tuple[Query, ...]
    expression: str = ""
    comparison: Comparison = "GreaterThanThreshold"
    threshold: Threshold
    period: int = 60
    datapoints: tuple[int, int] = (3, 5)
    missing: Missing = "notBreaching"
    missing_reason: str
    expected: Expected | None = None
    needs_samples: bool = False
    """Whether a percentile of too few values leaves the state as it is."""
    is_required: bool = False
    """Whether an allow-list without its metrics is an error, because other alarms rely on it."""
    is_optional: bool = False
    """Whether the alarm is left out where its metrics, which the preset `standard` does not have,
    are not published."""
    is_health: bool = True
    """Whether the alarm contributes to the composite health alarm (cost-only alarms do not)."""

    @property
    def key(self) -> str:
        """The name in the form of CloudFormation's logical ids and parameters."""
        return "".join(word.capitalize() for word in self.name.split("-"))


_HEARTBEATS = Query("beats", "ExporterHeartbeat", "Sum")
_COMPLETED = Query("completed", "ExecutionsCompleted", "Sum")
_ERRORS = Query("errors", "ExecutionErrors", "Sum")

_REPORTING = "FILL(beats, 0) * {interval} / PERIOD(beats)"
"""Number of machines whose source was alive for the whole period; half of it counts as 0.5."""

_HEARTBEATS_COVER_IT = "the heartbeat alarm covers machines that stop reporting"

_FLEET_HEARTBEATS = Rule(
    name="heartbeats",
    alert="NeuronFleetUnseen",
    meaning="Fewer machines report than expected: an exporter, its neuron-monitor or a machine is "
    "down.",
    action="Find the instance whose ExporterHeartbeat is 0 (its neuron_exporter_source_state has "
    "the reason) or missing (check that the machine and the task run and can reach CloudWatch). A "
    "new machine needs a few minutes before it counts.",
    queries=(_HEARTBEATS,),
    # The condition keeps two cases apart: a group scaled to 0 gets a point of 0 without depending
    # on FILL, and a group whose metrics are not collected does not count as one of 0 machines.
    expression=f"IF(machines > 0, machines - {_REPORTING}, 0)",
    expected=Expected(
        Query("machines", "GroupInServiceInstances", "Average"),
        "AWS/AutoScaling",
        ("AutoScalingGroupName",),
        "ExpectedMachines",
        "Expected number of machines if no scaling group is set",
        f"${{ExpectedMachines}} - {_REPORTING}",
        "HasGroup",
        "Scaling group of the machines, with group metrics enabled; empty to use ExpectedMachines",
    ),
    comparison="GreaterThanOrEqualToThreshold",
    threshold=Threshold("MissingMachines", 1, "machines that do not report", minimum=0.1),
    # Values are sent up to 1.8 intervals after their timestamp: the last two points may be
    # incomplete.
    datapoints=(3, 5),
    missing="breaching",
    missing_reason="without any data no machine reports, or the metrics of the scaling group are "
    "not collected; a group scaled to 0 is OK",
    is_required=True,
)

_TASK_HEARTBEATS = replace(
    _FLEET_HEARTBEATS,
    alert="NeuronExporterDown",
    meaning="Fewer exporters report than tasks run: an exporter or its neuron-monitor is down, "
    "while its task goes on.",
    action="List the tasks (aws ecs list-tasks, describe-tasks) and find the one whose container "
    "neuron-exporter is STOPPED, or UNHEALTHY; its log has the reason. A new task needs a few "
    "minutes before it counts.",
    expression=f"IF(tasks > 0, tasks - {_REPORTING}, 0)",
    # Container Insights counts the tasks of a service in the state RUNNING (CloudWatch user guide,
    # Container-Insights-metrics-ECS: dimensions ServiceName and ClusterName).
    expected=Expected(
        Query("tasks", "RunningTaskCount", "Average"),
        "ECS/ContainerInsights",
        ("ClusterName", "ServiceName"),
        "ExpectedTasks",
        "Expected number of tasks; 0 for the RunningTaskCount of the service, which needs "
        "Container Insights in the cluster",
        f"${{ExpectedTasks}} - {_REPORTING}",
        "CountsTasks",
    ),
    threshold=Threshold("MissingTasks", 1, "tasks whose exporter does not report", minimum=0.1),
    missing_reason="without any data no exporter reports, the cluster has no Container Insights, "
    "or the service has no task",
)

_MACHINE_HEARTBEAT = Rule(
    name="heartbeats",
    alert="NeuronSourceDown",
    meaning="The machine does not report: the exporter, its neuron-monitor or the machine is down.",
    action="If ExporterHeartbeat is 0, the exporter runs and neuron_exporter_source_state says why "
    "neuron-monitor does not; if it is missing, check that the machine runs and can reach "
    "CloudWatch.",
    queries=(Query("beats", "ExporterHeartbeat", "Maximum"),),
    comparison="LessThanThreshold",
    threshold=Threshold(
        "LowestHeartbeat", 1, "1 while neuron-monitor reports, 0 while it does not"
    ),
    missing="breaching",
    missing_reason="a machine that sends nothing is as bad as one that sends 0",
    is_required=True,
)

_OTHERS = (
    Rule(
        name="device-missing",
        alert="NeuronDeviceMissing",
        meaning="neuron-monitor reports fewer Neuron devices than the machine should have.",
        action="Find the machine by neuron_devices_present and the device by dmesg, move the "
        "workloads off the machine, and replace it if a reboot does not bring the device back.",
        queries=(
            Query("expected", "NeuronDevicesExpected", "Average"),
            Query("present", "NeuronDevicesPresent", "Average"),
        ),
        expression="expected - present",
        threshold=Threshold("MissingDevices", 0, "missing devices, on average over the machines"),
        period=300,
        datapoints=(2, 2),
        missing_reason=f"without data no device is known to be missing; {_HEARTBEATS_COVER_IT}",
        is_optional=True,
    ),
    Rule(
        name="uncorrected-ecc",
        alert="NeuronUncorrectedEcc",
        meaning="Memory or SRAM of a Neuron device had uncorrectable errors: results may be wrong, "
        "and the device may be failing.",
        action="Find the device by hardware_ecc_events_total, move the workload off the machine, "
        "and replace the machine if the errors recur.",
        queries=(Query("errors", "EccUncorrected", "Sum"),),
        threshold=Threshold("UncorrectedEccCount", 0, "uncorrected errors in a period"),
        period=300,
        # One hour: the alarm stays visible, and includes values delayed by an outage.
        datapoints=(1, 12),
        missing_reason=f"missing data is not an error; {_HEARTBEATS_COVER_IT}",
    ),
    Rule(
        name="hardware-errors",
        alert="NeuronHardwareFaults",
        meaning="The driver counted errors of executions that the hardware caused.",
        action="Find the core and the type by neuroncore_hardware_errors_total: for "
        "hw_collectives_error look at the other machines of the job, otherwise move the workload "
        "off the machine, and replace the machine if the errors recur.",
        queries=(Query("errors", "HardwareErrors", "Sum"),),
        threshold=Threshold("HardwareErrorCount", 0, "errors of the hardware in a period"),
        period=300,
        datapoints=(1, 12),
        missing_reason=f"machines without files of the driver count none; {_HEARTBEATS_COVER_IT}",
        is_optional=True,
    ),
    Rule(
        name="error-ratio",
        alert="NeuronErrorRatio",
        meaning=f"Too many executions fail, and at least {MIN_FAILURES} in a period.",
        action="Find the kind of error (neuron_execution_errors_total, or the metrics "
        "ExecutionErrors* and ExecutionsTimedOut of the full preset), and check what was deployed "
        "last.",
        queries=(_COMPLETED, _ERRORS),
        expression=(f"IF(errors >= {MIN_FAILURES}, 100 * errors / (completed + errors), 0)"),
        threshold=Threshold("ErrorRatioPercent", 1, "percent of executions that fail", 100),
        period=300,
        datapoints=(2, 3),
        missing_reason=f"without executions nothing fails; {_HEARTBEATS_COVER_IT}",
    ),
    Rule(
        name="latency",
        alert="NeuronLatencyHigh",
        meaning="The slowest 1 percent of executions takes too long.",
        action="Compare ExecutionLatency with ExecutionDeviceLatency: if the device's share is "
        "small, check the host (HostCpuUtilization, queues), otherwise the model and its batch "
        "size. With fewer than 1,000 executions in the evaluated time the state stays as it is.",
        queries=(Query("latency", "ExecutionLatency", "p99"),),
        threshold=Threshold(
            "LatencySeconds", 1, "maximum p99 of execution latency in seconds: set your own"
        ),
        period=300,
        datapoints=(2, 3),
        missing_reason="without executions there is no latency; the hang alarm covers busy cores "
        "that complete nothing",
        needs_samples=True,
    ),
    Rule(
        name="device-memory",
        alert="NeuronDeviceMemoryFull",
        meaning="The memory of a Neuron device is nearly full: the next model or a larger batch "
        "will not load.",
        action="Find the full core and what uses its memory (neuroncore_memory_usage_*, "
        "neuroncore_runtime_info), then move or stop a runtime.",
        queries=(Query("memory", "NeuronDeviceMemoryUtilization", "Maximum"),),
        threshold=Threshold(
            "DeviceMemoryPercent", 95, "percent of the fullest device's memory", 100
        ),
        missing_reason=f"missing data does not mean a full device; {_HEARTBEATS_COVER_IT}",
    ),
    Rule(
        name="hang",
        alert="NeuronHang",
        meaning="NeuronCores are busy but no execution ends: a workload hangs, or its executions "
        "take longer than three periods.",
        action="Find the runtime on the busy cores (neuroncore_runtime_info), read its log, and "
        "restart it. Where such long executions are usual, raise HangPeriod. Executions of other "
        "machines with the same dimensions hide a machine that hangs: alarms with --instance-id, "
        "or on a set by service, detect it.",
        # Maximum: the runtime that hangs may use one core of a hundred.
        queries=(Query("busy", "NeuronCoreUtilization", "Maximum"), _COMPLETED, _ERRORS),
        expression="IF(completed + errors > 0, 0, busy)",
        threshold=Threshold(
            "HangBusyPercent",
            50,
            "percent that the busiest core is used while no execution ends",
            100,
        ),
        period=300,
        datapoints=(3, 3),
        missing_reason=f"without data no core is known to be busy; {_HEARTBEATS_COVER_IT}",
    ),
    Rule(
        name="idle",
        alert="NeuronAllocatedIdle",
        meaning="Machines have run nearly idle for an hour: you pay for accelerators without work. "
        "This is about cost, so it is not part of the composite alarm.",
        action="Find out what they wait for (an empty queue, slow input, a forgotten deployment), "
        "or scale in.",
        # The metric exists only while the source is alive, so that no heartbeat is needed.
        queries=(Query("busy", "NeuronCoreUtilization", "Average"),),
        comparison="LessThanThreshold",
        threshold=Threshold("IdlePercent", 5, "average utilization of cores in percent", 100),
        period=300,
        datapoints=(12, 12),
        missing_reason="a machine that does not report is not known to be idle; the metric exists "
        "only while neuron-monitor reports",
        is_health=False,
    ),
)

FLEET_RULES = (_FLEET_HEARTBEATS, *_OTHERS)
"""Alarms on a dimension set that the machines of a fleet share."""

TASK_RULES = (_TASK_HEARTBEATS, *(rule for rule in _OTHERS if rule.name != "uncorrected-ecc"))
"""Alarms on a set that tasks share: with `scope: task`, no ECC errors are published."""

MACHINE_RULES = (_MACHINE_HEARTBEAT, *_OTHERS)
"""Alarms on one machine."""

RULE_NAMES = tuple(rule.name for rule in FLEET_RULES)
"""Names for `--without`."""
