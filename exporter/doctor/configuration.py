"""The configuration: where it comes from, and everything that `check` says against it."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ConfigError, load
from exporter.config.load import PREFIX
from exporter.doctor.case import Case
from exporter.doctor.finding import Finding, failed, ok, warning
from exporter.doctor.processes import running_exporters
from exporter.identify import identify
from exporter.pipeline import all_problems, build

SUBJECT = "configuration"

_MOST_NAMED = 8


def examine(case: Case) -> Iterator[Finding]:
    """Load it as `run` would; what is legal of it is what the other checks go by."""
    yield from _adopt(case)
    problems: list[str] = []
    try:
        case.loaded = load(case.path, case.environment, case.flags)
    except ConfigError as error:
        problems = all_problems(error)
        if error.rest is not None:
            case.loaded = error.rest
    else:
        try:
            case.pipeline = build(case.loaded, environment=case.environment)
        except ConfigError as error:
            problems = list(error.problems)
    case.identity, _ = identify(case.config, case.environment)
    for problem in problems:
        yield failed(SUBJECT, problem, "correct it; `neuron-exporter check` says the same")
    if case.pipeline is not None:
        for line in case.pipeline.warnings:
            yield warning(SUBJECT, line, "leave it out, or wait for a version that has it")
    if not problems:
        yield ok(SUBJECT, _where_from(case))


def _adopt(case: Case) -> Iterator[Finding]:
    """Without a file, go by what the exporter beside us was started with."""
    if case.path is not None:
        return
    started = running_exporters()
    if len(started) > 1:
        yield warning(
            SUBJECT,
            f"{len(started)} exporters run here (process {', '.join(map(str, started))})",
            "say which is meant with --config FILE",
        )
    elif started:
        ((pid, words),) = started.items()
        run = case.read_run(words)
        if run is not None:
            case.path, case.flags = run.path, run.flags
            given = f"--config {run.path}" if run.path else "no file"
            yield ok(SUBJECT, f"as process {pid} was started: {given}")


def _where_from(case: Case) -> str:
    variables = sorted({each for each in case.loaded.origins.values() if each.startswith(PREFIX)})
    parts = [f"{case.path}: good" if case.path else "no file: defaults"]
    if variables:
        more = f" and {len(variables) - _MOST_NAMED} more" if len(variables) > _MOST_NAMED else ""
        parts.append(f"set by the environment: {', '.join(variables[:_MOST_NAMED])}{more}")
    if case.flags:
        parts.append(f"flags: {', '.join(sorted({flag.origin for flag in case.flags}))}")
    return "; ".join(parts)
