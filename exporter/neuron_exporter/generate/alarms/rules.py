"""The alarms: one row for each, with what it means and why it treats missing data as it does.

What CloudWatch does with missing data, in expressions and in alarms, is that of its user guide
(using-metric-math, AlarmThatSendsEmail, 2023); limits are those of PutMetricAlarm (botocore 1.44).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Missing = Literal["breaching", "notBreaching", "ignore", "missing"]
Comparison = Literal["GreaterThanThreshold", "GreaterThanOrEqualToThreshold", "LessThanThreshold"]


@dataclass(frozen=True, slots=True)
class Query:
    """A series that an alarm reads: what its expression calls it, the metric, the statistic."""

    id: str
    metric: str
    statistic: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """A parameter of the template, its default, and what it is, with its unit."""

    parameter: str
    default: float
    help: str
    most: float | None = None
    least: float = 0


@dataclass(frozen=True, slots=True)
class Machines:
    """How many machines there should be: a scaling group's count, or a number that is given.

    With a group, `query` is read beside the others and `expression` is watched; `expected` is the
    expression without one.
    """

    query: Query
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alarm. `period` is the shortest (seconds); `datapoints` are M of N.

    Without an expression the one query is watched as it is. `{interval}` in an expression stands
    for the seconds between two values of a machine.
    """

    name: str
    means: str
    first: str
    queries: tuple[Query, ...]
    comparison: Comparison
    threshold: Threshold
    period: int
    datapoints: tuple[int, int]
    missing: Missing
    because: str
    expression: str = ""
    machines: Machines | None = None
    needs_samples: bool = False
    """Whether a percentile of too few values is left unjudged."""
    unhealthy: bool = True
    """Whether the fleet is unhealthy then; what only costs money is none of its ills."""

    @property
    def key(self) -> str:
        """The name as CloudFormation's identifiers and parameters have it."""
        return "".join(word.capitalize() for word in self.name.split("-"))


_BEATS = Query("beats", "ExporterHeartbeat", "Sum")
_COMPLETED = Query("completed", "ExecutionsCompleted", "Sum")
_ERRORS = Query("errors", "ExecutionErrors", "Sum")

_PRESENT = "FILL(beats, 0) * {interval} / PERIOD(beats)"
"""Machines whose source lived all the time; one that did so half of the time is half a machine."""

_FLEET_HEARTBEATS = Rule(
    name="heartbeats",
    means="Fewer machines report than there should be: an exporter, its neuron-monitor or a whole "
    "machine is gone.",
    first="Find the instance whose ExporterHeartbeat is 0 (its neuron_exporter_source_state says "
    "why) or missing (is the task or the machine there? may it call CloudWatch?). A machine that "
    "has just been added has a few minutes.",
    queries=(_BEATS,),
    # Without IF, a group whose metrics are not collected would count as one of no machines, and it
    # would be for FILL alone to give a group that is scaled to 0 a point.
    expression=f"IF(machines > 0, machines - {_PRESENT}, 0)",
    machines=Machines(
        Query("machines", "GroupInServiceInstances", "Average"),
        f"${{ExpectedMachines}} - {_PRESENT}",
    ),
    comparison="GreaterThanOrEqualToThreshold",
    threshold=Threshold("MissingMachines", 1, "machines that do not report", least=0.1),
    period=60,
    # Values are sent up to 1.8 intervals after their stamp: the last two points may be incomplete.
    datapoints=(3, 5),
    missing="breaching",
    because="no data at all means that nobody reports, or that the scaling group's metrics are not "
    "collected; a group scaled to 0 expects nobody, and is well",
)

_MACHINE_HEARTBEAT = Rule(
    name="heartbeats",
    means="The machine does not report: its exporter, its neuron-monitor or the machine is gone.",
    first="If ExporterHeartbeat is 0, the exporter lives and neuron_exporter_source_state says why "
    "neuron-monitor does not; if it is missing, look whether the machine is there and may call "
    "CloudWatch.",
    queries=(Query("beats", "ExporterHeartbeat", "Maximum"),),
    comparison="LessThanThreshold",
    threshold=Threshold(
        "LowestHeartbeat", 1, "1 while neuron-monitor reports, 0 while it does not"
    ),
    period=60,
    datapoints=(3, 5),
    missing="breaching",
    because="a machine that says nothing is as bad as one that says 0",
)

