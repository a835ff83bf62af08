"""neuron-monitor as the source: its configuration, its environment, and its supervision.

Whatever ends a child (no program, no start, exit, end of its output, silence, garbage) leads to
one delay that doubles, and that only a report resets. A pause ends it too, and leads to none.
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

from neuron_exporter.model import Group, SourceState
from neuron_exporter.source.child import Backoff, Child, SpawnError
from neuron_exporter.source.stream import Listener, Pumped, Stream, Wake
from neuron_exporter.source.watchdog import Watchdog

TOOLS = "/opt/aws/neuron/bin"
"""Where AWS's package puts its tools, which is on PATH only in login shells."""

RUNTIME_GROUPS = (
    Group.NEURONCORE_COUNTERS,
    Group.MEMORY_USED,
    Group.RUNTIME_VCPU_USAGE,
    Group.EXECUTION_STATS,
)
SYSTEM_GROUPS = (Group.VCPU_USAGE, Group.MEMORY_INFO, Group.HW_COUNTERS)

_TICK = 1.0
_STOP_PATIENCE = 1.0
_EXIT_PATIENCE = 0.5
_LAST_REPORT_PATIENCE = 10.0
_CHILD_SHARE_OF_MEMORY = 0.6
_UNLIMITED = 2**60
_INTERRUPTED = "interrupted"
_WHY_PAUSED = "by SIGUSR1, which also ends it"
_RECONFIGURED = "reconfigured"


def configuration(groups: Iterable[Group], period: float) -> dict[str, object]:
    """neuron-monitor's configuration for these groups, all at one period (whole seconds).

    One period for all groups: what a report holds of a group that is not due is documented
    nowhere.
    """
    wanted = set(groups)
    document: dict[str, object] = {"period": f"{int(period)}s"}
    runtime = [{"type": group.value} for group in RUNTIME_GROUPS if group in wanted]
    if runtime:
        document["neuron_runtimes"] = [{"tag_filter": ".*", "metrics": runtime}]
    document["system_metrics"] = [
        {"type": group.value} for group in SYSTEM_GROUPS if group in wanted
    ]
    return document


