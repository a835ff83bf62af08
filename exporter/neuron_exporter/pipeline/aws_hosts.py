"""Tell AWS's endpoints from other servers."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_AWS_HOST = re.compile(r"(^|\.)(amazonaws\.com(\.cn)?|api\.aws|api\.amazonwebservices\.com\.cn)$")
"""Hosts of AWS's endpoints, also of those in a VPC."""

_OF_CUSTOMER = re.compile(r"\.(elb|compute|compute-1)\.([a-z0-9-]+\.)?amazonaws\.com(\.cn)?$")
"""Names that AWS assigns to load balancers and machines, on which a collector may run."""


def is_aws_endpoint(url: str) -> bool:
    """Return whether a URL leads to an API of AWS."""
    host = urlsplit(url).hostname or ""
    return bool(_AWS_HOST.search(host)) and not _OF_CUSTOMER.search(host)
