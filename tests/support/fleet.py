"""A fleet that publishes hours of data in a moment: everything but the clock is real."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from neuron_exporter.config import Override, load
from neuron_exporter.identity.machine import IdentitySource
from neuron_exporter.model import Group, Machine, Timestamp
from neuron_exporter.pipeline.build import build
from neuron_exporter.simulator.context import NextAction
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
START = 1_000_000 * 1800
"""Start of the simulation (Unix s), on a boundary of every alarm period that is tested."""

PERIOD = 30

TASK = Machine(service="inference", task_family="neuron-inference")
"""What ECS tells each exporter about its task. It is published only in sets that name it."""


def publish(
    config: Path,
    url: str,
    minutes: float,
    machines: Iterable[Sequence[str]],
    *settings: tuple[str, object],
    start: float = START,
    period: int = PERIOD,
) -> float:
    """Run each machine (its simulator flags) with this configuration, and return the end time.

    The simulator writes the reports; everything behind them is the exporter's, botocore's client
    included, which needs credentials in the environment.
    """
    end = start + 60 * minutes
    flags = [
        Override("test", key, value)
        for key, value in (
            ("cloudwatch.endpoint_url", url),
            ("cloudwatch.region", "us-east-1"),
            ("cloudwatch.spool.path", None),
            # Of a machine elsewhere: a task has all of its devices, not those of this machine.
            ("source.kind", "simulator"),
            ("source.period", f"{period}s"),
            ("identity.cluster", "here"),
            *settings,
        )
    ]
    for number, options in enumerate(machines):
        _run(config, flags, [f"--seed={number}", *options], start, end, period)
    return end


def _run(
    config: Path,
    flags: Iterable[Override],
    options: Sequence[str],
    start: float,
    end: float,
    period: int,
) -> None:
    now = [start]
    pipeline = build(load(str(config), {}, flags), environment={}, clock=lambda: now[0])
    assert pipeline.cloudwatch is not None
    pipeline.identity.update(IdentitySource.ECS, TASK)
    machine = SimulatedMachine(parse(list(options))._replace(periods=dict.fromkeys(Group, period)))
    writes = True
    for number in range(int((end - start) / period)):
        output = machine.output(number)
        writes = writes and output.next_action is NextAction.CONTINUE
        if writes:
            pipeline.processor.on_line(memoryview(output.stdout), Timestamp(now[0], now[0]))
        now[0] += period
        pipeline.cloudwatch.run_once()
    now[0] = end + 2 * pipeline.config.cloudwatch.flush_interval
    pipeline.cloudwatch.run_once()
    pipeline.cloudwatch.start()
    assert pipeline.cloudwatch.close(120)
