"""The identity of a machine that has several providers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from neuron_exporter.config import Override, load
from neuron_exporter.identity import local, local_http
from neuron_exporter.pipeline.build import build
from tests.support import metadata
from tests.support.waiting import wait_for


def test_all_providers_in_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hop limit of 1, a task gets all fields of its dimension sets from DMI and the ECS
    agent."""
    monkeypatch.setattr(local_http, "TIMEOUT", 2.0)
    monkeypatch.setattr(local, "DMI_FOLDER", tmp_path)
    (tmp_path / "sys_vendor").write_text("Amazon EC2\n")
    (tmp_path / "board_asset_tag").write_text("i-0123456789abcdef0\n")
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
