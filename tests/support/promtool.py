"""`promtool test rules`, over frames: which alerts fire, and when."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.paths import ROOT
from tests.support.rule_frames import STEP, Frames

RULES = [str(path) for path in sorted((ROOT / "grafana" / "rules").glob("*.yml"))]
JOB = "neuron"
EVALUATION = 30
"""Seconds from one evaluation of the rules to the next."""


class Target(NamedTuple):
    """A target of another job, or of one cluster among others in one Prometheus."""

    instance: str
    job: str = JOB
    cluster: str = ""


Machines = Mapping[str, Frames] | Mapping[Target, Frames]
"""What was scraped of each target; a name is that of an instance, all of one job."""

_ANNOTATION = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*")')


def series(machines: Machines) -> list[dict[str, str]]:
    """What Prometheus would have stored of these targets, `up` included: a series that is not in a
    scrape is stale from then on. An empty frame is a target that there no longer is."""
    found: list[dict[str, str]] = []
    for key, frames in machines.items():
        whose = key if isinstance(key, Target) else Target(key)
        target = f'job="{whose.job}",instance="{whose.instance}",cluster="{whose.cluster}"'
        up = ["0" if each is None else "1" if each else "_" for each in frames]
        found.append({"series": f"up{{{target}}}", "values": _values(up)})
        for name in sorted({name for each in frames if each for name in each}):
            values = [_number(each[name]) if each and name in each else "_" for each in frames]
            found.append({"series": _with(name, target), "values": _values(values)})
    return found


def _with(name: str, target: str) -> str:
    return f"{name[:-1]},{target}}}" if name.endswith("}") else f"{name}{{{target}}}"


def _number(value: float) -> str:
    return repr(int(value)) if value.is_integer() else repr(value)


def _values(values: Sequence[str]) -> str:
    """In promtool's notation: runs of the same value are short."""
    marked = [
        "stale" if value == "_" and number and values[number - 1] != "_" else value
        for number, value in enumerate(values)
    ]
    runs: list[tuple[str, int]] = []
    for value in marked:
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
    """An expectation: just these alerts fire at a time (s), for whomever."""
    return _expect('group by (alertname) (ALERTS{alertstate="firing"})', at, names)


def alerts_fired(until: float, *names: str) -> dict[str, Any]:
    """An expectation: just these alerts have fired at any time until then (s)."""
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


def annotations(folder: Path, machines: Machines, alert: str, at: float) -> list[dict[str, str]]:
    """What an alert says to whoever gets it, each time that it fires at a time (s).

    promtool shows it only of what was not expected.
    """
    wanted = {"eval_time": f"{math.ceil(at)}s", "alertname": alert, "exp_alerts": []}
    said = _run_rules(folder, machines, {"alert_rule_test": [wanted]}, STEP)
    got = said.partition("got:")[2]
    return [
        {name: json.loads(text) for name, text in _ANNOTATION.findall(part)}
        for part in re.findall(r"Annotations:\s*\{(.*)\}", got)
    ]


def is_told(told: Sequence[Mapping[str, str]], whom: str) -> bool:
    """Whether an alert says whom it is about, and nothing of what it says is empty."""
    return bool(told) and all(
        whom in each["summary"] and not re.search(r"<no value>|\(\)|  ", " ".join(each.values()))
        for each in told
    )


def check(
    folder: Path,
    machines: Machines,
    *expected: Mapping[str, Any],
    step: int = STEP,
) -> None:
    """Run the committed rules over these targets, and be told what is not as expected."""
    done = _run_rules(folder, machines, {"promql_expr_test": [*map(dict, expected)]}, step)
    assert not done, done


def _run_rules(folder: Path, machines: Machines, wanted: Mapping[str, Any], step: int) -> str:
    """What promtool has to object; empty if nothing."""
    document = {
        "rule_files": RULES,
        "evaluation_interval": f"{max(step, EVALUATION)}s",
        "tests": [{"interval": f"{step}s", "input_series": series(machines), **wanted}],
    }
    path = folder / "rules.test.yml"
    # JSON is YAML, and is written many times as fast.
    path.write_text(json.dumps(document))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""
