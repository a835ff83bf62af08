"""The user's configuration in a task definition."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from neuron_exporter.config import ConfigError, load
from neuron_exporter.generate.ecs.task_definition import task_definition
from tests.support.task_definitions import environment_of, exporter_of

PREFIX = "NEURON_EXPORTER__CLOUDWATCH__"
FOLDER = "/var/lib/neuron-exporter"


def environment(
    folder: Path, text: str, launch: str = "sidecar", devices: str | None = "all"
) -> tuple[dict[str, str], list[str]]:
    """Return the container's variables for a configuration, and the explanations."""
    path = folder / "exporter.yaml"
    path.write_text(text)
    lines: list[str] = []
    definition = task_definition(
        instance_type="inf1.24xlarge",
        workload="none",
        launch=launch,
        devices=devices,
        configure=partial(load, str(path), {}),
        explain=lines.append,
    )
    return environment_of(exporter_of(definition)), lines


def test_only_the_spool_is_added(tmp_path: Path) -> None:
    """What is published, and so what it costs, is what the file says."""
    variables, lines = environment(tmp_path, "cloudwatch: {enabled: true, preset: minimal}")
    assert variables == {
        f"{PREFIX}ENABLED": "true",
        f"{PREFIX}PRESET": "minimal",
        f"{PREFIX}SPOOL__PATH": "/var/lib/neuron-exporter/sidecar-{task_id}.db",
    }
    assert lines[0].startswith("cloudwatch.spool.path is not in the configuration, and set to ")


def test_a_daemon_has_a_spool_of_the_machine(tmp_path: Path) -> None:
    variables, _ = environment(tmp_path, "cloudwatch: {enabled: true}", "daemon")
    assert variables[f"{PREFIX}SPOOL__PATH"] == "/var/lib/neuron-exporter/daemon.db"


def test_one_of_several_tasks_publishes_its_part(tmp_path: Path) -> None:
    variables, lines = environment(tmp_path, "cloudwatch: {enabled: true}", devices="0-3")
    assert variables[f"{PREFIX}SCOPE"] == "task"
    assert variables[f"{PREFIX}DIMENSION_SETS"] == "[[ClusterName, TaskDefinitionFamily]]"
    assert [line.partition(" ")[0] for line in lines[:2]] == [
        "cloudwatch.scope",
        "cloudwatch.dimension_sets",
    ]


def test_settings_that_do_not_fit_a_part_of_the_machine(tmp_path: Path) -> None:
    sets = "cloudwatch: {enabled: true, dimension_sets: [[InstanceId]]}"
    with pytest.raises(ConfigError) as caught:
        environment(tmp_path, sets, devices="0")
    (problem,) = caught.value.problems
    assert "exporter.yaml:1: cloudwatch.dimension_sets: with scope task" in problem


def test_an_explicit_scope_is_kept(tmp_path: Path) -> None:
    variables, _ = environment(tmp_path, "cloudwatch: {enabled: true, scope: machine}", devices="0")
    assert variables[f"{PREFIX}SCOPE"] == "machine"
    assert f"{PREFIX}DIMENSION_SETS" not in variables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (
            "prometheus: {preset: minimal}",
            {"NEURON_EXPORTER__PROMETHEUS__PRESET": "minimal"},
        ),
    ],
)
def test_prometheus_alone(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    """Without CloudWatch in the file, the sidecar does not publish there."""
    variables, lines = environment(tmp_path, text)
    assert variables == expected
    assert "cloudwatch.enabled is not set: only Prometheus gets metrics" in lines


def test_otlp_has_a_spool_of_the_task(tmp_path: Path) -> None:
    """It is another file than CloudWatch's, and none that an exporter would take for an orphan of
    CloudWatch's."""
    both = "cloudwatch: {enabled: true}\notlp: {enabled: true, endpoint: 'http://127.0.0.1:4318'}\n"
    variables, lines = environment(tmp_path, both)
    assert (
        variables["NEURON_EXPORTER__OTLP__SPOOL__PATH"] == f"{FOLDER}/otlp-sidecar-{{task_id}}.db"
    )
    assert variables[f"{PREFIX}SPOOL__PATH"] == f"{FOLDER}/sidecar-{{task_id}}.db"
    assert not any("warning" in line for line in lines)
    variables, lines = environment(tmp_path, both.partition("\n")[2], "daemon")
    assert variables["NEURON_EXPORTER__OTLP__SPOOL__PATH"] == f"{FOLDER}/otlp-daemon.db"
    assert not any("only Prometheus" in line for line in lines)


def test_doubtful_settings_of_otlp_are_remarked(tmp_path: Path) -> None:
    text = "otlp: {enabled: true, endpoint: 'https://example.com', headers: {Api-Key: %s}}"
    _, lines = environment(tmp_path, text % "secret")
    assert any(line.startswith("warning: otlp.headers can be read") for line in lines)
    _, lines = environment(tmp_path, text % "{variable: API_KEY}", devices="0")
    assert not any("otlp.headers" in line for line in lines)
    assert any(line.startswith("warning: OTLP has no scope") for line in lines)


def test_readable_secrets_are_remarked(tmp_path: Path) -> None:
    _, lines = environment(tmp_path, "source: {environment: {TOKEN: abc}}")
    assert any(line.startswith("warning: source.environment can be read") for line in lines)


@pytest.mark.parametrize(
    ("launch", "capabilities", "line"),
    [
        ("daemon", ["IPC_LOCK", "SYS_PTRACE", "DAC_READ_SEARCH"], "SYS_PTRACE and DAC_READ_SE"),
        ("managed-daemon", ["IPC_LOCK"], "identity.process_labels has no effect"),
        ("sidecar", ["IPC_LOCK"], "identity.process_labels has no effect"),
    ],
)
def test_process_labels(tmp_path: Path, launch: str, capabilities: list[str], line: str) -> None:
    """Only a daemon sees the processes of other tasks, and may read them."""
    path = tmp_path / "exporter.yaml"
    path.write_text("identity: {process_labels: {job_id: AWS_BATCH_JOB_ID}}\n")
    lines: list[str] = []
    definition = task_definition(
        instance_type="inf2.xlarge",
        workload="none",
        launch=launch,
        configure=partial(load, str(path), {}),
        explain=lines.append,
    )
    (container,) = definition["containerDefinitions"]
    assert container["linuxParameters"]["capabilities"]["add"] == capabilities
    assert any(line in each for each in lines)
