"""The PromQL alarms as rules of Prometheus, over the series that OTLP would deliver.

promtool evaluates them in place of CloudWatch: PendingPeriod is `for`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from neuron_exporter.generate.alarms.promql import read_alarms
from tests.support import promtool
from tests.support.promtool import Machines, Target
from tests.support.rule_frames import STEP, Frame, Frames

_ALARMS = read_alarms()

_ID = re.compile(r',?instance_id="[^"]*"')
_OF_ALERTS = "group by (alertname)"
_ALIVE: Frame = {"neuron_exporter_up": 1.0}
"""What is known of a machine after its last frame."""


def write_rules(folder: Path) -> str:
    """Write the alarms as alerting rules, and return the path."""
    rules = [
        {"alert": alarm.name, "expr": alarm.query, "for": f"{alarm.pending}s"}
        for alarm in _ALARMS.alarms
    ]
    path = folder / "promql-alarms.yml"
    path.write_text(json.dumps({"groups": [{"name": "alarms", "rules": rules}]}))
    return str(path)


def otlp_series(machines: Machines, *, is_one_machine: bool = False) -> list[dict[str, str]]:
    """Return the series that exporters at these targets would deliver.

    Every series has the labels of its machine, and a resource attribute of its exporter. A failed
    scrape stands for a point that is missing. A series that ends becomes stale.

    Args:
        is_one_machine: whether targets with the same instance_id are one machine; by default, each
            is another one.
    """
    found = []
    longest = max(map(len, machines.values()))
    for key, given in machines.items():
        target = key if isinstance(key, Target) else Target(key)
        frames: Frames = [*given, *[_ALIVE] * (longest - len(given))]
        for name in sorted({name for each in frames if each for name in each}):
            labels = {"cluster": target.cluster, "service_instance_id": target.instance}
            known = _ID.search(name)
            if not (is_one_machine and known):
                labels["instance_id"] = f"i-{target.instance}"
                if is_one_machine:
                    labels["instance_id"] = _only_id(frames)
            found.append(
                {
                    "series": _with(name, labels),
                    "values": promtool.encode_runs(_values(name, frames)),
                }
            )
    return found


def _only_id(frames: Frames) -> str:
    """Return the instance_id that a machine's other series have."""
    ids = {
        found[0].removeprefix(",").split('"')[1]
        for each in frames
        if each
        for name in each
        if (found := _ID.search(name))
    }
    return ids.pop() if ids else ""


def _with(name: str, labels: Mapping[str, str]) -> str:
    metric, _, rest = name.partition("{")
    own = rest.removesuffix("}")
    if "instance_id" in labels:
        own = _ID.sub("", own).removeprefix(",")
    added = [f'{label}="{value}"' for label, value in labels.items()]
    return f"{metric}{{{','.join(filter(None, (own, *added)))}}}"


def _values(name: str, frames: Frames) -> list[str]:
    values: list[str] = []
    is_there = False
    for each in frames:
        if each is None:
            values.append("_")
        elif name in each:
            values.append(promtool.number_text(each[name]))
            is_there = True
        else:
            values.append("stale" if is_there else "_")
            is_there = False
    return values


def check_with_alarms(
    folder: Path,
    machines: Machines,
    *expected: Mapping[str, Any],
    step: int = STEP,
    is_one_machine: bool = False,
) -> None:
    """Check the alerts over these targets, and the alarms over what OTLP would deliver.

    Args:
        is_one_machine: whether targets with the same instance_id are one machine; for alarms, each
            is another one by default.
    """
    promtool.check(folder, machines, *expected, step=step)
    check_alarms(folder, machines, *expected, step=step, is_one_machine=is_one_machine)


def check_alarms(
    folder: Path,
    machines: Machines,
    *expected: Mapping[str, Any],
    step: int = STEP,
    is_one_machine: bool = False,
) -> None:
    """Check the alarms alone, by what is expected of the alerts that are alarms, too."""
    kept = [_without_left_out(each) for each in expected if "ALERTS" in each["expr"]]
    assert kept
    delivered = otlp_series(machines, is_one_machine=is_one_machine)
    promtool.check_rules(folder, [write_rules(folder)], delivered, kept, step)


def _without_left_out(expected: Mapping[str, Any]) -> Mapping[str, Any]:
    if not expected["expr"].startswith(_OF_ALERTS):
        return expected
    samples: Iterable[Mapping[str, Any]] = expected["exp_samples"]
    names = {f'{{alertname="{name}"}}' for name in _ALARMS.left_out}
    return {**expected, "exp_samples": [each for each in samples if each["labels"] not in names]}
