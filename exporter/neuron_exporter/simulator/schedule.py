"""What happens when: the flags and the script, report by report."""

from __future__ import annotations

import random
from typing import NamedTuple

from neuron_exporter.simulator.context import Now
from neuron_exporter.simulator.faults import FAULTS, Fault, When
from neuron_exporter.simulator.options import Options
from neuron_exporter.simulator.scenarios import SCENARIOS, Scenario

_CHANCE = 0.2


class Turn(NamedTuple):
    """One report: its number and its time, what goes on, and which faults happen.

    `rollout` counts the changes of scenario and runtimes: each is made by other processes.
    """

    number: int
    at: float
    scenario: Scenario
    runtimes: int
    rollout: int
    faults: tuple[tuple[Fault, Now], ...]


class _Occurrence(NamedTuple):
    """A fault from a report (counted from 1) or a second on, once or until a second."""

    fault: Fault
    report: int
    at: float
    until: float
    when: When


class Plan:
    """The turns of one run. To be asked for each, in their order."""

    def __init__(self, options: Options) -> None:
        self._options = options
        order = list(FAULTS)
        self._occurrences = sorted(
            [*_asked_for(options), *_scripted(options)],
            key=lambda each: order.index(each.fault.name),
        )
        self._began: dict[int, float] = {}

    def turn(self, number: int, at: float) -> Turn:
        """The turn of this report, which is due at this second."""
        name, runtimes, rollout = self._options.scenario, self._options.runtimes, 0
        for step in self._options.script:
            if step.at <= at and (step.scenario is not None or step.runtimes is not None):
                name = step.scenario or name
                runtimes = runtimes if step.runtimes is None else step.runtimes
                rollout += 1
        scenario = SCENARIOS[name]
        return Turn(
            number=number,
            at=at,
            scenario=scenario,
            runtimes=scenario.runtimes if runtimes is None else runtimes,
            rollout=rollout,
            faults=tuple(self._happening(number, at)),
        )

    def _happening(self, number: int, at: float) -> list[tuple[Fault, Now]]:
        found = []
        for index, each in enumerate(self._occurrences):
            if number + 1 < each.report or at < each.at or at >= each.until:
                continue
            first = index not in self._began
            began = self._began.setdefault(index, at)
            rng = random.Random(f"{self._options.seed}:{each.fault.name}:{number}")  # noqa: S311
            happens = (
                first
                if each.when in (When.ONCE, When.FIRST)
                else each.when is When.ON or rng.random() < _CHANCE
            )
            if happens:
                found.append((each.fault, Now(number, at - began, self._options.seed, rng)))
        return found


_EVER = float("inf")


def _asked_for(options: Options) -> list[_Occurrence]:
    rng = random.Random(f"{options.seed}:faults")  # noqa: S311 (a simulation)
    made = []
    for asked in options.faults:
        fault = FAULTS[asked.name]
        when, report = fault.when, asked.report
        if report is None:
            report = rng.randrange(5, 16) if when is When.ONCE else 1
        elif when is When.OFTEN:
            when = When.ONCE
        made.append(_Occurrence(fault, report, 0.0, _EVER, when))
    return made


def _scripted(options: Options) -> list[_Occurrence]:
    made = []
    for step in options.script:
        for name in step.faults:
            fault = FAULTS[name]
            often = fault.when is When.OFTEN and step.lasting is None
            until = _EVER if step.lasting is None else step.at + step.lasting
            when = When.ONCE if often else fault.when
            made.append(_Occurrence(fault, 1, step.at, until, when))
    return made
