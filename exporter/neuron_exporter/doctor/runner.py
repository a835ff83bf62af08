"""Run all checks in order of dependency, print their findings, and write the support bundle."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

from neuron_exporter import log
from neuron_exporter.config import ConfigError
from neuron_exporter.doctor import (
    cloudwatch,
    configuration,
    devices,
    driver_files,
    host,
    identity,
    otlp,
    owners,
    running_exporter,
    source,
    spool,
)
from neuron_exporter.doctor.bundle import Bundle
from neuron_exporter.doctor.context import Context, RunArguments
from neuron_exporter.doctor.finding import (
    Finding,
    Subject,
    Verdict,
    as_json,
    as_line,
    as_summary,
    describe,
    redact,
)
from neuron_exporter.doctor.remedies import AS_EXPORTER
from neuron_exporter.sinks.delivery.deadline import silent_aborts


class Check(NamedTuple):
    """One check: its subject, its time limit (s), None if it limits itself, and the checks that it
    needs besides those that all need."""

    subject: Subject
    run: Callable[[Context], Iterator[Finding]]
    timeout: float | None
    needs: tuple[Subject, ...] = ()


CHECKS = (
    Check(configuration.SUBJECT, configuration.check, 5.0),
    Check(running_exporter.SUBJECT, running_exporter.check, 18.0),
    # Not in a thread: when a thread ends, the kernel kills the child process that it started.
    Check(source.SUBJECT, source.check, None),
    Check(host.DRIVER, host.check_driver, 2.0),
    Check(devices.SUBJECT, devices.check, 10.0),
    Check(driver_files.SUBJECT, driver_files.check, 8.0),
    Check(identity.SUBJECT, identity.check, 8.0, (source.SUBJECT,)),
    Check(owners.SUBJECT, owners.check, 14.0, (source.SUBJECT,)),
    Check(cloudwatch.SUBJECT, cloudwatch.check, 25.0, (source.SUBJECT, identity.SUBJECT)),
    Check(otlp.SUBJECT, otlp.check, 20.0, (source.SUBJECT, identity.SUBJECT)),
    Check(spool.SUBJECT, spool.check, 3.0, (source.SUBJECT, identity.SUBJECT)),
    Check(host.MEMORY, host.check_memory, 2.0),
)

_NEEDED_BY_ALL = (configuration.SUBJECT, running_exporter.SUBJECT)
_MAX_NEEDED_SECONDS = 5.0
"""Time limit of a check whose findings are not shown."""


def run_doctor(
    path: str | None,
    environment: Mapping[str, str],
    parse_run: Callable[[Sequence[str]], RunArguments | None],
    *,
    json: bool,
    send: bool,
    bundle: str | None,
) -> int:
    """Run all checks, and return the exit status. Print each finding as soon as it is there, or all
    of them as JSON at the end.

    Args:
        path: configuration file; None for the one of the running exporter, or the defaults.
        parse_run: parser of the arguments after `run` on a command line.
        send: whether to send one datum to CloudWatch.
        bundle: path of the support bundle to write.

    Raises:
        ConfigError: the bundle cannot be written to its path.
    """
    log.configure("critical")  # the findings report what the log would
    writer = Bundle(bundle) if bundle is not None else None
    is_bundled = writer is not None
    context = Context(environment, path, send=send, is_bundled=is_bundled, parse_run=parse_run)
    findings = []
    try:
        with silent_aborts():
            for finding in map(redact, run_checks(context)):
                findings.append(finding)
                if not json:
                    print(as_line(finding), flush=True)
            print(as_json(findings) if json else as_summary(findings))
            for line in writer.write(context, findings) if writer is not None else ():
                print(line, file=sys.stderr)
    except BaseException:  # also on Ctrl-C: leave no half-written bundle behind
        if writer is not None:
            writer.discard()
        raise
    return exit_status(findings)


def run_checks(context: Context, subjects: Collection[str] = ()) -> Iterator[Finding]:
    """Run all checks, or those of some subjects, and yield each finding as soon as it is there.
    Never raises."""
    chosen = [check for check in CHECKS if not subjects or check.subject in subjects]
    needed = {*_NEEDED_BY_ALL, *(name for check in chosen for name in check.needs)}
    for check in CHECKS:
        if check in chosen:
            yield from _run(check, context)
        elif check.subject in needed:
            for _ in _run(check._replace(timeout=_limited(check.timeout)), context):
                pass


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 1 if a check failed, else 0."""
    return int(any(finding.verdict is Verdict.FAILED for finding in findings))


def _limited(timeout: float | None) -> float | None:
    return None if timeout is None else min(timeout, _MAX_NEEDED_SECONDS)


def _run(check: Check, context: Context) -> Iterator[Finding]:
    return _run_here(check, context) if check.timeout is None else _run_timed(check, context)


def _run_here(check: Check, context: Context) -> Iterator[Finding]:
    try:
        yield from check.run(context)
    except OSError as error:
        context.incomplete.add(check.subject)
        yield check.subject.warning(f"the check is incomplete: {describe(error)}", AS_EXPORTER)
    except ConfigError:
        context.incomplete.add(check.subject)
        yield check.subject.skipped("settings that it needs are invalid (see configuration)")
    except Exception as error:  # noqa: BLE001 (a bug in one check must not stop the others)
        context.incomplete.add(check.subject)
        seen = f"the check itself failed: {type(error).__name__}"
        yield check.subject.warning(seen, "report this bug, with the file that --bundle writes")


def _run_timed(check: Check, context: Context) -> Iterator[Finding]:
    """Run a check in a thread, and abandon the thread at the time limit."""
    findings: SimpleQueue[Finding | None] = SimpleQueue()

    def run() -> None:
        for finding in _run_here(check, context):
            findings.put(finding)
        findings.put(None)

    threading.Thread(target=run, name=f"doctor-{check.subject}", daemon=True).start()
    deadline = time.monotonic() + (check.timeout or 0.0)
    while (remaining := deadline - time.monotonic()) > 0:
        try:
            finding = findings.get(timeout=remaining)
        except Empty:
            break
        if finding is None:
            return
        yield finding
    context.incomplete.add(check.subject)
    seen = f"the check did not finish within {check.timeout:g} s"
    yield check.subject.warning(seen, "a file system, a driver or a name server hangs")
