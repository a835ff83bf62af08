"""Translation of rules for Prometheus into queries for CloudWatch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from grafana.alarms_src.alarms import queries
from grafana.alarms_src.promql import UntranslatableError, metrics, translate
from tests.support.promql_alarms import write_rules

RECORDED = {
    "instance:load:avg": 'avg by (cluster, job, instance, instance_id) (load{kind="cpu"})',
    "instance:share:ratio": "instance:load:avg / (instance:limit:sum > 0)",
    "instance:limit:sum": "sum by (instance) (limit)",
    "instance:past:max": "max_over_time(instance:load:avg[5m])",
}


@pytest.mark.parametrize(
    ("expression", "query"),
    [
        ('errors_total{job=~".*neuron.*", code="5"}[5m]', 'errors_total{code="5"}[5m]'),
        ('load{job=~".*neuron.*"}', "load"),
        ("sum by (cluster, job, instance) (load)", "sum by (cluster, instance_id) (load)"),
        ("a and on (job, instance) b", "a and on (instance_id) b"),
        (
            "max by (instance, node, instance_id, instance_type) (load)",
            "max by (node, instance_id) (load)",
        ),
        ("a * on (instance) group_left () b", "a * on (instance_id) group_left () b"),
        (
            "instance:load:avg > 0.5",
            '(avg by (cluster, instance_id) (load{kind="cpu"})) > 0.5',
        ),
        (
            'instance:load:avg{cluster="a|b}"} offset 2h',
            '(avg by (cluster, instance_id) (load{kind="cpu",cluster="a|b}"} offset 2h))',
        ),
        (
            "instance:share:ratio",
            '((avg by (cluster, instance_id) (load{kind="cpu"})) '
            "/ ((sum by (instance_id) (limit)) > 0))",
        ),
        (
            'label_replace(\n  last_over_time(load[1h]), "job", "x y", "", ""\n) unless bool',
            'label_replace(last_over_time(load[1h]), "job", "x y", "", "") unless bool',
        ),
    ],
)
def test_translate(expression: str, query: str) -> None:
    assert translate(expression, RECORDED) == query


@pytest.mark.parametrize(
    "expression",
    [
        "avg_over_time(instance:load:avg[5m])",
        "instance:past:max",
        "instance:load:avg[1d] offset 1h",
    ],
)
def test_past_of_recorded_series(expression: str) -> None:
    with pytest.raises(UntranslatableError, match=r"instance:load:avg\[\w+\] reads recorded"):
        translate(expression, RECORDED)


def test_metrics() -> None:
    query = 'sum by (b) (rate(a{c="d"}[5m])) > bool 1 and on (e) f offset 5m unless time() - g'
    assert metrics(query) == {"a", "f", "g"}


@pytest.mark.usefixtures("needs_prometheus")
def test_promtool_accepts_the_queries(tmp_path: Path) -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", write_rules(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries())} rules found" in done.stdout
