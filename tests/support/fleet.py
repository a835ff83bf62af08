"""Machines of a fleet that publish for hours, in a moment: all but the time is real."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from neuron_exporter.config import Given, load
from neuron_exporter.model import Group, Moment
from neuron_exporter.pipeline.build import build
from neuron_exporter.simulator.context import Then
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
START = 1_000_000 * 1800
"""When it all begins (Unix s): on a boundary of every period that alarms are tried with."""

PERIOD = 30


def publish(
    config: Path,
    url: str,
    minutes: float,
    machines: Iterable[Sequence[str]],
    *settings: tuple[str, object],
    start: float = START,
    period: int = PERIOD,
) -> float:
    """Let each machine (the simulator's flags of it) run with this configuration; gives the end.

    The reports are the simulator's, everything behind them is the exporter's, up to botocore's
    client, whose credentials have to be in the environment.
    """
    end = start + 60 * minutes
    flags = [
        Given("test", key, value)
        for key, value in (
            ("cloudwatch.endpoint_url", url),
            ("cloudwatch.region", "us-east-1"),
            ("cloudwatch.spool.path", None),
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
    flags: Iterable[Given],
    options: Sequence[str],
    start: float,
    end: float,
    period: int,
) -> None:
    now = [start]
    pipeline = build(load(str(config), {}, flags), environment={}, clock=lambda: now[0])
    assert pipeline.cloudwatch is not None
    machine = Machine(parse(list(options))._replace(periods=dict.fromkeys(Group, period)))
    speaks = True
    for number in range(int((end - start) / period)):
        output = machine.output(number)
        speaks = speaks and output.then is Then.GO_ON
        if speaks:
            pipeline.intake.line(memoryview(output.stdout), Moment(now[0], now[0]))
        now[0] += period
        pipeline.cloudwatch.step()
    now[0] = end + 2 * pipeline.config.cloudwatch.flush_interval
    pipeline.cloudwatch.step()
    pipeline.cloudwatch.start()
    assert pipeline.cloudwatch.close(5)
