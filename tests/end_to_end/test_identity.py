"""A running exporter that has to find out who its machine is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import metadata
from tests.support.children import REPORT, script
from tests.support.endpoint import Endpoint
from tests.support.exporter import running_exporter
from tests.support.waiting import wait_for

SETS = [["InstanceId", "InstanceType"], ["AutoScalingGroupName"], ["ClusterName", "AccountId"]]


@pytest.fixture
def monitor(tmp_path: Path) -> Path:
    """A neuron-monitor that cannot find out on which instance it runs."""
    nothing = {"instance_info": {"instance_id": "", "instance_name": "", "error": ""}}
    line = json.dumps({**REPORT, **nothing})
    return script(tmp_path / "monitor", f"while sleep 0.2; do echo '{line}'; done")


def settings(monitor: Path, endpoint: Endpoint, **cloudwatch: Any) -> dict[str, Any]:
    """This source, and windows of a second."""
    sent = {"enabled": True, "endpoint_url": endpoint.url, "flush_interval": "1s", **cloudwatch}
    return {"source": {"command": [str(monitor)], "period": "1s"}, "cloudwatch": sent}


def variables(*servers: tuple[str, str]) -> Mapping[str, str]:
    """An environment with credentials, and these addresses."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "false",
        **dict(servers),
    }


def test_a_task_finds_out_who_it_is(tmp_path: Path, monitor: Path, endpoint: Endpoint) -> None:
    """Metadata of instance and task become labels of Prometheus and dimensions of CloudWatch."""
    tags = {"aws:autoscaling:groupName": "fleet"}
    with metadata.imds(metadata.imds_answers(**tags)) as imds, metadata.ecs() as agent:
        environment = variables(
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url),
            ("ECS_CONTAINER_METADATA_URI_V4", agent.url),
        )
        config = settings(monitor, endpoint, dimension_sets=SETS)
        with running_exporter(tmp_path, config, environment=environment) as exporter:
            labels = {
                "instance_id": "i-0fedcba9876543210",
                "instance_type": "trn1.32xlarge",
                "availability_zone": "us-west-2b",
                "region": "us-west-2",
            }
            exporter.wait_for_value("system_memory_total_bytes", 4096, **labels)
            names = ("cluster", "service", "auto_scaling_group", "account")
            for name in names:
                assert f"{name}=" not in exporter.get("/metrics")[1], "labels are those of AWS"
            wait_for(lambda: len(endpoint.datums("ExporterHeartbeat")) >= len(SETS))
            sets = [
                {each["Name"]: each["Value"] for each in datum["Dimensions"]}
                for datum in endpoint.datums("ExporterHeartbeat")[: len(SETS)]
            ]
            assert sets == [
                {"InstanceId": "i-0fedcba9876543210", "InstanceType": "trn1.32xlarge"},
                {"AutoScalingGroupName": "fleet"},
                {"ClusterName": "training", "AccountId": "123456789012"},
            ]
            exporter.wait_for_event("identity_complete")
            assert "us-west-2" in endpoint.headers[0]["Authorization"], "and so is the region"
            assert exporter.stop() == 0


def test_a_container_without_metadata_serves_on(
    tmp_path: Path, monitor: Path, endpoint: Endpoint
) -> None:
    """A hop limit of 1 is told with its reason, keeps no report and no stop waiting for long."""
    with metadata.imds({"/latest/api/token": metadata.silent}) as imds:
        environment = variables(("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url))
        config = settings(monitor, endpoint)
        with running_exporter(tmp_path, config, environment=environment) as exporter:
            exporter.wait_for_event(
                "identity_asked", of="imds", answer="no token: no answer within 1 s"
            )
            exporter.wait_for_value("system_memory_total_bytes", 4096)
            assert "no answer within 1 s" in exporter.get("/api/v1/snapshot")[1]
            assert exporter.stop(seconds=5) == 0
