"""Identity from EC2's instance metadata service, version 2 (IMDSv2).

If the instance's hop limit is 1, responses do not reach containers and requests time out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set

from neuron_exporter.identity.fields import (
    LookupResult,
    parse_instance_id,
    parse_instance_type,
    parse_region,
    parse_text,
)
from neuron_exporter.identity.local_http import (
    NotFound,
    RequestFailed,
    request,
    request_object,
)
from neuron_exporter.model import Machine

_DOCUMENT: Mapping[str, tuple[str, Callable[[object], str]]] = {
    "instance_id": ("instanceId", parse_instance_id),
    "instance_type": ("instanceType", parse_instance_type),
    "availability_zone": ("availabilityZone", parse_text),
    "region": ("region", parse_region),
    "account": ("accountId", parse_text),
}
"""Keys of the identity document, and parsers of their values, by field."""

_TAGS = {"instance_name": "Name", "auto_scaling_group": "aws:autoscaling:groupName"}

FIELDS = frozenset({*_DOCUMENT, *_TAGS, "subnet_id"})

_IPV4, _IPV6 = "http://169.254.169.254", "http://[fd00:ec2::254]"
_TOKEN_SECONDS = "60"  # noqa: S105 # a lifetime; every lookup requests a new token
_TOKEN = re.compile(rb"[!-;=?-~]{1,1024}")


def endpoint(environment: Mapping[str, str]) -> str | None:
    """Return the URL of the service, or None if it is disabled.

    Reads the variables that every AWS SDK reads.
    """
    if environment.get("AWS_EC2_METADATA_DISABLED", "").strip().lower() == "true":
        return None
    mode = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").strip().lower()
    configured = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").strip()
    return configured or (_IPV6 if mode == "ipv6" else _IPV4)


def lookup(base: str, missing: Set[str]) -> LookupResult:
    """Return the fields of the identity document, and tags and subnet if they are missing."""
    try:
        session = _Session(base)
    except RequestFailed as error:
        return LookupResult(error=f"no token: {error}")
    errors, fields = [], {}
    try:
        path = "/latest/dynamic/instance-identity/document"
        document = request_object(base, path, session.headers)
        fields = {field: parse(document.get(key)) for field, (key, parse) in _DOCUMENT.items()}
    except RequestFailed as error:
        errors.append(f"no identity document: {error}")
    try:
        fields |= session.tags({field: tag for field, tag in _TAGS.items() if field in missing})
    except RequestFailed as error:
        errors.append(str(error))
    if "subnet_id" in missing:
        try:
            fields["subnet_id"] = session.subnet()
        except RequestFailed as error:
            errors.append(str(error))
    return LookupResult(Machine(**fields), "; ".join(errors))


class _Session:
    """Session with one token.

    Raises:
        RequestFailed: the service issued no token.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}
        token = request(base, "/latest/api/token", method="PUT", headers=lifetime).strip()
        if not _TOKEN.fullmatch(token):
            raise RequestFailed("the response is not a token")
        self.headers = {"X-aws-ec2-metadata-token": token.decode()}

    def tags(self, names: Mapping[str, str]) -> dict[str, str]:
        """Return tag values by field.

        Only tags in the list of tags are requested: that list exists only if the instance exposes
        its tags, and an error page must not be taken for a tag's value.
        """
        if not names:
            return {}
        try:
            exposed = self._text("/latest/meta-data/tags/instance").splitlines()
        except NotFound:
            raise RequestFailed("instance tags are not exposed (InstanceMetadataTags)") from None
        found = {
            field: parse_text(self._text(f"/latest/meta-data/tags/instance/{tag}"))
            for field, tag in names.items()
            if tag in exposed
        }
        if not found:
            raise RequestFailed(f"the instance has no tag {' or '.join(names.values())}")
        return found

    def subnet(self) -> str:
        mac = parse_text(self._text("/latest/meta-data/mac"))
        if not re.fullmatch(r"[0-9a-fA-F:]{1,32}", mac):
            raise RequestFailed("the instance metadata contains no MAC address")
        path = f"/latest/meta-data/network/interfaces/macs/{mac}/subnet-id"
        subnet = parse_text(self._text(path))
        return subnet if subnet.startswith("subnet-") else ""

    def _text(self, path: str) -> str:
        return request(self._base, path, headers=self.headers).decode("utf-8", "replace").strip()
