"""What a configuration makes of the chain: what is lacking at the start, and who is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import Given, load
from neuron_exporter.identity import dmi
from neuron_exporter.identity import local_http as ask
from neuron_exporter.pipeline import identity as identify
from neuron_exporter.pipeline.build import build
from tests.support import metadata
from tests.support.waiting import wait_for


def sought(
    variables: Mapping[str, str] | None = None, **keys: Any
) -> tuple[frozenset[str], list[str]]:
    """The fields that are lacking at the start, and who is asked."""
    flags = [Given("flag", key.replace("__", "."), value) for key, value in keys.items()]
    found = build(load(flags=flags), environment=variables or {}).finder
    return (frozenset(), []) if found is None else (found._lacking(), list(found.status()))


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board without files, whatever machine the test runs on."""
    monkeypatch.setattr(dmi, "FOLDER", tmp_path)
    return tmp_path


AGENT = {"ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:1/v4/x"}
SENT = {"cloudwatch__enabled": True, "prometheus__enabled": False}


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize(
    ("keys", "driver"),
    [
        ({}, "2.24.7"),
        ({"source__kind": "stdin"}, "2.24.7"),
        ({"source__kind": "simulator"}, ""),
        ({"source__kind": "file", "source__path": __file__}, ""),
    ],
)
def test_the_driver_is_that_of_the_machine_that_reports(
    keys: dict[str, Any], driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded and simulated reports are of other machines: this one's driver is not theirs."""
    monkeypatch.setattr(identify, "driver_version", lambda: "2.24.7")
    flags = [Given("flag", key.replace("__", "."), value) for key, value in keys.items()]
    assert build(load(flags=flags), environment={}).identity.machine().driver_version == driver


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize(
    ("variables", "keys", "asked"),
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
def test_those_are_asked_who_may_be_and_can_tell(
    variables: dict[str, str], keys: dict[str, Any], asked: list[str]
) -> None:
    """Switches, variables and what is lacking decide; a replayed machine is never this one."""
    assert sought(variables, **keys)[1] == asked


@pytest.mark.usefixtures("board")
def test_what_the_sinks_need_is_asked_for() -> None:
    """Prometheus wants its labels, CloudWatch its dimensions and a region, nobody anything else."""
    assert sought()[0] == identify.LABELLED
    sets = [["InstanceId", "Stage"], ["AutoScalingGroupName"]]
    keys: dict[str, Any] = {
        **SENT,
        "cloudwatch__dimension_sets": sets,
        "cloudwatch__extra_dimensions": {"Stage": "x", "InstanceId": "mine"},
    }
    assert sought(**keys)[0] == {"auto_scaling_group", "region"}
    assert sought(**keys, cloudwatch__region="eu-west-1")[0] == {"auto_scaling_group"}


def test_the_board_goes_before_the_services(board: Path) -> None:
    """What the firmware tells is asked of nobody."""
    (board / "board_vendor").write_text("Amazon EC2\n")
    (board / "board_asset_tag").write_text("i-0123456789abcdef0\n")
    assert "instance_id" not in sought()[0]


def test_the_whole_chain_in_a_task(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a hop limit of 1 a task still learns all that its sets name, of firmware and agent."""
    monkeypatch.setattr(ask, "SECONDS", 0.3)
    (board / "sys_vendor").write_text("Amazon EC2\n")
    (board / "board_asset_tag").write_text("i-0123456789abcdef0\n")
    with metadata.imds({"/latest/api/token": metadata.silent}) as imds, metadata.ecs() as agent:
        variables = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url,
            "ECS_CONTAINER_METADATA_URI_V4": agent.url,
            "AWS_REGION": "eu-west-1",
        }
        flags = [
            Given("flag", "prometheus.enabled", False),
            Given("flag", "cloudwatch.enabled", True),
            Given(
                "flag",
                "cloudwatch.dimension_sets",
                [["InstanceId", "AccountId"], ["ClusterName", "ServiceName"]],
            ),
        ]
        parts = build(load(flags=flags), environment=variables)
        assert parts.finder is not None
        parts.finder.start()
        wait_for(lambda: not parts.finder or not parts.finder._thread.is_alive())
        status = parts.finder.status()
    assert status == {"imds": "no token: no answer within 0.3 s", "ecs": "answered"}
    found = parts.identity.machine()
    assert found == replace(
        found,
        instance_id="i-0123456789abcdef0",
        account="123456789012",
        cluster="training",
        service="resnet-inference",
        region="us-west-2",
    )


@pytest.mark.usefixtures("board")
def test_the_task_is_asked_for_where_the_spool_is_named_by_it() -> None:
    """Tasks that share a volume have a file each, though no dimension set names them."""
    path = {"cloudwatch__spool__path": "/spool/{task_id}.db"}
    lacking, asked = sought(AGENT, **SENT, **path)
    assert "task_id" in lacking
    assert "ecs" in asked
    assert "task_id" not in sought(AGENT, **SENT)[0]
