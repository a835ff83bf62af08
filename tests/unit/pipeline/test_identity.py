"""The machine's identity by configuration: missing fields at start, and the providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import Override, load
from neuron_exporter.identity import local, local_http
from neuron_exporter.pipeline import identity as identity_factory
from neuron_exporter.pipeline.build import build
from tests.support import metadata
from tests.support.waiting import wait_for


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


def test_all_providers_in_a_task(dmi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hop limit of 1, a task gets all fields of its dimension sets from DMI and the ECS
    agent."""
    monkeypatch.setattr(local_http, "TIMEOUT", 2.0)
    (dmi / "sys_vendor").write_text("Amazon EC2\n")
    (dmi / "board_asset_tag").write_text("i-0123456789abcdef0\n")
    with (
        metadata.imds({"/latest/api/token": metadata.never_respond}) as imds,
        metadata.ecs() as agent,
    ):
        variables = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url,
            "ECS_CONTAINER_METADATA_URI_V4": agent.url,
            "AWS_REGION": "eu-west-1",
        }
        flags = [
            Override("flag", "prometheus.enabled", False),
            Override("flag", "cloudwatch.enabled", True),
            Override(
                "flag",
                "cloudwatch.dimension_sets",
                [["InstanceId", "AccountId"], ["ClusterName", "ServiceName"]],
            ),
        ]
        parts = build(load(flags=flags), environment=variables)
        assert parts.identity_resolver is not None
        parts.identity_resolver.start()
        wait_for(
            lambda: not parts.identity_resolver or not parts.identity_resolver._thread.is_alive()
        )
        status = parts.identity_resolver.status()
    assert status == {"imds": "no token: no answer within 2 s", "ecs": "answered"}
    found = parts.identity.machine()
    assert found == replace(
        found,
        instance_id="i-0123456789abcdef0",
        account="123456789012",
        cluster="training",
        service="resnet-inference",
        region="us-west-2",
    )


@pytest.mark.usefixtures("dmi")
def test_task_id_in_spool_path_is_looked_up() -> None:
    path = {"cloudwatch__spool__path": "/spool/{task_id}.db"}
    missing, names = lookups(AGENT, **SENT, **path)
    assert "task_id" in missing
    assert "ecs" in names
    assert "task_id" not in lookups(AGENT, **SENT)[0]
