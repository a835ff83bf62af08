"""All checks, in the order in which things depend on each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import NamedTuple

from neuron_exporter.doctor import (
    cloudwatch,
    configuration,
    devices,
    driver,
    identity,
    limits,
    owners,
    source,
    spool,
)
from neuron_exporter.doctor import (
    running_exporter as exporter,
)
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, Verdict, warning


class Check(NamedTuple):
    """A subject, and how many seconds may be spent on it; None where it keeps its own time."""

    subject: str
    examine: Callable[[Case], Iterator[Finding]]
    seconds: float | None


CHECKS = (
    Check(configuration.SUBJECT, configuration.examine, 5.0),
    Check(exporter.SUBJECT, exporter.examine, 18.0),
    Check(source.SUBJECT, source.examine, None),  # its child dies with the thread that started it
    Check(driver.SUBJECT, driver.examine, 2.0),
    Check(devices.SUBJECT, devices.examine, 8.0),
    Check(identity.SUBJECT, identity.examine, 8.0),
    Check(owners.SUBJECT, owners.examine, 14.0),
    Check(cloudwatch.SUBJECT, cloudwatch.examine, 25.0),
    Check(spool.SUBJECT, spool.examine, 3.0),
    Check(limits.SUBJECT, limits.examine, 2.0),
)


def examine(case: Case) -> Iterator[Finding]:
    """Make all checks; gives each finding as soon as there is one. Does not raise."""
    for check in CHECKS:
        yield from _in_time(check, case) if check.seconds is not None else _make(check, case)


def status(findings: Iterable[Finding]) -> int:
    """The exit status: 1 where something has failed."""
    return int(any(finding.verdict is Verdict.FAILED for finding in findings))


def _make(check: Check, case: Case) -> Iterator[Finding]:
    try:
        yield from check.examine(case)
    except Exception as error:  # noqa: BLE001 (one check never takes the others down)
        seen = f"the check itself failed: {type(error).__name__}"
        yield warning(check.subject, seen, "report this, with what --bundle writes")


def _in_time(check: Check, case: Case) -> Iterator[Finding]:
    """Make a check in a thread, and leave that behind if it hangs in the system."""
    told: SimpleQueue[Finding | None] = SimpleQueue()

    def make() -> None:
        for finding in _make(check, case):
            told.put(finding)
        told.put(None)

    threading.Thread(target=make, name=f"doctor-{check.subject}", daemon=True).start()
    until = time.monotonic() + (check.seconds or 0.0)
    while (left := until - time.monotonic()) > 0:
        try:
            finding = told.get(timeout=left)
        except Empty:
            break
        if finding is None:
            return
        yield finding
    seen = f"not found out within {check.seconds:g} s"
    yield warning(check.subject, seen, "something hangs: a file system, a driver, a name server")
