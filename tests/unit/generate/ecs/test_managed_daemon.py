"""The definition for ECS Managed Daemons: what the API takes, and what it says."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import ConfigError, load
from neuron_exporter.generate.ecs.task_definition import task_definition
from tests.support.task_definitions import (
    MANAGED,
    committed,
    environment_of,
    exporter_of,
    make_definition,
    problems_of,
)


def managed(instance_type: str = "inf2.48xlarge", **options: Any) -> dict[str, Any]:
    """Return the definition for a type."""
    fixed = {"workload": "none", "launch": "managed-daemon"}
    return task_definition(**{"instance_type": instance_type, **fixed, **options})


@pytest.mark.parametrize("name", MANAGED)
def test_the_api_takes_the_committed_definition(name: str) -> None:
    assert problems_of(committed(name)) == ""


def test_the_api_does_not_take_the_definition_of_other_daemons() -> None:
    found = problems_of(make_definition("inf2.48xlarge", "none", "daemon"))
    for key in ("networkMode", "placementConstraints", "portMappings", "dockerLabels"):
        assert f'"{key}"' in found


def test_it_has_what_the_other_daemon_has() -> None:
    """All devices with the same rights; only what the API lacks or what could end it differs."""
    own, other = managed(), make_definition("inf2.48xlarge", "none", "daemon")
    assert "pidMode" not in own, "the API has no mode host"
    ours, theirs = exporter_of(own), exporter_of(other)
    assert theirs.keys() - ours.keys() == {"portMappings", "dockerLabels", "healthCheck"}
    assert ours["essential"] is True, "ECS requires one essential container"
    changed = {key for key, value in ours.items() if value != theirs[key]}
    assert changed == {"environment", "restartPolicy"}


def test_it_does_not_end_by_itself() -> None:
    """ECS restarts the container whatever its status, and the entry point does not end with 2."""
    exporter = exporter_of(managed())
    assert exporter["restartPolicy"] == {"enabled": True, "restartAttemptPeriod": 60}
    assert environment_of(exporter)["NEURON_EXPORTER_RETRY_SECONDS"] == "60"


def test_the_configuration_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "exporter.yaml"
    path.write_text("cloudwatch: {enabled: true, preset: minimal}")
    definition = managed(configure=partial(load, str(path), {}))
    assert problems_of(definition) == ""
    environment = environment_of(exporter_of(definition))
    assert environment["NEURON_EXPORTER__CLOUDWATCH__PRESET"] == "minimal"
    assert "NEURON_EXPORTER_RETRY_SECONDS" in environment


def test_it_says_what_is_lost_and_how_to_run_it() -> None:
    lines: list[str] = []
    managed(explain=lines.append)
    assert lines[0].startswith("none of this was run on AWS")
    explained = " ".join(lines)
    for subject in ("pidMode host", "port mappings", "inf2.48xlarge only", "--no-critical"):
        assert subject in explained


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"instance_type": "inf1.xlarge"},
            "--instance-type: ECS supports Inf1 on EC2 capacity only, not on Managed Instances: "
            "use --launch daemon (got 'inf1.xlarge')",
        ),
        ({"devices": "0-3"}, "--devices: must be all for a daemon (got '0-3')"),
        ({"into": "task.json"}, "--into: needs --with none and --launch sidecar"),
        ({"workload": "compile"}, "--with: must be none with --launch managed-daemon: "),
    ],
)
def test_invalid_options(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        managed(**options)
    (found,) = caught.value.problems
    assert found.startswith(problem)
