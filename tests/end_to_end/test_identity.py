"""A running exporter that looks up its identity."""

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
    """A neuron-monitor whose reports do not identify the instance."""
    unknown = {"instance_info": {"instance_id": "", "instance_name": "", "error": ""}}
    line = json.dumps({**REPORT, **unknown})
    return script(tmp_path / "monitor", f"while sleep 0.2; do echo '{line}'; done")


def make_config(monitor: Path, endpoint: Endpoint, **cloudwatch: Any) -> dict[str, Any]:
    """Return a configuration with this source and windows of one second."""
    cloudwatch = {
        "enabled": True,
        "endpoint_url": endpoint.url,
        "flush_interval": "1s",
        **cloudwatch,
    }
    return {"source": {"command": [str(monitor)], "period": "1s"}, "cloudwatch": cloudwatch}


def variables(*servers: tuple[str, str]) -> Mapping[str, str]:
    """Return an environment with credentials and these URLs."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "false",
        **dict(servers),
    }


def test_metadata_services(tmp_path: Path, monitor: Path, endpoint: Endpoint) -> None:
    """Metadata of instance and task become labels and dimensions."""
    tags = {"aws:autoscaling:groupName": "fleet"}
    with metadata.imds(metadata.imds_responses(**tags)) as imds, metadata.ecs() as agent:
        environment = variables(
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url),
            ("ECS_CONTAINER_METADATA_URI_V4", agent.url),
        )
        config = make_config(monitor, endpoint, dimension_sets=SETS)
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
                assert f"{name}=" not in exporter.get("/metrics")[1], (
                    "not among the labels of AWS's layout"
                )
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
            assert "us-west-2" in endpoint.headers[0]["Authorization"], (
                "the region was found as well"
            )
            assert exporter.stop() == 0


def test_unreachable_imds(tmp_path: Path, monitor: Path, endpoint: Endpoint) -> None:
    """The reason is logged, and neither reports nor the shutdown are held up."""
    with metadata.imds({"/latest/api/token": metadata.never_respond}) as imds:
        environment = variables(("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url))
        config = make_config(monitor, endpoint)
        with running_exporter(tmp_path, config, environment=environment) as exporter:
            exporter.wait_for_event(
                "identity_lookup", provider="imds", result="no token: no answer within 1 s"
            )
            exporter.wait_for_value("system_memory_total_bytes", 4096)
            assert "no answer within 1 s" in exporter.get("/api/v1/snapshot")[1]
            assert exporter.stop() == 0
