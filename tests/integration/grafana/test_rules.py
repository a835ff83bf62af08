"""The Prometheus rules: what they read is there, and what they say leads somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from grafana.rulebook import parameters, recordings
from grafana.rulebook.model import Recording
from grafana.rulebook.render import all_alerts
from neuron_exporter.generate.alarms import rules as alarm_rules
from tests.support import readme
from tests.support.paths import ROOT
from tests.support.promtool import RULES, alerts_fired, alerts_firing, check
from tests.support.rule_frames import EXPRESSIONS, READ, STEP, Frame

RUNBOOK = (ROOT / "grafana" / "README.md").read_text()
ALERTS = {alert.name: alert for alert in all_alerts()}
RECORDED = [
    rule for group in recordings.GROUPS for rule in group.rules if isinstance(rule, Recording)
]

TABLE = readme.table("| alert rule |")

needs_prometheus = pytest.mark.usefixtures("needs_prometheus")


@needs_prometheus
def test_promtool_takes_the_rules() -> None:
    """Debian's promtool (2.42) finds nothing to object."""
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_rules_read_is_exposed() -> None:
    """Every metric in an expression is one that METRICS.md lists, or that another rule records."""
    named = re.compile(r"^(?:\| |Beside these there are )`(\w+)`", re.MULTILINE)
    listed = set(named.findall((ROOT / "METRICS.md").read_text()))
    assert len(READ) > 15
    assert listed >= READ
    recorded = set(re.findall(r"\b\w+:\w+:\w+", EXPRESSIONS))
    assert recorded <= {rule.record for rule in RECORDED}


def test_every_recording_has_its_convention_and_its_reason() -> None:
    """Names are level:metric:operations, no two are the same, and each says what it is for."""
    names = [rule.record for rule in RECORDED]
    assert len(set(names)) == len(names)
    for rule in RECORDED:
        assert re.fullmatch(r"(job|instance|workload|holder):\w+:\w+", rule.record)
        assert rule.because.endswith(".")


def test_no_expression_is_for_later_versions() -> None:
    """Nothing in the files is newer than Prometheus 2.42: no new function, no new key."""
    for path in RULES:
        for group in yaml.safe_load(Path(path).read_text())["groups"]:
            assert group.keys() == {"name", "rules"}
            for rule in group["rules"]:
                assert rule.keys() <= {"record", "alert", "expr", "for", "labels", "annotations"}


def test_thresholds_are_those_of_the_alarms() -> None:
    """Where CloudWatch has an alarm of the same meaning, both have one threshold."""
    ours = {
        "error-ratio": 100 * parameters.ERROR_RATIO,
        "device-memory": 100 * parameters.DEVICE_MEMORY,
        "hang": 100 * parameters.HANG_BUSY,
        "idle": 100 * parameters.IDLE,
    }
    theirs = {rule.name: rule.threshold.default for rule in alarm_rules.FLEET}
    assert ours == pytest.approx({name: theirs[name] for name in ours})


def test_the_jobs_are_those_that_are_documented() -> None:
    """The jobs of README, of the configuration without the Operator, and of the PodMonitor are
    ones that the rules look at; Prometheus' own is not."""
    k8s = ROOT / "k8s"
    configuration = yaml.safe_load((k8s / "prometheus" / "scrape-config.yaml").read_text())
    monitor = yaml.safe_load((k8s / "components/pod-monitor/pod-monitor.yaml").read_text())
    jobs = [
        yaml.safe_load(readme.block("yaml", "job_name: neuron"))["scrape_configs"][0]["job_name"],
        configuration["scrape_configs"][0]["job_name"],
        f"monitoring/{monitor['metadata']['name']}",
    ]
    assert all(re.fullmatch(parameters.JOBS, job) for job in jobs)
    assert not re.fullmatch(parameters.JOBS, "prometheus")


# The runbook


def sections() -> dict[str, str]:
    """The runbook's sections, by alert."""
    parts = re.split(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE)[1:]
    return {
        name: re.split(r"^#", text, flags=re.MULTILINE)[0]
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    """Whoever is woken finds what it means, what to look at, what to do, and what ends it."""
    assert list(sections()) == list(ALERTS)
    for name, text in sections().items():
        for question in ("Means", "Look first", "Do", "Ends"):
            assert f"**{question}.**" in text, f"{name}: {question}"


def test_every_alert_names_its_section() -> None:
    """The annotation is a file of this repository, and an anchor that is in it."""
    alerts = yaml.safe_load((ROOT / "grafana" / "rules" / "alerts.yml").read_text())
    for group in alerts["groups"]:
        for rule in group["rules"]:
            path, _, anchor = rule["annotations"]["runbook"].partition("#")
            assert anchor == rule["alert"].lower()
            assert f"### {rule['alert']}\n" in (ROOT / path).read_text()


def test_the_runbook_names_metrics_that_there_are() -> None:
    """Metrics in the runbook are in METRICS.md or are recorded."""
    listed = (ROOT / "METRICS.md").read_text()
    named = set(re.findall(r"`((?:neuron|execution|hardware)\w+)", RUNBOOK))
    assert named
    assert {name for name in named if f"`{name}" not in listed} <= {"neuron"}


def test_readme_lists_every_alert() -> None:
    """README's table has each alert with its severity and its time."""
    rows = [[re.sub(r"\[(\w+)\]\(.*\)", r"\1", row[0]), *row[1:3]] for row in TABLE]
    assert rows == [[alert.name, alert.severity, alert.lasting] for alert in ALERTS.values()]


# What no simulated machine does


def executing(minutes: int, timed_out: int, of: int) -> list[Frame]:
    """A machine that executes so many in 15 s, some of which time out."""
    return [
        {
            'neuron_executions_total{status_type="completed"}': float(number * (of - timed_out)),
            'neuron_executions_total{status_type="timed_out"}': float(number * timed_out),
            "neuron_exporter_up": 1.0,
        }
        for number in range(minutes * 60 // STEP)
    ]


@needs_prometheus
def test_timeouts_are_told_before_errors_are(tmp_path: Path) -> None:
    """Half a percent of timeouts is an alert of its own, a tenth of that is none."""
    check(
        tmp_path,
        {"many:9415": executing(20, 5, 1000)},
        alerts_fired(270),
        alerts_firing(450, "NeuronTimeouts"),
        alerts_fired(1190, "NeuronTimeouts"),
    )
    check(tmp_path, {"few:9415": executing(20, 1, 2000)}, alerts_fired(1190))


@needs_prometheus
def test_one_failure_among_few_executions_wakes_nobody(tmp_path: Path) -> None:
    """It is a large share for five minutes, and gone before the alert's time is over."""
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
def test_a_spool_that_is_half_full_is_told(tmp_path: Path) -> None:
    """However young what waits is."""
    full = {"neuron_exporter_spool_bytes": 2.0**27 + 1, "neuron_exporter_up": 1.0}
    check(
        tmp_path,
        {"full:9415": [full] * 120},
        alerts_fired(870),
        alerts_firing(960, "NeuronSpoolFilling"),
    )
    half = {"neuron_exporter_spool_bytes": 2.0**27, "neuron_exporter_up": 1.0}
    check(tmp_path, {"half:9415": [half] * 120}, alerts_fired(1790))
