"""What EC2's instance metadata service tells, by its second version: no answer without a token.

What a container asks for dies on the way where the hop limit is 1, which looks like a timeout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

from neuron_exporter.identity.fields import Answer, instance_id, instance_type, region, text
from neuron_exporter.identity.local_http import NoAnswer, NotThere, as_object, ask
from neuron_exporter.model import Machine

GIVES = frozenset(
    {
        "instance_id",
        "instance_type",
        "availability_zone",
        "region",
        "account",
        "instance_name",
        "auto_scaling_group",
        "subnet_id",
    }
)

_IPV4, _IPV6 = "http://169.254.169.254", "http://[fd00:ec2::254]"
_TAGS = {"instance_name": "Name", "auto_scaling_group": "aws:autoscaling:groupName"}
_TOKEN_SECONDS = "60"  # noqa: S105 (how long it lives; each round takes a new one)
_TOKEN = re.compile(rb"[!-;=?-~]{1,1024}")


def endpoint(environment: Mapping[str, str]) -> str | None:
    """The service's address by the variables that every AWS SDK reads; None where it is off."""
    if environment.get("AWS_EC2_METADATA_DISABLED", "").strip().lower() == "true":
        return None
    mode = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").strip().lower()
    given = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").strip()
    return given or (_IPV6 if mode == "ipv6" else _IPV4)


def find(base: str, lacking: Set[str]) -> Answer:
    """What the service knows of these fields; tags and the network are asked only for theirs."""
    try:
        told = _Session(base)
    except NoAnswer as error:
        return Answer(why=f"no token: {error}")
    reasons = []
    fields = {}
    try:
        document = as_object(told.get("/latest/dynamic/instance-identity/document"))
        fields = {
            "instance_id": instance_id(document.get("instanceId")),
            "instance_type": instance_type(document.get("instanceType")),
            "availability_zone": text(document.get("availabilityZone")),
            "region": region(document.get("region")),
            "account": text(document.get("accountId")),
        }
    except NoAnswer as error:
        reasons.append(f"no identity document: {error}")
    try:
        fields |= told.tags({field: tag for field, tag in _TAGS.items() if field in lacking})
        if "subnet_id" in lacking:
            fields["subnet_id"] = told.subnet()
    except NoAnswer as error:
        reasons.append(str(error))
    return Answer(Machine(**fields), "; ".join(reasons))


class _Session:
    """Questions under one token.

    Raises:
        NoAnswer: there is no token.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        asked = {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}
        token = ask(base, "/latest/api/token", method="PUT", headers=asked).strip()
        if not _TOKEN.fullmatch(token):
            raise NoAnswer("the answer is none")
        self._headers = {"X-aws-ec2-metadata-token": token.decode()}

    def get(self, path: str) -> bytes:
        return ask(self._base, path, headers=self._headers)

    def tags(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """The instance's tags. Without the list of them, which is there when they are exposed,
        a tag is not looked for: an error page would pass for its value."""
        if not wanted:
            return {}
        try:
            names = self._line("/latest/meta-data/tags/instance", many=True).splitlines()
        except NotThere:
            raise NoAnswer("instance tags are not exposed (InstanceMetadataTags)") from None
        missing = [tag for tag in wanted.values() if tag not in names]
        found = {
            field: self._line(f"/latest/meta-data/tags/instance/{tag}")
            for field, tag in wanted.items()
            if tag in names
        }
        if missing and not found:
            raise NoAnswer(f"the instance has no tag {' or '.join(missing)}")
        return found

    def subnet(self) -> str:
        mac = self._line("/latest/meta-data/mac")
        if not re.fullmatch(r"[0-9a-fA-F:]{1,32}", mac):
            raise NoAnswer("the network is not described")
        subnet = self._line(f"/latest/meta-data/network/interfaces/macs/{mac}/subnet-id")
        return subnet if subnet.startswith("subnet-") else ""

    def _line(self, path: str, *, many: bool = False) -> str:
        told = self.get(path).decode("utf-8", "replace").strip()
        return told if many else text(told)
