"""The values that travel through the pipeline: types without behaviour.

Everything here is frozen. A new report makes a new `Snapshot`; nothing that was handed over is
changed afterwards, so readers in other threads need no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple


class Kind(StrEnum):
    """What a row's value is. A `DISTRIBUTION` is never exposed to Prometheus."""

    GAUGE = "gauge"
    COUNTER = "counter"
    INFO = "info"
    DISTRIBUTION = "distribution"


class Unit(StrEnum):
    """The unit of a row's value, in Prometheus' base units."""

    NONE = ""
    RATIO = "ratio"
    BYTES = "bytes"
    SECONDS = "seconds"
    FLOPS = "floating-point operations per second"


class Layout(StrEnum):
    """The shapes in which Prometheus can be given the series."""

    CORE = "core"
    AWS = "aws"


class Preset(IntEnum):
    """Ready-made subsets; each holds the ones before it. What is in `NONE` has to be asked for."""

    MINIMAL = 1
    STANDARD = 2
    FULL = 3
    NONE = 4


class Group(StrEnum):
    """neuron-monitor's metric groups, by the names of its configuration file."""

    NEURONCORE_COUNTERS = "neuroncore_counters"
    EXECUTION_STATS = "execution_stats"
    MEMORY_USED = "memory_used"
    RUNTIME_VCPU_USAGE = "neuron_runtime_vcpu_usage"
    VCPU_USAGE = "vcpu_usage"
    MEMORY_INFO = "memory_info"
    HW_COUNTERS = "neuron_hw_counters"


class Place(StrEnum):
    """Where in a machine a value belongs; its labels are in `metrics.tables.LABELS`."""

    MACHINE = "machine"
    HARDWARE = "hardware"
    HARDWARE_COUNTS = "hardware counts"
    DRIVER = "driver"
    TOOLS = "tools"
    CPU = "cpu"
    CORE = "core"
    PHYSICAL_CORE = "physical core"
    DEVICE = "device"
    RUNTIME = "runtime"
    RUNTIME_CORE = "core of a runtime"
    HOLDER = "holder"


class Pooling(StrEnum):
    """How the series of a row become one CloudWatch metric.

    The first four give one value a reading from each core, device, runtime or the machine; `DELTA`
    gives one value an interval, the rise of the counters in it; `HEARTBEAT` comes from the sink.
    """

    CORES = "cores"
    DEVICES = "devices"
    RUNTIMES = "runtimes"
    MACHINE = "machine"
    DELTA = "delta"
    HEARTBEAT = "heartbeat"


class SourceState(StrEnum):
    """What the source is doing: the closed list behind `neuron_exporter_source_state`."""

    STARTING = "starting"
    OK = "ok"
    MISSING_PROGRAM = "missing_program"
    NO_DRIVER = "no_driver"
    EXITED = "exited"
    STALLED = "stalled"
    GARBAGE = "garbage"
    PAUSED = "paused"


Distribution = tuple[tuple[float, float], ...]
"""Pairs of a value and how often it occurred."""

Value = float | Distribution | None
"""None is where there is no reading. Absent is never zero."""

Column = list[float | None]
Reading = Column | dict[str, Column] | list[Distribution | None]
"""What a row reads of a place: a value for each of its spots, or such a column for each value of
the row's `by` label."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudWatchMetric:
    """How a row appears in CloudWatch: one name, one unit, one pooling."""

    name: str
    unit: str
    pooling: Pooling
    preset: Preset = Preset.FULL
    scale: float = 1.0
    only: tuple[str, ...] = ()
    all_but: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricSpec:
    """One metric: everything that is known about it, in one row.

    `read` takes the table of its place, which `group` feeds, and where they are wanted those of
    `also`. `by` names the label that splits a reading in several.
    `start`, where it is given, reads at which values counters stood before they counted anything.
    `per_owner` is the row that tells of each core or runtime, and so of each owner, what this one
    tells of the machine.
    """

    name: str
    kind: Kind
    help: str
    place: Place
    read: Callable[[Any], Reading]
    group: Group | None
    also: frozenset[Group] = frozenset()
    unit: Unit = Unit.NONE
    by: str = ""
    constant_labels: Labels = ()
    start: Callable[[Any], Mapping[str, list[float]]] | None = None
    layouts: frozenset[Layout] = frozenset({Layout.CORE})
    preset: Preset = Preset.FULL
    cloudwatch: tuple[CloudWatchMetric, ...] = ()
    per_owner: MetricSpec | None = None
    since: str = "2.4"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a core or a runtime belongs to. Empty means not known, and makes no label. `pod_labels`
    are labels of the pod, by the names that they have as ours."""

    namespace: str = ""
    pod: str = ""
    container: str = ""
    task_family: str = ""
    service: str = ""
    pod_labels: Labels = ()

    def labels(self) -> Labels:
        """The owner as labels, empty ones left out."""
        named = (
            ("namespace", self.namespace),
            ("pod", self.pod),
            ("container", self.container),
            ("task_family", self.task_family),
            ("service", self.service),
        )
        return (*(pair for pair in named if pair[1]), *self.pod_labels)


