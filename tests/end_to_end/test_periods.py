"""A piped neuron-monitor, whose periods the exporter did not choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import exporter as exporter_process
from tests.support.patched import patched
from tests.support.piped import PipedExporter, piped_exporter
from tests.support.reports import cores, ecc, executions, group, memory, report, runtime
from tests.support.waiting import wait_for

CPU = {"user": 10, "nice": 0, "system": 5, "io_wait": 0, "irq": 0, "soft_irq": 0}
UP = "neuron_exporter_up"


class SteppedPipe:
    """A piped exporter whose monotonic clock the test sets ahead."""

    def __init__(self, piped: PipedExporter, clock: Path) -> None:
        self.exporter = piped.exporter
        self._piped = piped
        self._clock = clock
        self._ahead = 0.0

    def send(self, period: float, *runtimes: dict[str, Any]) -> None:
        """Send a report of this period."""
        usage = group(period=period, average_usage=CPU)
        self._piped.send(report(*runtimes, system_data={"vcpu_usage": usage}))

    def wait(self, seconds: float) -> float | None:
        """Let this time pass, and return whether the source is up."""
        self._ahead += seconds
        new = self._clock.with_suffix(".new")
        new.write_text(str(self._ahead))
        new.rename(self._clock)
        return self.exporter.value(UP)

    def shows_cpu(self) -> bool:
        """Return whether CPU shares are shown."""
        return bool(self.exporter.families()["system_vcpu_usage_ratio"].samples)

    def states(self) -> list[str]:
        """Return the states of the source so far."""
        return [event["state"] for event in self.exporter.events("source_state")]


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SteppedPipe]:
    """Yield a running exporter at the start of its pipe."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("stepping-monotonic-clock"))
    with piped_exporter(tmp_path, environment={"MONOTONIC_AHEAD": str(clock)}) as piped:
        yield SteppedPipe(piped, clock)


def test_start_of_a_pipe_with_a_long_period(pipe: SteppedPipe) -> None:
    """The start-up report shows neither the period nor CPU shares; silence is noticed later."""
    pipe.send(0.05)
    assert not pipe.shows_cpu()
    for _ in range(3):
        assert pipe.wait(29) == 1
        pipe.send(30)
        assert pipe.shows_cpu()
    assert pipe.wait(89) == 1
    assert pipe.states() == ["ok"]
    assert pipe.wait(30) == 0
    wait_for(lambda: pipe.states() == ["ok", "stalled"])


def test_pipe_that_ends_its_reports_at_the_start(pipe: SteppedPipe) -> None:
    pipe.send(0.05)
    assert pipe.wait(60) == 1
    assert pipe.wait(16) == 0
    wait_for(lambda: pipe.states() == ["ok", "stalled"])


def test_piped_period_that_becomes_longer(pipe: SteppedPipe) -> None:
    """The first report of the new period shows that the next one is due after a minute."""
    for _ in range(20):
        pipe.send(1)
        assert pipe.wait(1) == 1
    assert pipe.wait(59) == 0
    for _ in range(3):
        pipe.send(60)
        assert pipe.wait(60) == 1
        pipe.exporter.wait_for_value(UP, 1)


def test_first_runtime_of_a_pipe_with_a_long_period(pipe: SteppedPipe) -> None:
    """It covers only the time since its start, which is not the time to the next report."""
    pipe.send(0.05)
    pipe.send(30)
    pipe.wait(30)
    pipe.send(30, runtime(neuroncore_counters={**cores(_0=50), "period": 2.0}))
    assert pipe.wait(29) == 1
    pipe.send(30)
    assert pipe.wait(89) == 1
    assert pipe.states() == ["ok"]


def left_out(due: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """Return the sections of a line that leaves out what is not due."""
    return due


def null(due: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """Return the sections of a line in which is null what is not due."""
    return {**dict.fromkeys(last), **due}


def repeated(due: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """Return the sections of a line that repeats what is not due."""
    return {**last, **due}


@pytest.mark.parametrize("line", [left_out, null, repeated])
def test_groups_with_periods_of_their_own(
    tmp_path: Path, line: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
) -> None:
    """AWS's example: CPUs each second, hardware every 2 s, runtimes every 5 s."""
    last: dict[str, Any] = {}
    with piped_exporter(tmp_path, {"prometheus": {"preset": "full"}}) as piped:
        for second in range(31):
            jitter = second / 1e6
            due: dict[str, Any] = {"vcpu_usage": group(period=1 - jitter, average_usage=CPU)}
            if second % 2 == 0:
                due["neuron_hw_counters"] = {**ecc({}, {}), "period": 2 + jitter}
            if second % 5 == 0:
                groups = {
                    "neuroncore_counters": cores(_0=50, _1=0, _2=0, _3=0),
                    "memory_used": memory({"0": {"tensors": 5}}),
                    "execution_stats": executions(4, {"p50": 0.1}),
                }
                timed = {name: {**each, "period": 5 + jitter} for name, each in groups.items()}
                due["neuron_runtime_data"] = [runtime(1, "app", "", **timed)]
            sections = line(due, last)
            last.update(due)
            system = {name: each for name, each in sections.items() if "runtime" not in name}
            document = report(system_data=system)
            del document["neuron_runtime_data"]
            if "neuron_runtime_data" in sections:
                document["neuron_runtime_data"] = sections["neuron_runtime_data"]
            piped.send(document)
            page = piped.exporter.families()
            assert len(page["system_vcpu_usage_ratio"].samples) == 2
            assert len(page["neuroncore_utilization_ratio"].samples) == 4
            assert len(page["neurondevice_ecc_reading"].samples) == 8
            assert len(page["execution_latency_seconds"].samples) == 1
        completed = piped.exporter.value("neuron_executions_total", status_type="completed")
        assert completed == 7 * 4
