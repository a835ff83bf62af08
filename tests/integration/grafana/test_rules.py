"""The Prometheus rules: valid expressions and names, thresholds, and the runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from grafana.rules_src import parameters, recordings
from grafana.rules_src.model import Recording
from grafana.rules_src.render import all_alerts
from neuron_exporter.generate.alarms.rules import FLEET_RULES
from tests.support.documents import block, table
from tests.support.paths import ROOT
from tests.support.promtool import RULES, alerts_fired, alerts_firing, check
from tests.support.rule_frames import EXPRESSIONS, READ, STEP, Frame

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
    assert listed >= READ
    recorded = set(re.findall(r"\b\w+:\w+:\w+", EXPRESSIONS))
    assert recorded <= {rule.record for rule in RECORDED}


def test_recorded_series_follow_the_naming_convention() -> None:
    names = [rule.record for rule in RECORDED]
    assert len(set(names)) == len(names)
    for rule in RECORDED:
        assert re.fullmatch(r"(job|instance|workload|holder):\w+:\w+", rule.record)
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
        "error-ratio": 100 * parameters.ERROR_RATIO,
        "device-memory": 100 * parameters.DEVICE_MEMORY_RATIO,
        "hang": 100 * parameters.HANG_UTILIZATION,
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


def test_runbook_names_existing_metrics() -> None:
    listed = (ROOT / "METRICS.md").read_text()
    named = set(re.findall(r"`((?:neuron|execution|hardware)\w+)", RUNBOOK))
    assert named
    assert {name for name in named if f"`{name}" not in listed} <= {"neuron"}


def test_readme_lists_every_alert() -> None:
    rows = [[re.sub(r"\[(\w+)\]\(.*\)", r"\1", row[0]), *row[1:3]] for row in TABLE]
    assert rows == [[alert.name, alert.severity, alert.for_] for alert in ALERTS.values()]


# Conditions that the simulator does not produce


def simulate_timeouts(minutes: int, timed_out: int, total: int) -> list[Frame]:
    """Return frames with `total` executions per step, of which some time out."""
    return [
        {
            'neuron_executions_total{status_type="completed"}': float(number * (total - timed_out)),
            'neuron_executions_total{status_type="timed_out"}': float(number * timed_out),
            "neuron_exporter_up": 1.0,
        }
        for number in range(minutes * 60 // STEP)
    ]


@needs_prometheus
def test_timeouts(tmp_path: Path) -> None:
    """0.5 % of timeouts fire an alert, 0.05 % do not."""
    check(
        tmp_path,
        {"many:9415": simulate_timeouts(20, 5, 1000)},
        alerts_fired(270),
        alerts_firing(450, "NeuronTimeouts"),
        alerts_fired(1190, "NeuronTimeouts"),
    )
    check(tmp_path, {"few:9415": simulate_timeouts(20, 1, 2000)}, alerts_fired(1190))


@needs_prometheus
def test_one_failure_among_few_executions(tmp_path: Path) -> None:
    """The failure ratio is high for five minutes, but not long enough to fire."""
    frames: list[Frame] = [
        {
            'neuron_executions_total{status_type="completed"}': float(number),
            'neuron_executions_total{status_type="failed_to_queue"}': float(number > 40),
            "neuron_exporter_up": 1.0,
        }
        for number in range(160)
    ]
    check(tmp_path, {"slow:9415": frames}, alerts_fired(2300))


@needs_prometheus
def test_spool_size(tmp_path: Path) -> None:
    """The alert fires above 128 MiB, regardless of the requests' age."""
    full = {"neuron_exporter_spool_bytes": 2.0**27 + 1, "neuron_exporter_up": 1.0}
    check(
        tmp_path,
        {"full:9415": [full] * 120},
        alerts_fired(870),
        alerts_firing(960, "NeuronSpoolFilling"),
    )
    half = {"neuron_exporter_spool_bytes": 2.0**27, "neuron_exporter_up": 1.0}
    check(tmp_path, {"half:9415": [half] * 120}, alerts_fired(1790))
