"""Value types that the pipeline passes from the source to the sinks.

All of them are immutable. Each report makes a new `Snapshot`, and no value changes after it was
passed on, so that threads read them without locks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any, NamedTuple


class MetricKind(StrEnum):
    """Type of a metric. A `DISTRIBUTION` is published to CloudWatch only."""

    GAUGE = "gauge"
    COUNTER = "counter"
    INFO = "info"
    DISTRIBUTION = "distribution"


class Unit(StrEnum):
    """Unit of a metric, in Prometheus' base units."""

    NONE = ""
    RATIO = "ratio"
    BYTES = "bytes"
    SECONDS = "seconds"
    FLOPS = "floating-point operations per second"


class Layout(StrEnum):
    """Layout of the Prometheus series: one per core, or those of AWS's script."""

    CORE = "core"
    AWS = "aws"


class Preset(IntEnum):
    """Preset that first contains a metric; each contains the smaller ones.

    A metric in `NONE` is published only where `include` names it.
    """

    MINIMAL = 1
    STANDARD = 2
    FULL = 3
    NONE = 4


class Group(StrEnum):
    """Metric group of neuron-monitor, by its name in neuron-monitor's configuration."""

    NEURONCORE_COUNTERS = "neuroncore_counters"
    EXECUTION_STATS = "execution_stats"
    MEMORY_USED = "memory_used"
    RUNTIME_VCPU_USAGE = "neuron_runtime_vcpu_usage"
    VCPU_USAGE = "vcpu_usage"
    MEMORY_INFO = "memory_info"
    HW_COUNTERS = "neuron_hw_counters"


class EntityKind(StrEnum):
    """Kind of entity that a series describes; its labels are in `metrics.tables.ENTITY_LABELS`."""

    MACHINE = "machine"
    HARDWARE = "hardware"
    HARDWARE_COUNTS = "hardware counts"
    DRIVER = "driver"
    TOOLS = "tools"
    CPU = "cpu"
    CORE = "core"
    PHYSICAL_CORE = "physical core"
    DEVICE = "device"
    DEVICE_INFO = "device info"
    RUNTIME = "runtime"
    RUNTIME_TOTALS = "totals of a runtime"
    RUNTIME_CORE = "core of a runtime"
    CORE_RUNTIME = "runtime of a core"


class Pooling(StrEnum):
    """Pooling of a metric's series into one CloudWatch metric.

    The first four yield one value per report and core, device, runtime or machine. `DELTA` yields
    one value per window: the increase of the counters. `HEARTBEAT` comes from the sink itself.
    """

    CORES = "cores"
    DEVICES = "devices"
    RUNTIMES = "runtimes"
    MACHINE = "machine"
    DELTA = "delta"
    HEARTBEAT = "heartbeat"


class SourceState(StrEnum):
    """State of the source, a label value of `neuron_exporter_source_state`."""

    STARTING = "starting"
    OK = "ok"
    MISSING_PROGRAM = "missing_program"
    NO_DRIVER = "no_driver"
    EXITED = "exited"
    STALLED = "stalled"
    GARBAGE = "garbage"
    PAUSED = "paused"


Distribution = tuple[tuple[float, float], ...]
"""Pairs of a value and its number of occurrences."""

Value = float | Distribution | None
"""Value of a series in one report; None where the report has no reading, which is never zero."""

