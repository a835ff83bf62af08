"""What is wrong with the machine now: `problems` of the document, the worst first.

Reports are judged when they arrive, because problems have a history, whether or not a client asks.
Source and sinks are judged on request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from neuron_exporter.daemon.report_judge import ActiveProblem, ReportJudge
from neuron_exporter.facts.problems import (
    BY_REASON,
    CRASH_LOOP_RESTARTS,
    CRASH_LOOP_SECONDS,
    HARMLESS_RESTARTS,
    SINK_FAILING_SECONDS,
    Problem,
)
from neuron_exporter.model import Snapshot, SourceState, Timestamp
from neuron_exporter.pipeline.processor import ReportProcessor

SIMULATED = Problem("simulated", 0, "info", "simulated: no value is measured on this machine now")
"""On the page only: to a rule, a simulated machine is like any other."""

_PROBLEMS = {**BY_REASON, SIMULATED.reason: SIMULATED}
_NO_HARDWARE = (SourceState.MISSING_PROGRAM, SourceState.NO_DRIVER)
_SILENT_BY_INTENT = (SourceState.STARTING, SourceState.PAUSED)


class ProblemMonitor:
    """Judge of a processor's reports, source and sinks: itself a sink that publishes nothing.
    Thread-safe."""

    name = "problems"

    def __init__(self, processor: ReportProcessor, started: float) -> None:
        """`started` is the Unix time at which the exporter started."""
        self._processor = processor
        self._started = self._reported_at = started
        self._lock = threading.Lock()
        self._reports = ReportJudge()
        processor.add_sink(self)

    def offer(self, snapshot: Snapshot) -> None:
        """Judge a report."""
        with self._lock:
            self._reports.judge(snapshot)
        if snapshot.health.alive:
            self._reported_at = snapshot.taken_at.wall

    def current(
        self,
        sinks: Mapping[str, Mapping[str, Any]],
        *,
        is_fresh: bool,
        is_simulated: bool,
        now: float,
    ) -> list[dict[str, Any]]:
        """Return the problems as JSON values. A report that is too old shows none.

        Args:
            sinks: the status of each sink, as in the document.
            now: the time in seconds of the monotonic clock.
        """
        found = [*self._source(is_fresh), *self._restarts(now), *self._sinks(sinks, time.time())]
        if is_fresh:
            with self._lock:
                found += self._reports.problems
        if is_simulated:
            found.append(ActiveProblem(SIMULATED.reason, "", self._started))
        return [_as_json(each) for each in sorted(found, key=_badness)]

    def _source(self, is_fresh: bool) -> Iterator[ActiveProblem]:
        status = self._processor.status()
        if status.state in _SILENT_BY_INTENT or (is_fresh and status.state not in _NO_HARDWARE):
            return
        detail = ": ".join(filter(None, (status.state.replace("_", " "), status.reason)))
        yield ActiveProblem("source_down", detail, self._reported_at)

    def _restarts(self, now: float) -> Iterator[ActiveProblem]:
        crashes = [
            each for each in list(self._processor.restarts) if each[1] not in HARMLESS_RESTARTS
        ]
        recent = [reason for at, reason in crashes if now - at.monotonic <= CRASH_LOOP_SECONDS]
        if len(recent) >= CRASH_LOOP_RESTARTS:
            reasons = ", ".join(dict.fromkeys(each.replace("_", " ") for each in recent))
            detail = f"{len(recent)} restarts in {CRASH_LOOP_SECONDS // 60} min: {reasons}"
            yield ActiveProblem("crash_loop", detail, loop_begin([at for at, _ in crashes]))

    def _sinks(self, sinks: Mapping[str, Mapping[str, Any]], now: float) -> Iterator[ActiveProblem]:
        for name, sink in sinks.items():
            failing_since = sink.get("failing_since")
            if failing_since is not None and now - failing_since >= SINK_FAILING_SECONDS:
                since = sink["last_success_at"] or self._started
                yield ActiveProblem("sink_failing", f"{name}: {sink['state']}", since)


def loop_begin(crashes: list[Timestamp]) -> float:
    """Return the Unix time of the first crash that belongs to the loop of the last ones."""
    begin = len(crashes) - 1
    span = CRASH_LOOP_RESTARTS - 1
    for at in range(len(crashes) - 1 - span, -1, -1):
        if crashes[at + span].monotonic - crashes[at].monotonic > CRASH_LOOP_SECONDS:
            break
        begin = at
    return crashes[begin].wall


def _badness(active: ActiveProblem) -> int:
    return -_PROBLEMS[active.reason].rank


def _as_json(active: ActiveProblem) -> dict[str, Any]:
    problem = _PROBLEMS[active.reason]
    return {
        "reason": problem.reason,
        "severity": active.severity or problem.severity,
        "text": problem.text,
        "detail": active.detail,
        "since": round(active.since, 3),
    }
