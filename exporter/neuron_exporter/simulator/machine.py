"""A simulated machine and its reports."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from neuron_exporter.model import Group
from neuron_exporter.simulator.context import Output
from neuron_exporter.simulator.driver import Driver
from neuron_exporter.simulator.options import Options
from neuron_exporter.simulator.process_faults import Periods
from neuron_exporter.simulator.processes import Process, Work, make_helpers, make_processes
from neuron_exporter.simulator.runtime_section import runtime_entry
from neuron_exporter.simulator.schedule import ReportPlan, Schedule
from neuron_exporter.simulator.system_section import (
    hardware_info,
    instance_info,
    kubernetes_info,
    system_data,
)


class Machine:
    """Generator of the reports of one run. The same options produce the same reports.

    Call `report` or `output` once for each report, in order.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._hardware = options.hardware
        self._schedule = Schedule(options)
        self.driver = Driver(options.hardware, options.seed) if options.sysfs else None
        """The driver, if its files are wanted."""
        self._processes: list[Process] = []
        self._rollout = -1
        self._times = _times(options.periods.values())
        self.next_at = next(self._times, None)
        """Seconds from the start to the next report; None if there is none."""

    def report(self, number: int) -> dict[str, Any]:
        """Return the report of this number, counted from 0."""
        return self._report(self._next_plan(number))

    def output(self, number: int) -> Output:
        """Return what the simulator writes at the time of this report."""
        plan = self._next_plan(number)
        line = json.dumps(self._report(plan), separators=(",", ":")).encode() + b"\n"
        output = Output(line)
        for fault, context in plan.faults:
            output = fault.output(output, context)
        return output

    def _next_plan(self, number: int) -> ReportPlan:
        at, self.next_at = self.next_at or 0, next(self._times, None)
        return self._schedule.plan(number, at)

    def _report(self, plan: ReportPlan) -> dict[str, Any]:
        rng = random.Random(f"{self._options.seed}:{plan.number}")
        periods = self._periods(plan, rng)
        processes = self._running(plan)
        work = [
            (process, own_periods, self._work(plan, process, own_periods))
            for process in processes
            if not process.has_exited
            for own_periods in [self._periods_of(process, plan, periods)]
        ]
        report = {
            "neuron_runtime_data": [
                runtime_entry(self._hardware, process, done, own) for process, own, done in work
            ],
            "system_data": system_data(
                self._hardware, plan.scenario, [done for _, _, done in work], periods, rng
            ),
            "instance_info": instance_info(self._hardware, self._options.seed),
            "neuron_hardware_info": hardware_info(self._hardware),
        }
        if self._options.kubernetes:
            period = max(periods.values(), default=0.0)
            report["neuron_k8s_info"] = kubernetes_info(self._hardware, processes, period)
        for fault, context in plan.faults:
            fault.report(report, context)
        if self.driver:
            self.driver.begin(plan.at, [(process, done) for process, _, done in work])
            for fault, context in plan.faults:
                fault.driver(self.driver, context)
            self.driver.end()
        return report

    def _periods(self, plan: ReportPlan, rng: random.Random) -> Periods:
        """Return the seconds that each group covers, for the groups that are due."""
        configured = {
            group: float(period)
            for group, period in self._options.periods.items()
            if plan.at % period == 0
        }
        periods: Periods = {
            group: period + rng.gauss(0, 0.0004) for group, period in configured.items()
        }
        if plan.number == 0:
            # neuron-monitor prints the first report at once: it covers milliseconds.
            periods = _short_periods(configured, rng)
            if not self._options.own_configuration:
                periods.pop(Group.VCPU_USAGE, None)
        for fault, context in plan.faults:
            periods = fault.periods(periods, configured, context)
        return periods

    def _periods_of(self, process: Process, plan: ReportPlan, periods: Periods) -> Periods:
        """Return the periods of a process; the first report of a new one covers milliseconds."""
        if plan.number == 0 or process.first_report != plan.number:
            return periods
        return _short_periods(periods, self._rng(process, plan, "first"))

    def _running(self, plan: ReportPlan) -> list[Process]:
        if plan.rollout != self._rollout:
            self._rollout = plan.rollout
            self._processes = make_processes(
                plan.scenario.kinds,
                plan.runtimes,
                plan.scenario.sharing,
                self._hardware,
                self._options.seed,
                plan.rollout,
                first_report=plan.number,
            )
        running = [*self._processes]
        if plan.scenario.helpers:
            running += make_helpers(plan.number, self._hardware, self._options.seed)
        if (tag := self._options.tag) is not None:
            running = [process._replace(tag=tag) for process in running]
        for fault, context in plan.faults:
            running = fault.processes(running, context)
        return running

    def _work(self, plan: ReportPlan, process: Process, periods: Periods) -> Work:
        period = periods.get(Group.EXECUTION_STATS, 0.0)
        work = process.work(plan.number, plan.at, period, self._rng(process, plan, "work"))
        for fault, context in plan.faults:
            work = fault.work(work, process, context)
        return work

    def _rng(self, process: Process, plan: ReportPlan, purpose: str) -> random.Random:
        """Return a generator of this process, so that other processes do not influence it."""
        seed = f"{self._options.seed}:{process.pid}:{plan.number}:{purpose}"
        return random.Random(seed)


def _short_periods(groups: Iterable[Group], rng: random.Random) -> dict[Group, float]:
    return {group: 0.0005 + 0.06 * rng.random() for group in groups}


def _times(periods: Iterable[int]) -> Iterator[int]:
    """Yield the times at which a group is due, in seconds from the start."""
    periods = set(periods)
    at = 0
    while periods:
        yield at
        at = min(at - at % period + period for period in periods)
