"""Keep requests to the metadata and credentials services away from proxies.

Their addresses are link-local: each machine reaches its own services there, a proxy reaches others.
AWS's libraries use `HTTP_PROXY` for them unless `NO_PROXY` names them.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from ipaddress import ip_address

_SERVICES = (
    *("169.254.169.254", "fd00:ec2::254", "[fd00:ec2::254]"),  # metadata and role of the instance
    "169.254.170.2",  # metadata and role of an ECS task
    *("169.254.170.23", "fd00:ec2::23", "[fd00:ec2::23]"),  # role of a pod (EKS Pod Identity)
)
"""Python compares IPv6 addresses with their brackets, other programs without."""

_METADATA_ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"


def exempt_local_services(environment: MutableMapping[str, str]) -> None:
    """Add the services to `NO_PROXY`, if the environment names a proxy."""
    names = [name for name in environment if name.lower().endswith("_proxy")]
    if not names:
        return
    configured = environment.get(_METADATA_ENDPOINT, "").partition("//")[2].partition("/")[0]
    for name in [name for name in names if name.lower() == "no_proxy"] or ["no_proxy"]:
        given = environment.get(name, "")
        if given != "*":  # nothing has a proxy
            environment[name] = ",".join(filter(None, (given, *_SERVICES, configured)))


def is_local(host: str) -> bool:
    """Return whether a host is this machine, or link-local: no proxy leads there."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local
