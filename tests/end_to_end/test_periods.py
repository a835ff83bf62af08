"""A piped neuron-monitor, whose periods the exporter did not choose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import exporter as exporter_process
from tests.support.mixed_periods import CPU, OMISSIONS, MixedReports, Omission
from tests.support.patched import SteppingClock, patched
from tests.support.piped import PipedExporter, piped_exporter
from tests.support.reports import cores, group, report, runtime
from tests.support.waiting import wait_for

UP = "neuron_exporter_up"


class SteppedPipe:
    """A piped exporter whose monotonic clock the test sets ahead."""

    def __init__(self, piped: PipedExporter, clock: SteppingClock) -> None:
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
        self._clock.set(self._ahead)
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
    clock = SteppingClock(tmp_path)
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("stepping-monotonic-clock"))
    with piped_exporter(tmp_path, environment=clock.environment) as piped:
        yield SteppedPipe(piped, clock)


def test_start_of_a_pipe_with_a_long_period(pipe: SteppedPipe) -> None:
    """The start-up report shows neither the period nor CPU shares; silence is noticed later."""
    pipe.send(0.05)
    assert not pipe.shows_cpu()
    for _ in range(3):
        assert pipe.wait(29) == 1
        pipe.send(30)
        assert pipe.shows_cpu()
    assert pipe.wait(80) == 1
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
    assert pipe.wait(80) == 1
    assert pipe.states() == ["ok"]


@pytest.mark.parametrize("omit", OMISSIONS)
def test_groups_with_periods_of_their_own(tmp_path: Path, omit: Omission) -> None:
    reports = MixedReports(omit, seconds=60)  # much longer than any machine takes for a report
    with piped_exporter(tmp_path, {"prometheus": {"preset": "full"}}) as piped:
        for _ in range(31):
            piped.send(reports.next())
            page = piped.exporter.families()
            assert len(page["system_vcpu_usage_ratio"].samples) == 2
            assert len(page["neuroncore_utilization_ratio"].samples) == 4
            assert len(page["neurondevice_ecc_reading"].samples) == 8
            assert len(page["execution_latency_seconds"].samples) == 1
        completed = piped.exporter.value("neuron_executions_total", status_type="completed")
        assert completed == 7 * 4
