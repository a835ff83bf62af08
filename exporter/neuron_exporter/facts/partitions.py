"""AWS's partitions: the form of their regions, and the domains of their endpoints.

The source is botocore's partitions.json (1.44.8). It is not read here, because an exporter without
CloudWatch does not load botocore; a test compares the two.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Partition(NamedTuple):
    """A partition of AWS."""

    name: str
    """As in ARNs."""
    area: str
    """Regular expression of the part of a region's name before the direction, such as us in
    us-east-1."""
    domain: str
    """Of endpoints, and of ECR's registries."""
    dual_stack_domain: str
    """Of endpoints with IPv6."""


PARTITIONS = (
    Partition("aws-cn", "cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    Partition("aws-eusc", "eusc-de", "amazonaws.eu", "api.amazonwebservices.eu"),
    Partition("aws-iso", "us-iso", "c2s.ic.gov", "api.aws.ic.gov"),
    Partition("aws-iso-b", "us-isob", "sc2s.sgov.gov", "api.aws.scloud"),
    Partition("aws-iso-e", "eu-isoe", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    Partition("aws-iso-f", "us-isof", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    Partition("aws-us-gov", "us-gov", "amazonaws.com", "api.aws"),
    Partition("aws", "[a-z]{2}", "amazonaws.com", "api.aws"),
)
"""In the order of the search: the last one matches any two letters, so that cn comes before it."""

REGION_NAME = re.compile(
    rf"(?:{'|'.join(each.area for each in PARTITIONS)})"
    r"-(?:central|north|south|(?:north|south)?(?:east|west))-[1-9][0-9]?"
)
"""Form of the names of regions."""


def partition_of(region: str) -> Partition:
    """Return the partition of a region, whose name must have the form of `REGION_NAME`."""
    area = region.rsplit("-", 2)[0]
    return next(each for each in PARTITIONS if re.fullmatch(each.area, area))
