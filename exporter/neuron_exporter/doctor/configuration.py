"""The configuration: where it comes from, and everything that `check` says against it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from neuron_exporter.config import ConfigError, load
from neuron_exporter.config.load import PREFIX
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, failed, ok, warning
from neuron_exporter.doctor.processes import other_variables, running_exporters
from neuron_exporter.pipeline.build import all_problems, build
from neuron_exporter.pipeline.identity import identify

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
            yield warning(SUBJECT, line, "give it what it names, or leave it out")
    if not problems:
        yield ok(SUBJECT, _where_from(case))


def _adopt(case: Case) -> Iterator[Finding]:
    """Go by what the exporter beside us was started with: without a file by its file, and in any
    case by its flags."""
    wanted = os.path.abspath(case.path) if case.path is not None else None
    started = {}
    for pid, words in running_exporters().items():
        run = case.read_run(words)
        if run is not None and (wanted is None or run.path == wanted):
            started[pid] = run
    if len(started) > 1:
        yield warning(
            SUBJECT,
            f"{len(started)} exporters run here (processes {', '.join(map(str, started))})",
            "say which is meant with --config FILE",
        )
    elif started:
        ((pid, run),) = started.items()
        case.path, case.flags = case.path or run.path, run.flags
        yield ok(SUBJECT, f"process {pid} is the exporter that runs with it")
        others = other_variables(pid, case.environment)
        if others:
            yield warning(
                SUBJECT,
                f"process {pid} has other values than this command of: {', '.join(others)}",
                "what is said here goes by this command's: run it in the same environment "
                "(docker exec, kubectl exec; systemd: systemctl show -p Environment)",
            )


def _where_from(case: Case) -> str:
    variables = sorted({each for each in case.loaded.origins.values() if each.startswith(PREFIX)})
    parts = [f"{case.path}: good" if case.path else "no file: defaults"]
    if variables:
        more = f" and {len(variables) - _MOST_NAMED} more" if len(variables) > _MOST_NAMED else ""
        parts.append(f"set by the environment: {', '.join(variables[:_MOST_NAMED])}{more}")
    if case.flags:
        parts.append(f"flags: {', '.join(sorted({flag.origin for flag in case.flags}))}")
    return "; ".join(parts)