Column = list[float | None]
Reading = Column | dict[str, Column] | list[Distribution | None]
"""Values of a metric: one for each entity, or such a column for each value of `split_by`."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudWatchMetric:
    """CloudWatch metric that a catalogue row is published as.

    `only` are the values of the row's `split_by` label that it pools, all if empty.
    """

    name: str
    unit: str
    pooling: Pooling
    preset: Preset = Preset.FULL
    scale: float = 1.0
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricSpec:
    """Catalogue row: the complete definition of one metric.

    Attributes:
        read: Return the values from the table of `entity_kind`.
        group: neuron-monitor group that supplies the values; None if it needs no group.
        extra_groups: Further groups that `read` needs.
        split_by: Name of the label that splits the values of an entity into several series.
        read_start: Return the values from which counters started.
        per_task: True if each task of a machine has its own value, unlike other rows of `group`.
        per_owner: Row that has the same quantity for each core or runtime, and so for each owner.
        since: SDK generation that first reported the metric.
    """

    name: str
    kind: MetricKind
    help: str
    entity_kind: EntityKind
    read: Callable[[Any], Reading]
    group: Group | None
    extra_groups: frozenset[Group] = frozenset()
    unit: Unit = Unit.NONE
    split_by: str = ""
    constant_labels: Labels = ()
    read_start: Callable[[Any], Mapping[str, list[float]]] | None = None
    layouts: frozenset[Layout] = frozenset({Layout.CORE})
    preset: Preset = Preset.FULL
    cloudwatch: tuple[CloudWatchMetric, ...] = ()
    per_task: bool = False
    per_owner: MetricSpec | None = None
    since: str = "2.4"


OWNER_LABELS = ("namespace", "pod", "container", "task_family", "service")
"""Labels of an owner, besides those of its pod; each is a field of `Owner`."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Owner of a core, device or runtime. An empty field is unknown and adds no label.

    `pod_labels` are labels of the pod, and `process_labels` those from the environment of its
    process, already under the names that the series have.
    """

    namespace: str = ""
    pod: str = ""
    container: str = ""
    task_family: str = ""
    service: str = ""
    pod_labels: Labels = ()
    process_labels: Labels = ()

    def labels(self) -> Labels:
        """Return the known fields as labels."""
        fields = ((name, getattr(self, name)) for name in OWNER_LABELS)
        return (*(field for field in fields if field[1]), *self.pod_labels, *self.process_labels)

    def common(self, other: Owner) -> Owner:
        """Return the owner of what both have: their pod or task if only the container differs."""
        if self == other:
            return self
        shared = replace(self, container="")
        return shared if shared == replace(other, container="") != NO_OWNER else NO_OWNER


NO_OWNER = Owner()


@lru_cache(maxsize=1024)  # an equal owner stays the same object, and with it the entities
def with_process_labels(owner: Owner, labels: Labels) -> Owner:
    """Return the owner with the labels of its process."""
    return replace(owner, process_labels=labels)


class Entity(NamedTuple):
    """Labelled subject of series, such as a core, with its owner."""

    labels: Labels
    owner: Owner = NO_OWNER


class Allocation(NamedTuple):
    """Cores and devices that a scheduler has allocated, by the scheduler's numbers.

    `highest_core` is the highest number of all allocatable cores, None if unknown. `is_complete`
    is false if the exporter could not interpret a part of the allocation.
    """

    cores: Mapping[int, Owner]
    devices: Mapping[int, Owner]
    highest_core: int | None = None
    is_complete: bool = True


class Task(NamedTuple):
    """ECS task of the exporter, with the indices of the devices that it has."""

    owner: Owner
    devices: frozenset[int]


@dataclass(frozen=True, slots=True)
class Owners:
    """Owners of cores, devices and processes, as of the last lookup.

    Attributes:
        allocated_cores: Cores that are allocated to any owner, None if unknown.
        process_labels: Labels of the processes whose environment was read; None if they are not
            configured.
        default: Owner of the processes that are not in `by_pid`.
        lookup_enabled: True while providers are queried, so that an owner may become known later.
    """

    by_core: Mapping[int, Owner] = field(default_factory=dict)
    by_pid: Mapping[int | None, Owner] = field(default_factory=dict)
    by_device: Mapping[int, Owner] = field(default_factory=dict)
    task: Task | None = None
    allocation: Allocation | None = None
    allocated_cores: frozenset[int] | None = None
    process_labels: Mapping[int, Labels] | None = None
    default: Owner = NO_OWNER
    lookup_enabled: bool = False


SIMULATED_ID = "51a7e0ff"
"""End of the instance id in every report of the simulator; an instance has random digits there."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Identity of the machine and of the exporter on it.

    An empty field is unknown and becomes neither a label nor a dimension.
    """

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
    """Time series: one metric of one entity."""

    spec: MetricSpec
    labels: Labels
    split_value: str = ""
    owner: Owner = NO_OWNER
    start_value: float = field(default=0.0, compare=False)

    def counter_key(self) -> tuple[MetricSpec, Labels]:
        """Return the identity of the counter, which stays the same when its entity changes owner.

        Cores and devices keep their counter, so that the labels of the owner are left out. Runtimes
        do not change owner, and without the labels of the owner two of them could be mistaken for
        one.
        """
        if self.spec.entity_kind is EntityKind.RUNTIME_TOTALS:
            return self.spec, self.labels
        owner_labels = self.owner.labels()
        return self.spec, tuple(label for label in self.labels if label not in owner_labels)


Shape = tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Metrics that one sink publishes: rows, a filter of their series, and CloudWatch names."""

    rows: tuple[MetricSpec, ...]
    accepts: Callable[[Series], bool]
    names: frozenset[str] = frozenset()


class Timestamp(NamedTuple):
    """Point in time: Unix seconds, and seconds of the monotonic clock."""

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Health:
    """Health of the source."""

    state: SourceState

    @property
    def alive(self) -> bool:
        """True if the source sends reports and finds Neuron devices."""
        return self.state is SourceState.OK


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Values of all series in one report.

    `values` are in the order of `shape`, None where a series is absent now: idle runtimes have no
    latency, and the shape does not change for that. `shape` stays the same object while the set of
    series is unchanged. The values may be shown for `fresh_for` seconds.

    Attributes:
        kinds: Kinds of entities that the selected rows describe, also those without one now.
        cores_per_device: Number of logical cores of each device, None if it is unknown. It does not
            depend on the selected rows.
    """

    shape: Shape
    values: tuple[Value, ...]
    taken_at: Timestamp
    fresh_for: float
    machine: Machine
    health: Health
    kinds: frozenset[EntityKind]
    cores_per_device: int | None

    def is_fresh_at(self, wall: float) -> bool:
        """Return whether the values may be shown at a moment (Unix seconds)."""
        return wall - self.taken_at.wall <= self.fresh_for

    def as_of(self, monotonic: float) -> Snapshot:
        """Return the snapshot as seen at this time: empty once it is stale."""
        if monotonic - self.taken_at.monotonic <= self.fresh_for:
            return self
        return replace(self, shape=(), values=(), health=Health(SourceState.STALLED))
