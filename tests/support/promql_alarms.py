"""The PromQL alarms as rules of Prometheus, over the series that OTLP would deliver.

promtool evaluates them in place of CloudWatch: PendingPeriod is `for`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from neuron_exporter.generate.alarms.promql import read_alarms
from tests.support import promtool
from tests.support.promtool import Machines, Target
from tests.support.rule_frames import STEP, Frame, Frames

LEFT_OUT = read_alarms().left_out.keys()

_ID = re.compile(r',?instance_id="[^"]*"')
_OF_ALERTS = "group by (alertname)"
_ALIVE: Frame = {"neuron_exporter_up": 1.0}
"""What is known of a machine after its last frame."""


class AnnotationsAreRead(Exception):
    """The test goes on with the annotations of alerts, which alarms do not have."""


def write_rules(folder: Path) -> str:
    """Write the alarms as alerting rules, and return the path."""
    rules = [
        {"alert": alarm.name, "expr": alarm.query, "for": f"{alarm.pending}s"}
        for alarm in read_alarms().alarms
    ]
    path = folder / "promql-alarms.yml"
    path.write_text(json.dumps({"groups": [{"name": "alarms", "rules": rules}]}))
    return str(path)


def otlp_series(machines: Machines, *, keep_ids: bool = False) -> list[dict[str, str]]:
    """Return the series that exporters at these targets would deliver.

    Every series has the labels of its machine, and a resource attribute of its exporter. A failed
    scrape stands for a point that is missing. A series that ends becomes stale.

    Args:
        keep_ids: whether targets with the same instance_id are one machine; by default, each is
            another one.
    """
    found = []
    longest = max(map(len, machines.values()))
    for key, given in machines.items():
        target = key if isinstance(key, Target) else Target(key)
        frames: Frames = [*given, *[_ALIVE] * (longest - len(given))]
        for name in sorted({name for each in frames if each for name in each}):
            labels = {"cluster": target.cluster, "service_instance_id": target.instance}
            known = _ID.search(name)
            if not (keep_ids and known):
                labels["instance_id"] = f"i-{target.instance}"
                if keep_ids:
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


class AlarmsInPlaceOfAlerts:
    """Replacement for the functions of `promtool` in a module of tests on alerts."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, keep_ids: bool = False
    ) -> None:
        monkeypatch.setattr(promtool, "RULES", [write_rules(folder)])
        monkeypatch.setattr(
            promtool, "series", lambda machines: otlp_series(machines, keep_ids=keep_ids)
        )
        self._monkeypatch = monkeypatch
        self.checked = 0

    def patch(self, *modules: ModuleType) -> None:
        """Let these modules check alarms."""
        for module in modules:
            self._monkeypatch.setattr(module, "check", self._check)
            if hasattr(module, "annotations"):
                self._monkeypatch.setattr(module, "annotations", _no_annotations)

    def _check(
        self, folder: Path, machines: Machines, *expected: Mapping[str, Any], step: int = STEP
    ) -> None:
        kept = [_without_left_out(each) for each in expected if "ALERTS" in each["expr"]]
        self.checked += len(kept)
        promtool.check(folder, machines, *kept, step=step)


def runs_to_the_annotations(test: Callable[..., None]) -> Callable[..., None]:
    """Return the test of an alert without what follows on annotations."""

    @wraps(test)
    def run(*args: Any, **fixtures: Any) -> None:
        with suppress(AnnotationsAreRead):
            test(*args, **fixtures)

    return run


def _no_annotations(*_: object) -> Sequence[Mapping[str, str]]:
    raise AnnotationsAreRead


def _without_left_out(expected: Mapping[str, Any]) -> Mapping[str, Any]:
    if not expected["expr"].startswith(_OF_ALERTS):
        return expected
    samples: Iterable[Mapping[str, Any]] = expected["exp_samples"]
    names = {f'{{alertname="{name}"}}' for name in LEFT_OUT}
    return {**expected, "exp_samples": [each for each in samples if each["labels"] not in names]}


def adopt(modules: Iterable[ModuleType], others: Iterable[str]) -> dict[str, Callable[..., None]]:
    """Return the tests of modules, without the others, by names that tell the modules apart."""
    others = set(others)
    return {
        f"{name}_{_subject(module)}": runs_to_the_annotations(test)
        for module in modules
        for name, test in vars(module).items()
        if name.startswith("test_") and callable(test) and name not in others
    }


def _subject(module: ModuleType) -> str:
    return module.__name__.rpartition("test_")[2]