_OTHERS = (
    Rule(
        name="uncorrected-ecc",
        means="Memory or SRAM of a Neuron device had errors that could not be corrected: results "
        "may be wrong, and the device may be failing.",
        first="Find the device by hardware_ecc_events_total, take the work off that machine, and "
        "replace the machine if it happens again.",
        queries=(Query("errors", "EccUncorrected", "Sum"),),
        comparison="GreaterThanThreshold",
        threshold=Threshold("UncorrectedEccCount", 0, "uncorrected errors in a period"),
        period=300,
        # An hour back: it stays visible, and what waited out an outage comes late.
        datapoints=(1, 12),
        missing="notBreaching",
        because="no reading is no error; that nobody reports is told by the heartbeats",
    ),
    Rule(
        name="error-ratio",
        means="Too large a share of executions ends in any other way than completed.",
        first="See which kind it is (neuron_execution_errors_total, or the metrics "
        "ExecutionErrors* and ExecutionsTimedOut of the full preset) and what was deployed last.",
        queries=(_COMPLETED, _ERRORS),
        expression="IF(completed + errors > 0, 100 * errors / (completed + errors), 0)",
        comparison="GreaterThanThreshold",
        threshold=Threshold("ErrorRatioPercent", 1, "percent of executions that fail", 100),
        period=60,
        datapoints=(3, 5),
        missing="notBreaching",
        because="without executions nothing fails; that nobody reports is told by the heartbeats",
    ),
    Rule(
        name="latency",
        means="The slowest hundredth of executions takes too long.",
        first="Compare ExecutionLatency with ExecutionDeviceLatency: if the device's share is "
        "small, look at the host (HostCpuUtilization, queues), else at the model and its batches. "
        "Below 1,000 executions in what is evaluated, the state stays as it is.",
        queries=(Query("latency", "ExecutionLatency", "p99"),),
        comparison="GreaterThanThreshold",
        threshold=Threshold(
            "LatencySeconds", 1, "seconds that p99 of executions may take: set your own"
        ),
        period=300,
        datapoints=(2, 3),
        missing="notBreaching",
        because="without executions there is no latency; cores that are busy and complete nothing "
        "are told by the hang alarm",
        needs_samples=True,
    ),
    Rule(
        name="device-memory",
        means="A Neuron device's memory is nearly full: the next model, or a larger batch, will "
        "not load.",
        first="See which core is full and of what (neuroncore_memory_usage_*, "
        "neuroncore_runtime_info), then move or end a runtime.",
        queries=(Query("memory", "NeuronDeviceMemoryUtilization", "Maximum"),),
        comparison="GreaterThanThreshold",
        threshold=Threshold(
            "DeviceMemoryPercent", 95, "percent of the fullest device's memory", 100
        ),
        period=60,
        datapoints=(3, 5),
        missing="notBreaching",
        because="no reading is no full device; that nobody reports is told by the heartbeats",
    ),
    Rule(
        name="hang",
        means="NeuronCores are busy and no execution ends: something hangs.",
        first="Find the runtime of the busy cores (neuroncore_runtime_info), read its log, and "
        "restart it. What the other machines of these dimensions complete hides one that hangs: "
        "alarms with --instance-id, or in a set by service, see it.",
        # Maximum: the runtime that hangs may hold one core of a hundred.
        queries=(Query("busy", "NeuronCoreUtilization", "Maximum"), _COMPLETED, _ERRORS),
        expression="IF(completed + errors > 0, 0, busy)",
        comparison="GreaterThanThreshold",
        threshold=Threshold(
            "HangBusyPercent", 50, "percent that the busiest core is busy while nothing ends", 100
        ),
        period=300,
        datapoints=(3, 3),
        missing="notBreaching",
        because="nobody is busy where nothing is read; that nobody reports is told by the "
        "heartbeats",
    ),
    Rule(
        name="idle",
        means="Machines run, report, and have had next to nothing to do for an hour: idle "
        "accelerators are paid for. A matter of money, so no part of the composite alarm.",
        first="Find whom they are waiting for (an empty queue, an input that is too slow, a "
        "deployment that was forgotten), or scale in.",
        # It is there only while the source lives: no heartbeat has to be asked.
        queries=(Query("busy", "NeuronCoreUtilization", "Average"),),
        comparison="LessThanThreshold",
        threshold=Threshold("IdlePercent", 5, "percent that cores are busy on average", 100),
        period=300,
        datapoints=(12, 12),
        missing="notBreaching",
        because="the cores are read only while neuron-monitor reports; who does not report is not "
        "known to be idle",
        unhealthy=False,
    ),
)

FLEET = (_FLEET_HEARTBEATS, *_OTHERS)
"""The alarms on a set of dimensions that the machines of a fleet share."""

MACHINE = (_MACHINE_HEARTBEAT, *_OTHERS)
"""The alarms on one machine."""

NAMES = tuple(rule.name for rule in FLEET)
