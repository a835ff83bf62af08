"""`promtool test rules` over frames."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.paths import ROOT
from tests.support.rule_frames import STEP, Frames

RULES = [str(path) for path in sorted((ROOT / "grafana" / "rules").glob("*.yml"))]
JOB = "neuron"
EVALUATION_INTERVAL = 60
"""Interval of the rules in seconds: the default of Prometheus, and that of the PromQL alarms."""


class Target(NamedTuple):
    """Prometheus target, by default in the job of the exporters and without a cluster."""

    instance: str
    job: str = JOB
    cluster: str = ""


Machines = Mapping[str, Frames] | Mapping[Target, Frames]
"""Frames by target, or by instance if all are targets of JOB."""

_ANNOTATION = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*")')


def series(machines: Machines) -> list[dict[str, str]]:
    """Return the series that Prometheus would store for these targets, including `up`.

    A series that is missing from a scrape becomes stale. An empty frame stands for a target that
    service discovery no longer lists.
    """
    found: list[dict[str, str]] = []
    for key, frames in machines.items():
        target = key if isinstance(key, Target) else Target(key)
        labels = f'job="{target.job}",instance="{target.instance}",cluster="{target.cluster}"'
        up = ["0" if each is None else "1" if each else "_" for each in frames]
        found.append({"series": f"up{{{labels}}}", "values": _encode(up)})
        for name in sorted({name for each in frames if each for name in each}):
            values = [number_text(each[name]) if each and name in each else "_" for each in frames]
            found.append({"series": _with(name, labels), "values": _encode(values)})
    return found


def _with(name: str, labels: str) -> str:
    return f"{name[:-1]},{labels}}}" if name.endswith("}") else f"{name}{{{labels}}}"


def number_text(value: float) -> str:
    return repr(int(value)) if value.is_integer() else repr(value)


def _encode(values: Sequence[str]) -> str:
    """Encode values in promtool's notation, with repeated values as one term."""
    marked = [
        "stale" if value == "_" and number and values[number - 1] != "_" else value
        for number, value in enumerate(values)
    ]
    return encode_runs(marked)


def encode_runs(values: Iterable[str]) -> str:
    """Write repeated values as one term of promtool's notation."""
    runs: list[tuple[str, int]] = []
    for value in values:
        if runs and runs[-1][0] == value and value != "stale":
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return " ".join(_run(value, count) for value, count in runs)


def _run(value: str, count: int) -> str:
    if count == 1:
        return value
    if value == "_":
        return f"_x{count}"
    return f"{value}+0x{count - 1}"


def alerts_firing(at: float, *names: str) -> dict[str, Any]:
    """Return an expectation: exactly these alerts fire at a time in seconds."""
    return _expect('group by (alertname) (ALERTS{alertstate="firing"})', at, names)


def alerts_fired(until: float, *names: str) -> dict[str, Any]:
    """Return an expectation: exactly these alerts have fired up to a time in seconds."""
    window = f"{math.ceil(until) + 1}s"
    expression = f'group by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{window}]))'
    return _expect(expression, until, names)


def _expect(expression: str, at: float, names: Iterable[str]) -> dict[str, Any]:
    return {
        "expr": expression,
        "eval_time": f"{math.ceil(at)}s",
        "exp_samples": [
            {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)
        ],
    }


def annotations(
    folder: Path, machines: Machines, alert: str, at: float, step: int = STEP
) -> list[dict[str, str]]:
    """Return the annotations of an alert, for each instance that fires at a time in seconds.

    promtool prints them only for alerts that were not expected.
    """
    expected = {"eval_time": f"{math.ceil(at)}s", "alertname": alert, "exp_alerts": []}
    tests = {"alert_rule_test": [expected]}
    output = _run_rules(folder, RULES, series(machines), tests, step)
    got = output.partition("got:")[2]
    return [
        {name: json.loads(text) for name, text in _ANNOTATION.findall(part)}
        for part in re.findall(r"Annotations:\s*\{(.*)\}", got)
    ]


def identifies(found: Sequence[Mapping[str, str]], target: str) -> bool:
    """Return whether all annotations name the target and have no empty placeholders."""
    return bool(found) and all(
        target in each["summary"] and not re.search(r"<no value>|\(\)|  ", " ".join(each.values()))
        for each in found
    )


def check(
    folder: Path,
    machines: Machines,
    *expected: Mapping[str, Any],
    step: int = STEP,
) -> None:
    """Run promtool with the committed rules over these targets; fail if it reports an error."""
    check_rules(folder, RULES, series(machines), expected, step)


def check_rules(
    folder: Path,
    rules: Sequence[str],
    input_series: Sequence[Mapping[str, str]],
    expected: Iterable[Mapping[str, Any]],
    step: int,
) -> None:
    """Run promtool with these files of rules over these series; fail if it reports an error."""
    tests = {"promql_expr_test": [*expected]}
    output = _run_rules(folder, rules, input_series, tests, step)
    assert not output, output


def _run_rules(
    folder: Path,
    rules: Sequence[str],
    input_series: Sequence[Mapping[str, str]],
    expectations: Mapping[str, Any],
    step: int,
) -> str:
    """Return promtool's output if the test fails, otherwise an empty string."""
    document = {
        "rule_files": rules,
        "evaluation_interval": f"{max(step, EVALUATION_INTERVAL)}s",
        "tests": [{"interval": f"{step}s", "input_series": input_series, **expectations}],
    }
    path = folder / "rules.test.yml"
    # JSON is valid YAML and much faster to write.
    path.write_text(json.dumps(document))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOGC": "400"},  # a quarter less CPU time for more memory
    )
    return done.stdout + done.stderr if done.returncode else ""
