"""Source that runs neuron-monitor as a child process and restarts it when it fails.

Every failure (missing program, failed start, exit, closed output, silence, garbage) is followed by
a restart after a delay that doubles each time; a report resets the delay. A pause is not a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from neuron_exporter import run_directory
from neuron_exporter.facts.problems import RestartReason
from neuron_exporter.model import Group, SourceState
from neuron_exporter.source.child import Backoff, Child, SpawnError
from neuron_exporter.source.environment import child_environment
from neuron_exporter.source.stream import ReadResult, SourceListener, Stream, WakeupPipe
from neuron_exporter.source.watchdog import Watchdog

RUNTIME_GROUPS = (
    Group.NEURONCORE_COUNTERS,
    Group.MEMORY_USED,
    Group.RUNTIME_VCPU_USAGE,
    Group.EXECUTION_STATS,
)
SYSTEM_GROUPS = (Group.VCPU_USAGE, Group.MEMORY_INFO, Group.HW_COUNTERS)

_MAX_WAIT = 10.0  # an ended child whose output stays open is noticed within two of these
_TICK = 2.0
_STOP_TIMEOUT = 1.0
_EXIT_TIMEOUT = 0.5
_LAST_REPORT_TIMEOUT = 10.0
_MISSING_ADVICE = (
    "install aws-neuronx-tools or set source.command; `neuron-exporter doctor` checks this machine"
)
_PAUSE_DETAIL = "by SIGUSR1; another SIGUSR1 resumes it"


def configuration(groups: Iterable[Group], period: float) -> dict[str, object]:
    """Return a neuron-monitor configuration with these groups, all at one period (whole seconds).

    All groups share one period because neuron-monitor does not document what a report contains for
    a group that is not due.
    """
    groups = set(groups)
    document: dict[str, object] = {"period": f"{int(period)}s"}
    runtime = [{"type": group.value} for group in RUNTIME_GROUPS if group in groups]
    if runtime:
        document["neuron_runtimes"] = [{"tag_filter": ".*", "metrics": runtime}]
    document["system_metrics"] = [
        {"type": group.value} for group in SYSTEM_GROUPS if group in groups
    ]
    return document


class NeuronMonitorSource:
    """Supervisor of a neuron-monitor child process."""

    def __init__(
        self,
        command: Sequence[str],
        groups: Iterable[Group],
        period: float,
        max_line: int,
        *,
        environment: Mapping[str, str | None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Prepare the child.

        Args:
            environment: variables for the child beyond the allow-list (`child_environment`).
        """
        self._command = list(command)
        self._environment = environment or {}
        self._name = Path(command[0]).name
        self._period = period
        self._max_line = max_line
        self._backoff = backoff or Backoff()
        self._wakeup = WakeupPipe()
        self.request_groups(groups)
        self._paused = False
        self._last_stderr_line = ""

    def run(self, listener: SourceListener) -> None:
        """Run neuron-monitor, and restart it whenever it fails, until `stop`."""
        while not self._wakeup.stop_requested():
            if self._paused:
                self._pause(listener)
                continue
            state, reason, detail = self._run_once(listener)
            if self._wakeup.stop_requested():
                return
            if reason is None or self._paused:
                continue  # a child that a driver reset ends during a pause has not failed
            if reason is RestartReason.RECONFIGURED:
                listener.on_restart(reason.value, 0.0)
                continue
            listener.on_state(state, detail)
            delay = self._backoff.next()
            listener.on_restart(reason.value, delay)
            until = time.monotonic() + delay
            while (left := until - time.monotonic()) > 0 and not self._interrupted():
                self._wakeup.wait(min(left, _TICK))
                listener.on_tick()

    def request_groups(self, groups: Iterable[Group]) -> None:
        """Make neuron-monitor report these groups. Thread-safe.

        If they differ from the current ones, the child is replaced after its next report or after
        10 s. No report covers the time between the two children.
        """
        self._configuration = json.dumps(configuration(groups, self._period))
        self._wakeup.wake()

    def stop(self) -> None:
        """Make `run` end the child and return."""
        self._wakeup.request_stop()

    def pause_or_resume(self) -> bool:
        """End the child and start no other until the next call. Return whether it is now paused.

        Once the state is `PAUSED`, the child has ended and no longer has a device open.
        """
        self._paused = not self._paused
        self._wakeup.wake()
        return self._paused

    def _interrupted(self) -> bool:
        """Return whether a stop or a pause was requested."""
        return self._wakeup.stop_requested() or self._paused

    def _pause(self, listener: SourceListener) -> None:
        listener.on_state(SourceState.PAUSED, _PAUSE_DETAIL)
        while self._interrupted() and not self._wakeup.wait(_TICK):
            listener.on_tick()
        if not self._wakeup.stop_requested():
            self._backoff.reset()
            listener.on_state(SourceState.STARTING, "after a pause")

    def _run_once(self, listener: SourceListener) -> tuple[SourceState, RestartReason | None, str]:
        """Run one child to its end. Return the resulting state, the reason, and a description.

        The reason is None if a pause or a stop was requested.
        """
        environment = child_environment(os.environ, self._environment)
        name = self._command[0]
        program = shutil.which(name, path=environment["PATH"])
        if program is None and os.path.exists(name) and os.sep in name:
            program = name  # not executable: starting it yields the exact error
        if program is None:
            where = "" if os.sep in name else f" in {environment['PATH']}"
            detail = f"{name}: no such program{where}; {_MISSING_ADVICE}"
            return SourceState.MISSING_PROGRAM, RestartReason.MISSING_PROGRAM, detail
        self._last_stderr_line = ""

        def on_stderr(line: str) -> None:
            self._last_stderr_line = line
            listener.on_stderr(line)

        configuration = self._configuration
        try:
            # Each child has a new file: a system may delete old ones from its temporary directory.
            with _temporary_file(configuration) as path:
                child = Child([program, *self._command[1:], "-c", path], environment, on_stderr)
                try:
                    state, reason = self._watch(child, listener, configuration)
                finally:
                    status = self._end(child, listener)
        except SpawnError as error:
            return SourceState.EXITED, RestartReason.SPAWN_ERROR, str(error)
        return state, reason, self._describe(reason, status)

    def _watch(
        self, child: Child, listener: SourceListener, configuration: str
    ) -> tuple[SourceState, RestartReason | None]:
        """Read from the child until it ends or must be ended. Return the state and the reason."""
        stream = Stream(child.stdout, self._max_line, listener, self._wakeup)
        watchdog = Watchdog(self._period)
        last_report, outdated_since = None, None
        has_ended, check_at = False, time.monotonic() + _MAX_WAIT
        while not self._interrupted():
            due = watchdog.deadline(stream)
            if outdated_since is not None:
                due = min(due, outdated_since + _LAST_REPORT_TIMEOUT)
            result = stream.read_available(max(0.0, min(_MAX_WAIT, due - time.monotonic())))
            listener.on_tick()
            reported = stream.last_report != last_report
            if reported:
                last_report = stream.last_report
                self._backoff.reset()
            if configuration == self._configuration:
                outdated_since = None
            elif outdated_since is None:
                outdated_since = time.monotonic()
            elif reported or time.monotonic() >= outdated_since + _LAST_REPORT_TIMEOUT:
                # Ending the child right after a report loses no counts of an unfinished period.
                return SourceState.STARTING, RestartReason.RECONFIGURED
            if result is ReadResult.END:
                stream.finish()
                return SourceState.EXITED, self._exit_reason(child)
            if result is ReadResult.SILENCE:
                self._wakeup.drain()
                if child.ended():
                    # A process that the child started still has the pipe open.
                    return SourceState.EXITED, RestartReason.EXITED
            elif time.monotonic() >= check_at:
                if has_ended:  # and what it wrote was read since: another process writes
                    return SourceState.EXITED, RestartReason.EXITED
                has_ended, check_at = child.ended(), time.monotonic() + _MAX_WAIT
            problem = watchdog.check(stream, time.monotonic())
            if problem is not None:
                return problem, RestartReason(problem.value)
        return SourceState.EXITED, None

    def _end(self, child: Child, listener: SourceListener) -> int | None:
        """End the child and return its exit status. Keep trying, so that two never run."""
        status = child.stop(_STOP_TIMEOUT)
        while status is None and not self._wakeup.wait(_TICK):
            listener.on_state(SourceState.STALLED, f"{self._name} does not end, even when killed")
            listener.on_tick()
            status = child.stop(0)
        return status

    def _exit_reason(self, child: Child) -> RestartReason:
        """Return `exited`, or `end_of_file` if the child closed its output and still runs."""
        until = time.monotonic() + _EXIT_TIMEOUT
        while time.monotonic() < until and not self._wakeup.wait(0.02):
            if child.ended():
                return RestartReason.EXITED
        return RestartReason.END_OF_FILE

    def _describe(self, reason: RestartReason | None, status: int | None) -> str:
        match reason:
            case RestartReason.EXITED if status is not None and status < 0:
                description = f"{self._name} was ended by signal {-status}"
            case RestartReason.EXITED:
                description = f"{self._name} exited with status {status}"
            case RestartReason.END_OF_FILE:
                description = f"{self._name} closed its output"
            case RestartReason.GARBAGE:
                description = f"{self._name} prints lines that are not reports"
            case _:
                description = f"{self._name} printed no report in time"
        if self._last_stderr_line:
            description += f"; last stderr line: {self._last_stderr_line}"
        return description


def _private_directory() -> str | None:
    """Return the exporter's own directory, or None for that of all temporary files."""
    with suppress(OSError):
        return run_directory.create() if run_directory.own_directory() else None
    return None


@contextmanager
def _temporary_file(text: str) -> Iterator[str]:
    """Write the text to a temporary file and yield its path."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix=run_directory.TEMPORARY,
                    dir=_private_directory(),
                    ignore_cleanup_errors=True,
                )
            )
            path = Path(folder) / "neuron-monitor.json"
            path.write_text(text)
        except OSError as error:
            reason = error.strerror or error
            raise SpawnError(f"cannot write the configuration file: {reason}") from error
        yield str(path)
