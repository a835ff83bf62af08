"""The machine's identity by configuration: missing fields at start, and the providers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import Override, load
from neuron_exporter.identity import local
from neuron_exporter.pipeline import identity as identity_factory
from neuron_exporter.pipeline.build import build


def lookups(
    variables: Mapping[str, str] | None = None, **keys: Any
) -> tuple[frozenset[str], list[str]]:
    """Return the missing fields at the start and the names of the providers."""
    flags = [Override("flag", key.replace("__", "."), value) for key, value in keys.items()]
    found = build(load(flags=flags), environment=variables or {}).identity_resolver
    return (frozenset(), []) if found is None else (found._missing(), list(found.status()))


@pytest.fixture
def dmi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty DMI folder, whatever machine the test runs on."""
    monkeypatch.setattr(local, "DMI_FOLDER", tmp_path)
    return tmp_path


AGENT = {"ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:1/v4/x"}
SENT = {"cloudwatch__enabled": True, "prometheus__enabled": False}


@pytest.mark.usefixtures("dmi")
@pytest.mark.parametrize(
    ("keys", "driver"),
    [
        ({}, "2.24.7"),
        ({"source__kind": "stdin"}, "2.24.7"),
        ({"source__kind": "simulator"}, ""),
        ({"source__kind": "file", "source__path": __file__}, ""),
    ],
)
def test_driver_version_of_local_sources_only(
    keys: dict[str, Any], driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_factory, "driver_version", lambda: "2.24.7")
    flags = [Override("flag", key.replace("__", "."), value) for key, value in keys.items()]
    assert build(load(flags=flags), environment={}).identity.machine().driver_version == driver


@pytest.mark.usefixtures("dmi")
@pytest.mark.parametrize(
    ("variables", "keys", "names"),
    [
        ({}, {}, ["imds"]),
        (AGENT, {}, ["imds", "ecs"]),
        (AGENT, {"identity__imds": False}, ["ecs"]),
        (AGENT, {"identity__ecs": False}, ["imds"]),
        ({**AGENT, "AWS_EC2_METADATA_DISABLED": "true"}, {}, ["ecs"]),
        ({}, {"identity__imds": False}, []),
        ({}, {"source__kind": "stdin"}, ["imds"]),
        ({}, {"source__kind": "simulator"}, []),
        ({}, {"source__kind": "file", "source__path": __file__}, []),
        (
            {},
            {**SENT, "cloudwatch__dimension_sets": [["ClusterName"]], "cloudwatch__region": "a"},
            [],
        ),
    ],
)
def test_providers(variables: dict[str, str], keys: dict[str, Any], names: list[str]) -> None:
    assert lookups(variables, **keys)[1] == names


@pytest.mark.usefixtures("dmi")
def test_fields_that_sinks_need() -> None:
    assert lookups()[0] == identity_factory.PROMETHEUS_FIELDS
    sets = [["InstanceId", "Stage"], ["AutoScalingGroupName"]]
    keys: dict[str, Any] = {
        **SENT,
        "cloudwatch__dimension_sets": sets,
        "cloudwatch__extra_dimensions": {"Stage": "x", "InstanceId": "mine"},
    }
    assert lookups(**keys)[0] == {"auto_scaling_group", "region"}
    assert lookups(**keys, cloudwatch__region="eu-west-1")[0] == {"auto_scaling_group"}


def test_dmi_precedes_providers(dmi: Path) -> None:
    (dmi / "board_vendor").write_text("Amazon EC2\n")
    (dmi / "board_asset_tag").write_text("i-0123456789abcdef0\n")
    assert "instance_id" not in lookups()[0]


@pytest.mark.usefixtures("dmi")
def test_task_id_in_spool_path_is_looked_up() -> None:
    path = {"cloudwatch__spool__path": "/spool/{task_id}.db"}
    missing, names = lookups(AGENT, **SENT, **path)
    assert "task_id" in missing
    assert "ecs" in names
    assert "task_id" not in lookups(AGENT, **SENT)[0]