class NeuronMonitorSource:
    """Runs neuron-monitor and keeps it running."""

    def __init__(
        self,
        command: Sequence[str],
        groups: Iterable[Group],
        period: float,
        max_line: int,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._command = list(command)
        self._name = Path(command[0]).name
        self._period = period
        self.ask_for(groups)
        self._max_line = max_line
        self._backoff = backoff or Backoff()
        self._wake = Wake()
        self._paused = False
        self._last_complaint = ""

    def run(self, listener: Listener) -> None:
        """Run children, one after the other, until `stop`."""
        while not self._wake.asked():
            if self._paused:
                self._pause(listener)
                continue
            state, reason, detail = self._live(listener)
            if self._wake.asked():
                return
            if reason == _INTERRUPTED or self._paused:
                continue  # whoever resets a driver may end its processes, too
            if reason == _RECONFIGURED:
                listener.restarting(reason, 0.0)
                continue
            listener.state(state, detail)
            delay = self._backoff.next()
            listener.restarting(reason, delay)
            until = time.monotonic() + delay
            while (left := until - time.monotonic()) > 0 and not self._interrupted():
                self._wake.wait(min(left, _TICK))
                listener.tick()

    def ask_for(self, groups: Iterable[Group]) -> None:
        """Ask for these groups. If others were asked for, the child is ended after its next report,
        or 10 s, and another is started: what happens between the two is in no report. May be called
        from any thread."""
        self._configuration = json.dumps(configuration(groups, self._period))

    def stop(self) -> None:
        """Make `run` end the child and return."""
        self._wake.ask()

    def pause_or_resume(self) -> bool:
        """End the child and start no other until this is called again; gives whether it is paused.

        When the state has become `PAUSED`, the child has ended and holds no device open.
        """
        self._paused = not self._paused
        self._wake.rouse()
        return self._paused

    def _interrupted(self) -> bool:
        """Whether somebody wants it to stop, or to pause."""
        return self._wake.asked() or self._paused

    def _pause(self, listener: Listener) -> None:
        listener.state(SourceState.PAUSED, _WHY_PAUSED)
        while self._interrupted() and not self._wake.wait(_TICK):
            listener.tick()
        if not self._wake.asked():
            self._backoff.reset()
            listener.state(SourceState.STARTING, "after a pause")

    def _live(self, listener: Listener) -> tuple[SourceState, str, str]:
        """One child's life; gives the state that its end leaves, the reason, and a sentence."""
        environment = child_environment(os.environ)
        name = self._command[0]
        program = shutil.which(name, path=environment["PATH"])
        if program is None and os.path.exists(name) and os.sep in name:
            program = name  # the attempt to start it says what is wrong with it
        if program is None:
            where = "" if os.sep in name else f" in {environment['PATH']}"
            return (
                SourceState.MISSING_PROGRAM,
                "missing_program",
                f"{name}: no such program{where}",
            )
        self._last_complaint = ""

        def on_stderr(line: str) -> None:
            self._last_complaint = line
            listener.stderr(line)

        asked = self._configuration
        try:
            # Written anew for each child: folders of temporary files are cleaned after some days.
            with _temporary_file(asked) as path:
                child = Child([program, *self._command[1:], "-c", path], environment, on_stderr)
                try:
                    state, reason = self._watch(child, listener, asked)
                finally:
                    status = self._end(child, listener)
        except SpawnError as error:
            return SourceState.EXITED, "spawn_error", str(error)
        return state, reason, self._describe(reason, status)

    def _watch(self, child: Child, listener: Listener, asked: str) -> tuple[SourceState, str]:
        """Read the child, which was `asked` for this, until it ends, or has to be ended."""
        stream = Stream(child.stdout, self._max_line, listener, self._wake)
        watchdog = Watchdog(self._period)
        seen, outdated_since = None, None
        while not self._interrupted():
            pumped = stream.pump(_TICK)
            listener.tick()
            is_news = stream.last_report != seen
            if is_news:
                seen = stream.last_report
                self._backoff.reset()
            if asked == self._configuration:
                outdated_since = None
            elif outdated_since is None:
                outdated_since = time.monotonic()
            elif is_news or time.monotonic() - outdated_since > _LAST_REPORT_PATIENCE:
                # Right after a report, the tallies of a period are not lost with the child.
                return SourceState.STARTING, _RECONFIGURED
            if pumped is Pumped.END:
                stream.finish()
                return SourceState.EXITED, self._how_it_ended(child)
            if pumped is Pumped.SILENCE:
                self._wake.hear()
                if child.ended():
                    # Somebody that the child started still holds its output.
                    return SourceState.EXITED, "exited"
            complaint = watchdog.complaint(stream, time.monotonic())
            if complaint is not None:
                return complaint, complaint.value
        return SourceState.EXITED, _INTERRUPTED

    def _end(self, child: Child, listener: Listener) -> int | None:
        """End the child and give its status; while it cannot be ended there is no other one."""
        status = child.stop(_STOP_PATIENCE)
        while status is None and not self._wake.wait(_TICK):
            listener.state(SourceState.STALLED, f"{self._name} does not end, even when killed")
            listener.tick()
            status = child.stop(0)
        return status

    def _how_it_ended(self, child: Child) -> str:
        """Whether the child exited, or closed its output and lives on."""
        until = time.monotonic() + _EXIT_PATIENCE
        while time.monotonic() < until and not self._wake.wait(0.02):
            if child.ended():
                return "exited"
        return "end_of_file"

    def _describe(self, reason: str, status: int | None) -> str:
        match reason:
            case "exited" if status is not None and status < 0:
                sentence = f"{self._name} was ended by signal {-status}"
            case "exited":
                sentence = f"{self._name} exited with status {status}"
            case "end_of_file":
                sentence = f"{self._name} closed its output"
            case "garbage":
                sentence = f"{self._name} prints lines that are no reports"
            case _:
                sentence = f"{self._name} was silent for too long"
        if self._last_complaint:
            sentence += f"; its last words: {self._last_complaint}"
        return sentence


@contextmanager
def _temporary_file(text: str) -> Iterator[str]:
    """The path of a file that holds this text."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="neuron-exporter-", ignore_cleanup_errors=True)
            )
            path = Path(folder) / "neuron-monitor.json"
            path.write_text(text)
        except OSError as error:
            reason = error.strerror or error
            raise SpawnError(f"its configuration cannot be written: {reason}") from error
        yield str(path)


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: AWS's tools on PATH, and a limit for Go's garbage collector.

    neuron-monitor is a Go program that has been killed for its memory in small containers; it
    gets 60 % of the container's memory unless GOMEMLIMIT is set already.
    """
    environment = dict(own)
    environment["PATH"] = f"{own.get('PATH', os.defpath)}{os.pathsep}{TOOLS}"
    limit = memory_limit()
    if limit is not None:
        environment.setdefault("GOMEMLIMIT", str(int(limit * _CHILD_SHARE_OF_MEMORY)))
    return environment


def memory_limit(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int | None:
    """The lowest memory limit above this process, in bytes; None where there is none.

    Reads cgroup v2 and v1, from the process's own group up to the root that it can see.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines() if line]
    except OSError:
        lines = []
    places = [(root, "memory.max", own) for _, controllers, own in lines if not controllers] + [
        (root / "memory", "memory.limit_in_bytes", own)
        for _, controllers, own in lines
        if "memory" in controllers.split(",")
    ]
    limits = []
    for top, name, own in places:
        group = Path(own.lstrip("/"))
        for folder in (group, *group.parents):
            with suppress(OSError):
                text = (top / folder / name).read_text().strip()
                if text.isdigit() and int(text) < _UNLIMITED:
                    limits.append(int(text))
    return min(limits, default=None)
