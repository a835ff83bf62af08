"""The command: examine, tell, and write a bundle if that is wanted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from neuron_exporter import log
from neuron_exporter.doctor.bundle import Bundle
from neuron_exporter.doctor.context import Case, Run
from neuron_exporter.doctor.finding import Finding
from neuron_exporter.doctor.render import as_json, as_line, as_summary, discreet
from neuron_exporter.doctor.runner import examine, status


def doctor(
    path: str | None,
    environment: Mapping[str, str],
    read_run: Callable[[Sequence[str]], Run | None],
    *,
    json: bool,
    send: bool,
    bundle: str | None,
) -> int:
    """Find out what is wrong, and say what to do; gives the exit status.

    Args:
        path: the configuration; None for what a running exporter was started with, or defaults.
        environment: the process's environment variables.
        read_run: what the words after `run` on a command line mean.
        json: print a list for programs.
        send: send one datum to CloudWatch.
        bundle: where to write a support bundle.

    Raises:
        ConfigError: the bundle cannot be written there.
    """
    log.configure("critical")  # what matters is said by the findings
    case = Case(environment, path, send=send, bundled=bundle is not None, read_run=read_run)
    writer = Bundle(bundle) if bundle is not None else None
    try:
        findings = _told(case, json=json)
        if writer is not None:
            for line in writer.write(case, findings):
                print(line, file=sys.stderr)
    except BaseException:  # a half bundle is none
        if writer is not None:
            writer.abandon()
        raise
    return status(findings)


def _told(case: Case, *, json: bool) -> list[Finding]:
    """All findings, each printed as soon as it is there, or all of them for programs."""
    findings = []
    for finding in map(discreet, examine(case)):
        findings.append(finding)
        if not json:
            print(as_line(finding), flush=True)
    print(as_json(findings) if json else as_summary(findings))
    return findings