NOBODY = Owner()


class Spot(NamedTuple):
    """One place: its labels, and its owner."""

    labels: Labels
    owner: Owner = NOBODY


class Allocation(NamedTuple):
    """What a scheduler gave to whom, by its own numbers. `highest_core` is the highest number of
    all cores that it can give, None where that is not known; `is_whole` is whether all was
    understood that it said of its gifts."""

    cores: Mapping[int, Owner]
    devices: Mapping[int, Owner]
    highest_core: int | None = None
    is_whole: bool = True


class Task(NamedTuple):
    """The task that we are a part of, and the indices of the devices that it has."""

    owner: Owner
    devices: frozenset[int]


@dataclass(frozen=True, slots=True)
class Owners:
    """Who holds which core, device and process, as it was last learned.

    `default` is whose a process is that is not in `by_pid`. While `asked` is true somebody is asked
    for what is not known yet. `allocated` are all cores that were given to somebody, None where
    that is not known.
    """

    by_core: Mapping[int, Owner] = field(default_factory=dict)
    by_pid: Mapping[int | None, Owner] = field(default_factory=dict)
    by_device: Mapping[int, Owner] = field(default_factory=dict)
    task: Task | None = None
    allocation: Allocation | None = None
    allocated: frozenset[int] | None = None
    default: Owner = NOBODY
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """Who this machine is, and as what we run on it. Empty means not known, and makes neither label
    nor dimension."""

    instance_id: str = ""
    instance_type: str = ""
    instance_name: str = ""
    availability_zone: str = ""
    region: str = ""
    subnet_id: str = ""
    ultraserver_id: str = ""
    cluster: str = ""
    auto_scaling_group: str = ""
    account: str = ""
    service: str = ""
    task_family: str = ""
    task_id: str = ""
    node_name: str = ""
    pod_name: str = ""
    pod_namespace: str = ""
    pod_uid: str = ""
    driver_version: str = ""
    tools_version: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One time series: a row at one spot. Equal series are the same series."""

    spec: MetricSpec
    labels: Labels
    by: str = ""
    owner: Owner = NOBODY
    start: float = field(default=0.0, compare=False)

    def counts(self) -> tuple[MetricSpec, Labels]:
        """What is counted, whoever holds it: the same when a core or device changes hands. A
        runtime does not; its labels without its owner's are those of others, too."""
        if self.spec.place is Place.RUNTIME:
            return self.spec, self.labels
        mine = self.owner.labels()
        return self.spec, tuple(pair for pair in self.labels if pair not in mine)


Shape = tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What one sink publishes: the rows, which of their series, which of their CloudWatch names."""

    rows: tuple[MetricSpec, ...]
    takes: Callable[[Series], bool]
    names: frozenset[str] = frozenset()


class Moment(NamedTuple):
    """When something happened: Unix seconds, and seconds of the monotonic clock."""

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Health:
    """What is known about the source besides its numbers."""

    state: SourceState

    @property
    def alive(self) -> bool:
        """Whether the source speaks and finds its hardware."""
        return self.state is SourceState.OK


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One report as numbers. `shape` is the same object while it can be.

    `values` stand in the order of `shape`; a series whose value is None is not there now. Idle
    runtimes have no latency, and the shape need not change for that. `fresh_for` is how many
    seconds the values may be shown.
    """

    shape: Shape
    values: tuple[Value, ...]
    taken_at: Moment
    fresh_for: float
    machine: Machine
    health: Health

    def at(self, monotonic: float) -> Snapshot:
        """The snapshot as of that moment: without values once it is too old."""
        if monotonic - self.taken_at.monotonic <= self.fresh_for:
            return self
        return replace(self, shape=(), values=(), health=Health(SourceState.STALLED))
