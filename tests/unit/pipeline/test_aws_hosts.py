"""AWS's endpoints are recognized in every partition, and other servers are not taken for one."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.loaders import create_loader

from neuron_exporter.pipeline.aws_hosts import is_aws_endpoint

PARTITIONS: list[dict[str, Any]] = create_loader().load_data("partitions")["partitions"]


@pytest.mark.parametrize("partition", PARTITIONS, ids=lambda each: str(each["id"]))
@pytest.mark.parametrize("key", ["dnsSuffix", "dualStackDnsSuffix"])
def test_endpoints_of_every_partition(partition: dict[str, Any], key: str) -> None:
    domain = partition["outputs"][key]
    for region in partition["regions"]:
        assert is_aws_endpoint(f"https://monitoring.{region}.{domain}"), region
        assert is_aws_endpoint(f"https://MONITORING.{region}.{domain}.:443/path"), region
    assert not is_aws_endpoint(f"https://not{domain}")
    assert not is_aws_endpoint(f"https://{domain}.example.com")


@pytest.mark.parametrize("partition", PARTITIONS, ids=lambda each: str(each["id"]))
def test_load_balancers_and_machines_of_customers(partition: dict[str, Any]) -> None:
    domain = partition["outputs"]["dnsSuffix"]
    for region in partition["regions"]:
        for host in (
            f"in-1.{region}.elb.{domain}",
            f"in-1.elb.{region}.{domain}",
            f"ec2-192-0-2-1.{region}.compute.{domain}",
        ):
            assert not is_aws_endpoint(f"http://{host}:4318"), host


@pytest.mark.parametrize(
    "url",
    [
        "https://collector.example.com",
        "https://notapi.aws",
        "https://notamazonaws.com",
        "https://amazonaws.org",
        "http://127.0.0.1:4318",
        "http://[::1]:4318",
    ],
)
def test_other_servers(url: str) -> None:
    assert not is_aws_endpoint(url)
