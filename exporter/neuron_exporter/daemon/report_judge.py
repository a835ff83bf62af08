"""Judge of reports: the problems that the values of the last minutes show.

Metrics that no sink selects are not collected, and what only they show is not judged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from neuron_exporter.facts.problems import (
    CORRECTED_ECC_PER_HOUR,
    DEVICE_MEMORY_RATIO,
    ERROR_RATIO,
    MIN_FAILURES,
    MINOR_FAULTS,
    STALLED_SECONDS,
    Severity,
    hang_limits,
)
from neuron_exporter.facts.report_names import FAILED_STATUSES
from neuron_exporter.model import EntityKind, Labels, Shape, Snapshot, Value

ECC_SECONDS = 3600.0
"""Window of corrected memory errors, and the time for which an uncorrected one is critical. Later
it is a warning until the exporter restarts, since the device is the same."""

FAULT_SECONDS = 3600.0
"""Time for which a core with a hardware fault is a problem."""

FAILURE_SECONDS = 300.0
"""Window in which failures are compared with all executions."""

KEPT_SECONDS = 120.0
"""Time for which a problem stays while its reading is missing: as long as in the rules."""

MAX_LISTED = 4
"""Names in the detail of a problem."""

_GAP, _LONGEST = "neuron_execution_gap_seconds", "neuron_execution_gap_max_seconds"
_MEMORY = "neurondevice_memory_utilization_ratio"
_ECC = "hardware_ecc_events_total"
_EXECUTIONS = "neuron_executions_total"
_EXPECTED, _PRESENT = "neuron_devices_expected", "neuron_devices_present"
_HEALTH, _ERRORS = "neurondevice_health", "neuroncore_hardware_errors_total"
_JUDGED = frozenset(
    {_GAP, _LONGEST, _MEMORY, _ECC, _EXECUTIONS, _EXPECTED, _PRESENT, _HEALTH, _ERRORS}
)

_READINGS = {"hung": _GAP, "stalled": _GAP, "memory_full": _MEMORY, "device_unhealthy": _HEALTH}


class ActiveProblem(NamedTuple):
    """A problem that is present, and since when (Unix time). A severity of None: the problem's
    own."""

    reason: str
    detail: str
    since: float
    severity: Severity | None = None


class _Column(NamedTuple):
    """A judged series: its position in the values, and what it is about."""

    at: int
    labels: Labels
    number: str
    """That of the device or core."""
    split: str
    start: float


@dataclass(slots=True)
class _Window:
    """Samples of counters at least `step` seconds apart, no older than `seconds`."""

    seconds: float
    step: float
    samples: deque[tuple[float, Mapping[str, float]]] = field(default_factory=deque)

    def increases(self, now: float, values: Mapping[str, float]) -> dict[str, float]:
        """Return how much each counter has increased within the window."""
        samples = self.samples
        while samples and now - samples[0][0] > self.seconds:
            samples.popleft()
        if not samples or now - samples[-1][0] >= self.step:
            samples.append((now, values))
        first = samples[0][1]
        return {name: value - first.get(name, value) for name, value in values.items()}


@dataclass(slots=True)
class _Uncorrected:
    """Uncorrected memory errors of a device: their number, and when the first and last came."""

    events: float
    first: float
    last: float


class ReportJudge:
    """Judge of one report after the other."""

    def __init__(self) -> None:
        self._found: dict[
            str, tuple[ActiveProblem, float]
        ] = {}  # with the time of their last reading
        self._shape: Shape | None = None
        self._columns: dict[str, list[_Column]] = {}
        self._is_of_task = False
        self._failures = _Window(FAILURE_SECONDS, 5.0)
        self._corrected = _Window(ECC_SECONDS, 60.0)
        self._uncorrected: dict[str, _Uncorrected] = {}
        self._error_values: tuple[Value, ...] = ()
        self._errors: dict[tuple[str, str], float] = {}  # totals by core and type
        self._faults: dict[str, tuple[float, float]] = {}  # first and last one by core
        self._judged_at = 0.0

    @property
    def problems(self) -> tuple[ActiveProblem, ...]:
        """The problems in the latest report, in any order."""
        return tuple(active for active, _ in self._found.values())

    def judge(self, snapshot: Snapshot) -> None:
        """Judge the next report."""
        if snapshot.shape is not self._shape:
            self._shape, self._columns = snapshot.shape, _columns(snapshot.shape)
            self._is_of_task = any(
                each.spec.entity_kind is EntityKind.CORE and each.owner.task_family
                for each in snapshot.shape
            )
        now = snapshot.taken_at.monotonic
        found = (
            *self._missing_devices(snapshot),
            *self._ecc(snapshot),
            *self._health(snapshot),
            *self._hardware_faults(snapshot),
            *self._gaps(snapshot),
            *self._failing(snapshot),
            *self._memory(snapshot),
        )
        before = self._found if now - self._judged_at <= snapshot.fresh_for else {}
        self._found = {each.reason: (each, now) for each in found}
        for reason, (active, read_at) in before.items():
            if reason in self._found:  # a problem keeps its begin while it lasts
                latest, _ = self._found[reason]
                self._found[reason] = latest._replace(since=active.since), now
            elif now - read_at <= KEPT_SECONDS and self._is_unread(reason, snapshot):
                self._found[reason] = active, read_at
        self._judged_at = now

    def _is_unread(self, reason: str, snapshot: Snapshot) -> bool:
        columns = self._columns.get(_READINGS.get(reason, ""), ())
        return any(snapshot.values[column.at] is None for column in columns)

    def _values(self, name: str, snapshot: Snapshot) -> Iterator[tuple[_Column, float]]:
        for column in self._columns.get(name, ()):
            value = snapshot.values[column.at]
            if isinstance(value, int | float):
                yield column, value

    def _missing_devices(self, snapshot: Snapshot) -> Iterator[ActiveProblem]:
        if self._is_of_task:
            return  # an exporter in an ECS task sees the devices of its task only
        expected = [value for _, value in self._values(_EXPECTED, snapshot)]
        present = [value for _, value in self._values(_PRESENT, snapshot)]
        if expected and present and present[0] < expected[0]:
            detail = f"{present[0]:.0f} of {expected[0]:.0f} are present"
            yield ActiveProblem("device_missing", detail, snapshot.taken_at.wall)

    def _ecc(self, snapshot: Snapshot) -> Iterator[ActiveProblem]:
        now = snapshot.taken_at
        corrected: dict[str, float] = {}
        uncorrected: dict[str, float] = {}
        for column, value in self._values(_ECC, snapshot):
            events = uncorrected if column.split.endswith("_uncorrected") else corrected
            events[column.number] = events.get(column.number, 0.0) + value - column.start
        for device, events_so_far in uncorrected.items():
            known = self._uncorrected.get(device)
            if known is None and events_so_far > 0:
                self._uncorrected[device] = _Uncorrected(events_so_far, now.wall, now.monotonic)
            elif known is not None and events_so_far > known.events:
                known.events, known.last = events_so_far, now.monotonic
        bad = self._uncorrected
        if bad:
            is_recent = any(now.monotonic - each.last <= ECC_SECONDS for each in bad.values())
            yield ActiveProblem(
                "uncorrected_ecc",
                _listed("device", sorted(bad, key=int)),
                min(each.first for each in bad.values()),
                None if is_recent else "warning",
            )
        risen = self._corrected.increases(now.monotonic, corrected)
        many = [device for device, count in risen.items() if count > CORRECTED_ECC_PER_HOUR]
        if many:
            yield ActiveProblem("corrected_ecc", _listed("device", many), now.wall)

    def _health(self, snapshot: Snapshot) -> Iterator[ActiveProblem]:
        unhealthy: dict[str, list[str]] = {}
        for column, value in self._values(_HEALTH, snapshot):
            if not value:
                unhealthy.setdefault(column.number, []).append(column.split)
        if unhealthy:
            devices = [f"{index} ({', '.join(names)})" for index, names in unhealthy.items()]
            yield ActiveProblem(
                "device_unhealthy", _listed("device", devices), snapshot.taken_at.wall
            )

    def _hardware_faults(self, snapshot: Snapshot) -> Iterator[ActiveProblem]:
        now = snapshot.taken_at
        columns = self._columns.get(_ERRORS, ())
        values = tuple([snapshot.values[column.at] for column in columns])
        if values != self._error_values:  # a machine has hundreds, which rarely change
            self._error_values = values
            for column, value in self._values(_ERRORS, snapshot):
                before = self._errors.get((column.number, column.split), column.start)
                self._errors[column.number, column.split] = value
                if value > before and column.split not in MINOR_FAULTS:
                    first, _ = self._faults.get(column.number, (now.wall, 0.0))
                    self._faults[column.number] = first, now.monotonic
        self._faults = {
            core: times
            for core, times in self._faults.items()
            if now.monotonic - times[1] <= FAULT_SECONDS
        }
        if self._faults:
            since = min(first for first, _ in self._faults.values())
            cores = sorted(self._faults, key=int)
            yield ActiveProblem("hardware_faults", _listed("core", cores), since)

    def _gaps(self, snapshot: Snapshot) -> Iterator[ActiveProblem]:
        longest = {column.labels: value for column, value in self._values(_LONGEST, snapshot)}
        hung: dict[str, float] = {}
        stalled: dict[str, float] = {}
        is_critical = False
        for column, gap in self._values(_GAP, snapshot):
            if gap < STALLED_SECONDS:
                continue
            limits = hang_limits(longest.get(column.labels))
            name = dict(column.labels).get("runtime_tag") or "without a tag"
            into = hung if gap >= limits.warning else stalled
            into[name] = max(gap, into.get(name, 0.0))
            is_critical = is_critical or gap >= limits.critical
        wall = snapshot.taken_at.wall
        if hung:
            severity: Severity = "critical" if is_critical else "warning"
            yield ActiveProblem(
                "hung", _listed("runtime", hung), wall - max(hung.values()), severity
            )
        if stalled:
            yield ActiveProblem(
                "stalled", _listed("runtime", stalled), wall - max(stalled.values())
            )

    def _failing(self, snapshot: Snapshot) -> Iterator[ActiveProblem]:
        counts = {column.split: value for column, value in self._values(_EXECUTIONS, snapshot)}
        ended = self._failures.increases(snapshot.taken_at.monotonic, counts)
        failed = {name: ended[name] for name in FAILED_STATUSES if ended.get(name)}
        number, total = sum(failed.values()), sum(ended.values())
        if number >= MIN_FAILURES and number > ERROR_RATIO * total:
            most = max(failed, key=failed.__getitem__).replace("_", " ")
            detail = f"{number / total:.1%} in the last minutes, most of them {most}"
            yield ActiveProblem("failing", detail, snapshot.taken_at.wall)

    def _memory(self, snapshot: Snapshot) -> Iterator[ActiveProblem]:
        full = [
            column.number
            for column, ratio in self._values(_MEMORY, snapshot)
            if ratio > DEVICE_MEMORY_RATIO
        ]
        if full:
            yield ActiveProblem("memory_full", _listed("device", full), snapshot.taken_at.wall)


def _columns(shape: Shape) -> dict[str, list[_Column]]:
    """Return the judged series by metric."""
    columns: dict[str, list[_Column]] = {}
    for at, series in enumerate(shape):
        name = series.spec.name
        if name in _JUDGED:
            labels = dict(series.labels)
            number = labels.get("neuron_device_index") or labels.get("neuroncore", "")
            column = _Column(at, series.labels, number, series.split_value, series.start_value)
            columns.setdefault(name, []).append(column)
    return columns


def _listed(noun: str, names: Iterable[str]) -> str:
    """Return names as text, such as `devices 0, 1, 2, 3 and 12 more`."""
    listed = list(dict.fromkeys(names))
    more = len(listed) - MAX_LISTED
    text = ", ".join(listed[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
    return f"{noun if len(listed) == 1 else noun + 's'} {text}"
