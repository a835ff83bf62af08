"""Evidence of reports, for the judges."""

from __future__ import annotations

import json
from typing import Any

from neuron_exporter.doctor.acceptance.assumptions import ASSUMPTIONS
from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import Judgement, Result
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.pipeline.source import groups_of
from neuron_exporter.report import decode

BY_NAME = {assumption.name: assumption for assumption in ASSUMPTIONS}


def evidence_of(*reports: dict[str, Any], every: float = 5.0, **more: Any) -> Evidence:
    """Return the evidence of these reports, one every 5 s from neuron-monitor."""
    defaults: dict[str, Any] = {
        "period": 5.0,
        "requested": groups_of(CATALOGUE),
        "max_line": 2**24,
        "is_own_child": True,
    }
    evidence = Evidence(**{**defaults, **more})
    add(evidence, *reports, every=every)
    return evidence


def add(evidence: Evidence, *reports: dict[str, Any], every: float = 5.0) -> None:
    """Add more reports."""
    first = evidence.stream.reports
    for number, document in enumerate(reports, first):
        line = json.dumps(document).encode()
        evidence.observe(line, decode(line), number * every)


def judge(name: str, evidence: Evidence) -> Judgement:
    """Judge one assumption."""
    return BY_NAME[name].judge(evidence)


def result(name: str, evidence: Evidence) -> Result:
    """Return the result of one assumption."""
    return judge(name, evidence).result
