"""Rules as files: two for Prometheus, one for the Prometheus Operator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from grafana.rulebook import alerts, recordings
from grafana.rulebook.model import Alert, Group, Recording
from grafana.rulebook.parameters import RUNBOOK

_HEAD = "# Written by `make golden` from grafana/rulebook: change it there.\n"


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as they are."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def alert_names() -> list[str]:
    """Every alert, in the order of the files."""
    return [each.name for each in all_alerts()]


def all_alerts() -> Iterable[Alert]:
    """Every alert, in the order of the files."""
    return (rule for group in alerts.GROUPS for rule in group.rules if isinstance(rule, Alert))


def files() -> dict[str, str]:
    """What is written, by the path below the top of the repository."""
    return {
        "grafana/rules/recordings.yml": _dump({"groups": _groups(recordings.GROUPS)}),
        "grafana/rules/alerts.yml": _dump({"groups": _groups(alerts.GROUPS)}),
        "k8s/components/prometheus-rules/prometheus-rules.yaml": _dump(_object()),
    }


def _object() -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "neuron-exporter",
            "labels": {"app.kubernetes.io/name": "neuron-exporter"},
        },
        "spec": {"groups": _groups((*recordings.GROUPS, *alerts.GROUPS))},
    }


def _groups(groups: Iterable[Group]) -> list[dict[str, Any]]:
    return [
        {"name": group.name, "rules": [_rule(rule) for rule in group.rules]} for group in groups
    ]


def _rule(rule: Recording | Alert) -> dict[str, Any]:
    if isinstance(rule, Recording):
        return {"record": rule.record, "expr": rule.expr}
    return {
        "alert": rule.name,
        "expr": rule.expr,
        "for": rule.lasting,
        "labels": {"severity": rule.severity},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook": RUNBOOK + rule.name.lower(),
        },
    }


def _dump(document: dict[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return _HEAD + text
