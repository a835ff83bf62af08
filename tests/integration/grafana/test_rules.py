"""The Prometheus rules: valid expressions and names, thresholds, and the runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from grafana.rules_src import parameters, recordings
from grafana.rules_src.model import Recording
from grafana.rules_src.render import all_alerts, files
from neuron_exporter.facts import problems
from neuron_exporter.facts.project import runbook_address
from neuron_exporter.generate.alarms.rules import FLEET_RULES, MACHINE_RULES, TASK_RULES
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Group, Layout
from tests.support.documents import block, table
from tests.support.paths import ROOT
from tests.support.promtool import RULES
from tests.support.rule_frames import EXPRESSIONS, READ

RUNBOOK = (ROOT / "grafana" / "RUNBOOK.md").read_text()
ALERTS = {alert.name: alert for alert in all_alerts()}
RECORDED = [
    rule for group in recordings.GROUPS for rule in group.rules if isinstance(rule, Recording)
]

TABLE = table("grafana/README.md", "| alert rule |")

needs_prometheus = pytest.mark.usefixtures("needs_prometheus")


@needs_prometheus
def test_promtool_accepts_the_rules() -> None:
    """Debian's promtool 2.42 finds no errors."""
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_metrics_of_expressions_exist() -> None:
    listed = set(re.findall(r"`(\w+)`", (ROOT / "METRICS.md").read_text()))
    assert len(READ) > 15
    # The process_ metrics are those of prometheus_client.
    assert listed >= {name for name in READ if not name.startswith("process_")}
    recorded = set(re.findall(r"\b\w+:\w+:\w+", EXPRESSIONS))
    assert recorded <= {rule.record for rule in RECORDED}


def test_rules_need_only_the_standard_preset() -> None:
    selection, _ = select_for_prometheus("standard", [], [], Layout.CORE)
    selected = {row.name for row in selection.rows}
    hardware = {row.name for row in CATALOGUE}
    assert READ & hardware <= selected


def test_readme_lists_every_recorded_series() -> None:
    cells = " ".join(row[0] for row in table("grafana/README.md", "| recorded series |"))
    listed = re.findall(r"`([\w:]+)`", cells)
    assert sorted(listed) == sorted({rule.record for rule in RECORDED})


def test_recorded_series_follow_the_naming_convention() -> None:
    names = [(rule.record, *rule.labels.items()) for rule in RECORDED]
    assert len(set(names)) == len(names)
    for rule in RECORDED:
        assert re.fullmatch(
            r"(job|instance|instance_job_id|job_id|workload|holder|device|core):\w+:\w+",
            rule.record,
        )
        assert rule.rationale.endswith(".")


def test_files_need_no_newer_prometheus() -> None:
    """No key is newer than Prometheus 2.42."""
    for path in RULES:
        for group in yaml.safe_load(Path(path).read_text())["groups"]:
            assert group.keys() == {"name", "rules"}
            for rule in group["rules"]:
                assert rule.keys() <= {"record", "alert", "expr", "for", "labels", "annotations"}


def test_thresholds_equal_those_of_the_alarms() -> None:
    thresholds = {
        "error-ratio": 100 * problems.ERROR_RATIO,
        "device-memory": 100 * problems.DEVICE_MEMORY_RATIO,
        "hang": 100 * problems.HANG_UTILIZATION,
        "idle": 100 * parameters.IDLE_UTILIZATION,
    }
    defaults = {rule.name: rule.threshold.default for rule in FLEET_RULES}
    assert thresholds == pytest.approx({name: defaults[name] for name in thresholds})


def test_documented_jobs_match() -> None:
    """The jobs in the documentation and in k8s match, but Prometheus' own does not."""
    documented = yaml.safe_load(block("docs/prometheus.md", "yaml", "job_name: neuron"))
    k8s = ROOT / "k8s"
    configuration = yaml.safe_load((k8s / "prometheus" / "scrape-config.yaml").read_text())
    monitor = yaml.safe_load((k8s / "components/pod-monitor/pod-monitor.yaml").read_text())
    jobs = [
        documented["scrape_configs"][0]["job_name"],
        configuration["scrape_configs"][0]["job_name"],
        f"monitoring/{monitor['metadata']['name']}",
    ]
    assert all(re.fullmatch(parameters.JOBS, job) for job in jobs)
    assert not re.fullmatch(parameters.JOBS, "prometheus")


# The runbook


def sections() -> dict[str, str]:
    """Return the runbook's sections by alert."""
    parts = re.split(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE)[1:]
    return {
        name: re.split(r"^#", text, flags=re.MULTILINE)[0]
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_runbook_has_a_section_for_each_alert() -> None:
    assert list(sections()) == list(ALERTS)
    for name, text in sections().items():
        for label in ("Meaning", "Check first", "Action", "Resolves"):
            assert f"**{label}.**" in text, f"{name}: {label}"


def test_runbook_annotations_are_valid_links() -> None:
    alerts = yaml.safe_load((ROOT / "grafana" / "rules" / "alerts.yml").read_text())
    for group in alerts["groups"]:
        for rule in group["rules"]:
            path, _, anchor = rule["annotations"]["runbook"].partition("#")
            assert anchor == rule["alert"].lower()
            assert f"### {rule['alert']}\n" in (ROOT / path).read_text()


def test_absolute_address_of_the_runbook_if_the_project_has_a_home() -> None:
    """Neither `runbook_url` nor an empty address exists without one."""
    home = "https://example.org/neuron-exporter/blob/v1"
    (document,) = (
        yaml.safe_load(text)
        for path, text in files(home).items()
        if path == "grafana/rules/alerts.yml"
    )
    for group in document["groups"]:
        for rule in group["rules"]:
            annotations = rule["annotations"]
            assert annotations["runbook_url"] == f"{home}/{annotations['runbook']}"
    assert "runbook_url" not in "".join(files("").values())
    assert runbook_address("") == ""


def test_alarms_name_existing_alerts() -> None:
    """Descriptions of alarms link to the runbook's sections of these alerts."""
    rules = (*FLEET_RULES, *TASK_RULES, *MACHINE_RULES)
    assert {rule.alert for rule in rules} <= ALERTS.keys()


def test_runbook_names_existing_metrics() -> None:
    listed = (ROOT / "METRICS.md").read_text()
    named = set(re.findall(r"`((?:neuron|execution|hardware)\w+)", RUNBOOK))
    assert named
    groups = {group.value for group in Group}
    assert {name for name in named if f"`{name}" not in listed} <= {"neuron", *groups}


def test_readme_lists_every_alert() -> None:
    rows = [[re.sub(r"\[(\w+)\]\(.*\)", r"\1", row[0]), *row[1:3]] for row in TABLE]
    assert rows == [[alert.name, alert.severity, alert.for_] for alert in ALERTS.values()]
