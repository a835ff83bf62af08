"""Tell AWS's endpoints from other servers."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from neuron_exporter.facts.partitions import PARTITIONS

_DOMAINS = {name for each in PARTITIONS for name in (each.domain, each.dual_stack_domain)}
"""Domains of AWS's endpoints, also of those in a VPC."""

_OF_CUSTOMER = re.compile(
    r"\.(elb|compute|compute-1)\.([a-z0-9-]+\.)?"
    rf"({'|'.join(sorted({re.escape(each.domain) for each in PARTITIONS}))})$"
)
"""Names that AWS assigns to load balancers and machines, on which a collector may run."""


def is_aws_endpoint(url: str) -> bool:
    """Return whether a valid URL leads to an API of AWS."""
    host = (urlsplit(url).hostname or "").removesuffix(".")
    is_of_aws = any(f".{host}".endswith(f".{domain}") for domain in _DOMAINS)
    return is_of_aws and not _OF_CUSTOMER.search(host)
