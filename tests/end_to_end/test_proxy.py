"""Proxies: CloudWatch is reached through them, link-local addresses are not."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support import metadata
from tests.support.doctor import doctor
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.exporter import running_exporter, simulated, write_config
from tests.support.network import own_network
from tests.support.waiting import wait_for

CLOUDWATCH = "http://cloudwatch.test"
"""A name that only the proxy resolves."""

CONTAINER = "AWS_CONTAINER_CREDENTIALS_{}_URI"


def config() -> dict[str, Any]:
    """Return a configuration with windows of one second, for an endpoint behind the proxy."""
    return {
        "source": simulated(),
        "cloudwatch": {
            "enabled": True,
            "endpoint_url": CLOUDWATCH,
            "region": "us-east-1",
            "flush_interval": "1s",
        },
    }


def environment(proxy: str, **more: str) -> dict[str, str]:
    """Return an environment without credentials, in which HTTP has a proxy."""
    return {
        "HTTP_PROXY": proxy,
        "AWS_EC2_METADATA_DISABLED": "false",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        **more,
    }


def metadata_at(host: str) -> AbstractContextManager[metadata.MetadataServer]:
    """Return the metadata service of the instance, or the credentials of a task or pod."""
    if host.endswith("254"):
        responses = metadata.imds_responses() | metadata.role_responses()
        return metadata.imds(responses, host, 80)
    return metadata.credentials(host, 80)


@pytest.mark.parametrize(
    ("host", "variables"),
    [
        ("169.254.169.254", {}),
        ("fd00:ec2::254", {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6"}),
        ("169.254.170.2", {CONTAINER.format("RELATIVE"): "/v1/credentials"}),
        ("169.254.170.23", {CONTAINER.format("FULL"): "http://169.254.170.23/v1/credentials"}),
        ("fd00:ec2::23", {CONTAINER.format("FULL"): "http://[fd00:ec2::23]/v1/credentials"}),
    ],
)
def test_link_local_addresses_are_not_asked_through_the_proxy(
    tmp_path: Path, host: str, variables: dict[str, str]
) -> None:
    """Role credentials come without the proxy; CloudWatch is reached through it."""
    with own_network(host), metadata_at(host) as service, cloudwatch_endpoint() as proxy:
        given = environment(proxy.url, **variables)
        with running_exporter(tmp_path, config(), environment=given) as exporter:
            wait_for(lambda: proxy.requests)
            assert exporter.stop() == 0
        signed = [headers["Authorization"] for headers in proxy.headers]
        assert all("Credential=of-the-role/" in each for each in signed)
        assert {headers["Host"] for headers in proxy.headers} == {"cloudwatch.test"}
        assert service.requests


def seen_by_doctor(folder: Path, given: dict[str, str]) -> dict[str, str]:
    """Return what the doctor says about CloudWatch, with the verdict of each line."""
    path = write_config(folder, {**config(), "source": {"kind": "simulator"}})
    findings = doctor("--config", str(path), **given).about("cloudwatch")
    return {each.seen: str(each.verdict) for each in findings}


def test_doctor_names_the_proxy(tmp_path: Path) -> None:
    host = "169.254.169.254"
    with own_network(host), metadata_at(host), cloudwatch_endpoint() as proxy:
        seen = seen_by_doctor(tmp_path, environment(proxy.url))
        name = f"through the proxy {proxy.url.removeprefix('http://')} (HTTP_PROXY)"
        assert seen[f"{CLOUDWATCH} answers {name}"] == "ok"
        (credentials,) = [line for line in seen if line.startswith("credentials of")]
        assert "the role of the instance (instance metadata)" in credentials
        seen = seen_by_doctor(tmp_path, environment("http://me:geheim@127.0.0.1:1"))
        name = "through the proxy 127.0.0.1:1 (HTTP_PROXY): Connection refused"
        assert seen[f"{CLOUDWATCH} cannot be reached {name}"] == "failed"
        assert "geheim" not in str(seen)
