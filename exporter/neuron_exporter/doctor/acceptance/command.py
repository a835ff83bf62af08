"""Run the acceptance: collect evidence for a time, then judge and print it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from neuron_exporter import log
from neuron_exporter.config import ConfigError
from neuron_exporter.doctor import configuration, running_exporter
from neuron_exporter.doctor.acceptance.evidence import OTHER_MACHINE, Evidence
from neuron_exporter.doctor.acceptance.feed import FeedError, make_feed
from neuron_exporter.doctor.acceptance.judgement import Result
from neuron_exporter.doctor.acceptance.listener import AcceptanceListener
from neuron_exporter.doctor.acceptance.neuron_ls import NeuronLs, run_neuron_ls
from neuron_exporter.doctor.acceptance.outcome import Outcome
from neuron_exporter.doctor.acceptance.recording import Recording, default_path
from neuron_exporter.doctor.acceptance.sysfs import read_tree
from neuron_exporter.doctor.context import Context, RunArguments
from neuron_exporter.doctor.finding import Verdict, as_line, redact
from neuron_exporter.doctor.processes import in_host_pid_namespace
from neuron_exporter.identity.local import (
    driver_version,
    present_devices,
    read_dmi,
    tools_version,
)
from neuron_exporter.pipeline.identity import is_local_source
from neuron_exporter.pipeline.source import source_kind
from neuron_exporter.source import Source, SourceError
from neuron_exporter.text import format_duration

_OK, _FAILED = 0, 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_acceptance(
    path: str | None,
    environment: Mapping[str, str],
    parse_run: Callable[[Sequence[str]], RunArguments | None],
    *,
    seconds: float,
    output: str | None,
    json: bool,
) -> int:
    """Read reports for a time, compare them with the machine, and print what held.

    Return the exit status: 1 if an assumption did not hold, or nothing was read or recorded.

    Args:
        path: configuration file; None for the one of the running exporter, or the defaults.
        parse_run: parser of the arguments after `run` on a command line.
        output: path of the recording; None for a new file among the temporary files.

    Raises:
        ConfigError: the configuration is invalid, or the recording cannot be created.
    """
    log.configure("critical")  # the evidence contains what the log would
    context = Context(environment, path, parse_run=parse_run)
    _prepare(context)
    evidence = Evidence()
    try:
        source = make_feed(context, evidence)
    except FeedError as error:
        _note(f"neuron-exporter: {error}")
        return _FAILED
    recording = Recording(output or default_path())
    _note(
        f"reading reports for {format_duration(seconds)} from {evidence.source}; recording them, "
        f"masked, to {recording.path}"
    )
    with _handled_signals(_interrupt), closing(recording):
        _look_around(context, evidence)
        started = time.monotonic()
        end, reason = _read(source, AcceptanceListener(source, evidence, recording, _note), seconds)
        elapsed = time.monotonic() - started
        if evidence.is_local:
            evidence.sysfs_after = read_tree()
    evidence.is_simulated = _is_simulated(context, evidence)
    written = recording.path if recording.reports else ""
    outcome = Outcome.of(evidence, elapsed, end, written)
    print(outcome.as_json() if json else outcome.as_text())
    problems = []
    if not evidence.stream.reports:
        problems.append(f"no report was read: {reason}")
    if recording.error:
        place = f"--output: {recording.path}"
        problems.append(f"{place}: the recording is incomplete: {recording.error}")
    for problem in problems:
        _note(f"neuron-exporter: {problem}")
    return _FAILED if problems or outcome.names(Result.CONTRADICTED) else _OK


def _note(text: str) -> None:
    """Print a line about the run, not about its result."""
    print(text, file=sys.stderr, flush=True)


def _prepare(context: Context) -> None:
    """Load the configuration, and find a running exporter.

    Raises:
        ConfigError: the configuration is invalid.
    """
    found = [redact(each) for each in configuration.check(context)]
    problems = [each.seen for each in found if each.verdict is Verdict.FAILED]
    if problems:
        raise ConfigError(problems)
    for each in found:
        if each.verdict in (Verdict.WARNING, Verdict.SKIPPED):  # such as a choice of exporters
            _note(as_line(each))
    for _ in running_exporter.check(context):
        pass


def _look_around(context: Context, evidence: Evidence) -> None:
    """Collect the evidence outside of the reports. neuron-ls runs first, because old drivers do not
    allow several queries at the same time."""
    config = context.config.source
    evidence.is_replayed = config.kind == "file"
    evidence.is_local = is_local_source(context.config)
    if not evidence.is_local:
        evidence.neuron_ls = NeuronLs(reason=OTHER_MACHINE)
        return
    evidence.neuron_ls = run_neuron_ls(config.command, context.environment, config.variables())
    evidence.sysfs_before = read_tree()
    evidence.present = present_devices()
    evidence.driver, evidence.tools = driver_version(), tools_version()
    evidence.firmware_type = read_dmi().instance_type
    evidence.has_host_pids = in_host_pid_namespace()


def _read(source: Source, listener: AcceptanceListener, seconds: float) -> tuple[str, str]:
    """Run the source until the time is over, a signal arrives or it ends.

    Return why it ended, and why it had no report if it had none. It runs in this thread: when a
    thread ends, the kernel kills the child that it started.
    """
    ends: list[str] = []

    def stop(end: str) -> None:
        ends.append(end)
        source.stop()

    timer = threading.Timer(seconds, stop, ["the time is over"])
    timer.daemon = True
    with _handled_signals(lambda: stop("interrupted")):
        timer.start()
        try:
            source.run(listener)
        except SourceError as error:
            listener.last_state = str(error)
        finally:
            timer.cancel()
    reason = listener.last_state or "none arrived in time"
    return (ends or [f"the source ended ({reason})"])[0], reason


def _interrupt() -> None:
    raise KeyboardInterrupt


@contextmanager
def _handled_signals(handle: Callable[[], None]) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: handle()) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_simulated(context: Context, evidence: Evidence) -> bool:
    if context.scraped is not None:  # it masks the name of the machine
        return context.scraped.value("neuron_exporter_source_simulated") == 1
    return source_kind(context.config.source) == "simulator" or evidence.hardware.is_simulated
