"""A simulated machine: gives the reports that neuron-monitor would print on it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from neuron_exporter.model import Group
from neuron_exporter.simulator.context import Output
from neuron_exporter.simulator.options import Options
from neuron_exporter.simulator.process_faults import Periods
from neuron_exporter.simulator.processes import Process, Room, Work, helpers, processes
from neuron_exporter.simulator.runtime_section import runtime
from neuron_exporter.simulator.schedule import Plan, Turn
from neuron_exporter.simulator.system_section import (
    hardware_info,
    instance_info,
    kubernetes_info,
    system_data,
)


class Machine:
    """The reports of one run, in order; the same options give the same ones.

    Ask for each report once, in order, as itself or as what is written of it.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._hardware = options.hardware
        self._room = Room(self._hardware.cores, self._hardware.core_memory, self._hardware.memory)
        self._plan = Plan(options)
        self._staying: list[Process] = []
        self._rollout = -1
        self._times = _times(options.periods.values())
        self.next_at = next(self._times, None)
        """Seconds from the start to the next report; None when there will be none."""

    def report(self, number: int) -> dict[str, Any]:
        """The report of this number, counted from 0."""
        return self._report(self._turn(number))

    def output(self, number: int) -> Output:
        """What is written at the time of this report."""
        turn = self._turn(number)
        line = json.dumps(self._report(turn), separators=(",", ":")).encode() + b"\n"
        output = Output(line)
        for fault, now in turn.faults:
            output = fault.output(output, now)
        return output

    def _turn(self, number: int) -> Turn:
        at, self.next_at = self.next_at or 0, next(self._times, None)
        return self._plan.turn(number, at)

    def _report(self, turn: Turn) -> dict[str, Any]:
        rng = random.Random(f"{self._options.seed}:{turn.number}")  # noqa: S311 (a simulation)
        covered = self._covered(turn, rng)
        work = [
            (process, covers, self._work(turn, process, covers))
            for process in self._running(turn)
            for covers in [self._covered_by(process, turn, covered)]
        ]
        report = {
            "neuron_runtime_data": [
                runtime(self._hardware, process, done, covers) for process, covers, done in work
            ],
            "system_data": system_data(
                self._hardware, turn.scenario, [done for _, _, done in work], covered, rng
            ),
            "instance_info": instance_info(self._hardware, self._options.seed),
            "neuron_hardware_info": hardware_info(self._hardware),
        }
        if self._options.kubernetes:
            running = [process for process, _, _ in work]
            period = max(covered.values(), default=0.0)
            report["neuron_k8s_info"] = kubernetes_info(self._hardware, running, period)
        for fault, now in turn.faults:
            fault.report(report, now)
        return report

    def _covered(self, turn: Turn, rng: random.Random) -> Periods:
        """The seconds that each group covers, of those that are due."""
        wanted = {
            group: float(period)
            for group, period in self._options.periods.items()
            if turn.at % period == 0
        }
        covered: Periods = {
            group: period + rng.gauss(0, 0.0004) for group, period in wanted.items()
        }
        if turn.number == 0:
            # The first report comes at once and covers next to nothing.
            covered = _short(wanted, rng)
            if not self._options.own_configuration:
                covered.pop(Group.VCPU_USAGE, None)
        for fault, now in turn.faults:
            covered = fault.periods(covered, wanted, now)
        return covered

    def _covered_by(self, process: Process, turn: Turn, covered: Periods) -> Periods:
        """What the groups of a process cover: one that has just come was seen for moments only."""
        if turn.number == 0 or process.born != turn.number:
            return covered
        return _short(covered, self._chance(process, turn, "first"))

    def _running(self, turn: Turn) -> list[Process]:
        if turn.rollout != self._rollout:
            self._rollout = turn.rollout
            self._staying = [
                process._replace(born=turn.number)
                for process in processes(
                    turn.scenario.kinds,
                    turn.runtimes,
                    turn.scenario.sharing,
                    self._room,
                    self._options.seed,
                    turn.rollout,
                )
            ]
        running = [*self._staying]
        if turn.scenario.helpers:
            running += helpers(turn.number, self._room, self._options.seed)
        if (tag := self._options.tag) is not None:
            running = [process._replace(tag=tag) for process in running]
        for fault, now in turn.faults:
            running = fault.processes(running, now)
        return running

    def _work(self, turn: Turn, process: Process, covered: Periods) -> Work:
        span = covered.get(Group.EXECUTION_STATS, 0.0)
        work = process.work(turn.number, span, self._chance(process, turn, "work"))
        for fault, now in turn.faults:
            work = fault.work(work, process, now)
        return work

    def _chance(self, process: Process, turn: Turn, of: str) -> random.Random:
        """A process's own chance: what others do, and who they are, changes nothing for it."""
        return random.Random(f"{self._options.seed}:{process.pid}:{turn.number}:{of}")  # noqa: S311


def _short(groups: Iterable[Group], rng: random.Random) -> dict[Group, float]:
    return {group: 0.0005 + 0.06 * rng.random() for group in groups}


def _times(periods: Iterable[int]) -> Iterator[int]:
    """When some group is due, in seconds from the start."""
    known = set(periods)
    at = 0
    while known:
        yield at
        at = min(at - at % period + period for period in known)
