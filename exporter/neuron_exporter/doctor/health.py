"""Answer in one line whether some subjects are healthy, for programs that act on the answer.

The exit status is the one that node-problem-detector expects of a custom plugin
(pkg/custompluginmonitor/plugin/plugin.go, 6632ca6: 0 OK, 1 NonOK, others Unknown). It shows the
first 80 bytes of the output unless `max_output_length` is set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import IntEnum

from neuron_exporter import log
from neuron_exporter.doctor.context import Context, RunArguments
from neuron_exporter.doctor.finding import Finding, Verdict, redact
from neuron_exporter.doctor.runner import run_checks
from neuron_exporter.sinks.delivery.deadline import silent_aborts


class Health(IntEnum):
    """The answer, and the exit status. It is unknown if nothing could be judged."""

    OK = 0
    PROBLEM = 1
    UNKNOWN = 2


_WORST_FIRST = (Verdict.FAILED, Verdict.WARNING, Verdict.OK, Verdict.SKIPPED)


def check_health(
    subjects: Collection[str],
    path: str | None,
    environment: Mapping[str, str],
    parse_run: Callable[[Sequence[str]], RunArguments | None],
    *,
    json: bool,
) -> tuple[Health, str]:
    """Check some subjects, and return their health with a line that explains it.

    Args:
        subjects: names of checks of the doctor.
        path: configuration file; None for the one of the running exporter, or the defaults.
        parse_run: parser of the arguments after `run` on a command line.
        json: whether the line is that of `as_json_line`.
    """
    log.configure("critical")  # the findings report what the log would
    context = Context(environment, path, parse_run=parse_run, is_health_check=True)
    found = map(redact, run_checks(context, subjects))
    with silent_aborts():
        findings = sorted(found, key=lambda finding: _WORST_FIRST.index(finding.verdict))
    health = judge(findings, is_complete=not context.incomplete.intersection(subjects))
    return health, as_json_line(findings) if json else as_line(health, findings)


def judge(findings: Iterable[Finding], *, is_complete: bool) -> Health:
    """Return the health that findings show: a problem if one failed; unknown if none shows that
    something is as it should be, or if a check ended early."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAILED in verdicts:
        return Health.PROBLEM
    return Health.OK if is_complete and Verdict.OK in verdicts else Health.UNKNOWN


def as_line(health: Health, findings: Sequence[Finding]) -> str:
    """Return the health, and the findings with the worst verdict."""
    worst = [each for each in findings if each.verdict is findings[0].verdict]
    has_subjects = len({each.subject for each in findings}) > 1
    reasons = [f"{each.subject}: {each.seen}" if has_subjects else each.seen for each in worst]
    return f"{health.name.lower()}: {'; '.join(reasons) or 'nothing was checked'}"


def as_json_line(findings: Iterable[Finding]) -> str:
    """Return the list of `doctor --json` on one line, the worst finding first."""
    return json.dumps([finding._asdict() for finding in findings])
