"""The partitions are those of botocore."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.loaders import create_loader

from neuron_exporter.facts.partitions import PARTITIONS, REGION_NAME, partition_of

OF_BOTOCORE: list[dict[str, Any]] = create_loader().load_data("partitions")["partitions"]


def test_names_and_domains_are_those_of_botocore() -> None:
    assert {(each.name, each.domain, each.dual_stack_domain) for each in PARTITIONS} == {
        (each["id"], each["outputs"]["dnsSuffix"], each["outputs"]["dualStackDnsSuffix"])
        for each in OF_BOTOCORE
    }


@pytest.mark.parametrize("partition", OF_BOTOCORE, ids=lambda each: str(each["id"]))
def test_every_region_of_botocore_belongs_to_its_partition(partition: dict[str, Any]) -> None:
    regions = [name for name in partition["regions"] if not name.endswith("-global")]
    assert regions
    for region in regions:
        assert REGION_NAME.fullmatch(region), region
        assert partition_of(region).name == partition["id"], region


@pytest.mark.parametrize(
    "text", ["", "Ohio", "us-east1", "us-east-0", "us-north-west-1", "x-east-1"]
)
def test_other_texts_are_no_regions(text: str) -> None:
    assert not REGION_NAME.fullmatch(text)
