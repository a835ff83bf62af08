"""Schedule of a run: what the flags and the script mean for each report."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from neuron_exporter.simulator.context import FaultContext
from neuron_exporter.simulator.faults import FAULTS, Fault, Timing
from neuron_exporter.simulator.options import Options
from neuron_exporter.simulator.scenarios import SCENARIOS, Scenario

_REPEAT_PROBABILITY = 0.2


class ReportPlan(NamedTuple):
    """Scenario, processes and faults of one report.

    `at` is its time in seconds. `rollout` counts the changes of scenario and runtimes; each change
    starts new processes.
    """

    number: int
    at: float
    scenario: Scenario
    runtimes: int
    rollout: int
    faults: tuple[tuple[Fault, FaultContext], ...]


class _Occurrence(NamedTuple):
    """A requested fault, from a report (counted from 1) or a time on, up to a time (s)."""

    fault: Fault
    report: int
    at: float
    until: float
    timing: Timing


class Schedule:
    """Plans of the reports of one run. Call `plan` for each report, in order."""

    def __init__(self, options: Options) -> None:
        self._options = options
        order = list(FAULTS)
        self._occurrences = sorted(
            [*_from_flags(options), *_from_script(options)],
            key=lambda each: order.index(each.fault.name),
        )
        self._began: dict[int, float] = {}

    def plan(self, number: int, at: float) -> ReportPlan:
        """Return the plan of a report that is due at this time, in seconds."""
        name, runtimes, rollout = self._options.scenario, self._options.runtimes, 0
        for step in self._options.script:
            if step.at <= at and (step.scenario is not None or step.runtimes is not None):
                name = step.scenario or name
                runtimes = runtimes if step.runtimes is None else step.runtimes
                rollout += 1
        scenario = SCENARIOS[name]
        return ReportPlan(
            number=number,
            at=at,
            scenario=scenario,
            runtimes=scenario.runtimes if runtimes is None else runtimes,
            rollout=rollout,
            faults=tuple(self._faults(number, at)),
        )

    def _faults(self, number: int, at: float) -> list[tuple[Fault, FaultContext]]:
        found = []
        for index, each in enumerate(self._occurrences):
            if number + 1 < each.report or at < each.at or at >= each.until:
                continue
            first = index not in self._began
            began = self._began.setdefault(index, at)
            rng = random.Random(f"{self._options.seed}:{each.fault.name}:{number}")
            occurs = (
                first
                if each.timing in (Timing.ONCE, Timing.FIRST)
                else each.timing is Timing.LASTING or rng.random() < _REPEAT_PROBABILITY
            )
            if occurs:
                context = FaultContext(number, at - began, self._options.seed, rng)
                found.append((each.fault, context))
        return found


def _from_flags(options: Options) -> list[_Occurrence]:
    rng = random.Random(f"{options.seed}:faults")
    occurrences = []
    for requested in options.faults:
        fault = FAULTS[requested.name]
        timing, report = fault.timing, requested.report
        if report is None:
            report = rng.randrange(5, 16) if timing is Timing.ONCE else 1
        elif timing is Timing.REPEATED:
            timing = Timing.ONCE
        occurrences.append(_Occurrence(fault, report, 0.0, math.inf, timing))
    return occurrences


def _from_script(options: Options) -> list[_Occurrence]:
    occurrences = []
    for step in options.script:
        for name in step.faults:
            fault = FAULTS[name]
            once = fault.timing is Timing.REPEATED and step.duration is None
            until = math.inf if step.duration is None else step.at + step.duration
            timing = Timing.ONCE if once else fault.timing
            occurrences.append(_Occurrence(fault, 1, step.at, until, timing))
    return occurrences
