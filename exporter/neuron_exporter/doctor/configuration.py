"""Check the configuration: where it comes from, and all problems that `check` reports."""

from __future__ import annotations

import os
from collections.abc import Iterator

from neuron_exporter.config import ConfigError, load
from neuron_exporter.config.load import PREFIX
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject, describe, format_names
from neuron_exporter.doctor.processes import other_variables, running_exporters
from neuron_exporter.doctor.remedies import AS_EXPORTER, IN_ENVIRONMENT
from neuron_exporter.pipeline.build import all_problems, build
from neuron_exporter.pipeline.identity import make_identity

SUBJECT = Subject("configuration")

_MAX_NAMED = 8


def check(context: Context) -> Iterator[Finding]:
    """Load the configuration as `run` does. The other checks use the valid part of it."""
    yield from _use_running_arguments(context)
    problems: list[str] = []
    try:
        context.loaded = load(context.path, context.environment, context.flags)
    except ConfigError as error:
        problems = all_problems(error)
        if error.partial is not None:
            context.loaded = error.partial
    else:
        try:
            context.pipeline = build(context.loaded, environment=context.environment)
        except ConfigError as error:
            problems = list(error.problems)
    context.identity, _ = make_identity(context.config, context.environment)
    for problem in problems:
        yield SUBJECT.failed(problem, "correct it; `neuron-exporter check` reports the same")
    if context.pipeline is not None:
        for line in context.pipeline.warnings:
            yield SUBJECT.warning(line, "correct or remove the setting, or add what is missing")
    if not problems:
        yield SUBJECT.ok(_origin(context))


def _use_running_arguments(context: Context) -> Iterator[Finding]:
    """Use the flags of the running exporter, and its file if no other one is given."""
    wanted = os.path.abspath(context.path) if context.path is not None else None
    exporters, started = running_exporters(), {}
    for pid in exporters.hidden:
        seen = f"process {pid} runs an exporter of another user, whose settings are not used here"
        yield SUBJECT.skipped(seen, f"{AS_EXPORTER}, or name its file with --config")
    for pid, words in exporters.arguments.items():
        run = context.parse_run(words)
        if run is not None and (wanted is None or run.path == wanted):
            started[pid] = run
    if len(started) > 1:
        yield SUBJECT.warning(
            f"{len(started)} exporters run here (processes {', '.join(map(str, started))})",
            "choose one with --config FILE",
        )
    elif started:
        ((pid, run),) = started.items()
        context.path, context.flags = context.path or run.path, run.flags
        yield SUBJECT.ok(f"process {pid} runs the exporter with this configuration")
        try:
            others = other_variables(pid, context.environment)
        except OSError as error:
            seen = f"its variables are not compared: {describe(error)}"
            yield SUBJECT.skipped(seen, AS_EXPORTER)
            return
        if others:
            yield SUBJECT.warning(
                f"process {pid} has other values of these variables: {', '.join(others)}",
                f"the doctor uses its own values: {IN_ENVIRONMENT}",
            )


def _origin(context: Context) -> str:
    origins = {*context.loaded.origins.values()}
    variables = sorted(origin for origin in origins if origin.startswith(PREFIX))
    parts = [f"{context.path}: good" if context.path else "no file: defaults"]
    if variables:
        parts.append(f"set by the environment: {format_names(variables, _MAX_NAMED)}")
    if context.flags:
        parts.append(f"flags: {', '.join(sorted({flag.origin for flag in context.flags}))}")
    return "; ".join(parts)
