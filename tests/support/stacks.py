"""The CloudFormation stacks of `ecs/`, and their creation on moto."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import boto3
from cfnlint.decode.cfn_yaml import load

from tests.support.fleet import CREDENTIALS
from tests.support.paths import ROOT
from tests.support.servers import moto_server

# moto deletes what has the other policy, which differs only if the creation of a stack fails.
_RETAINED = ("RetainExceptOnCreate", "Retain")

TEMPLATES = {
    name: ROOT / "ecs" / f"{name}.yaml" for name in ("base", "capacity", "service", "daemon")
}


def body(name: str) -> str:
    """Return the text of a template for moto."""
    return TEMPLATES[name].read_text().replace(*_RETAINED)


def template(name: str) -> Any:
    """Return a template with its short forms (!Ref) expanded."""
    return load(str(TEMPLATES[name]))


ACCOUNT = "123456789012"
"""The account of moto, which belongs to no customer."""


class Account:
    """An account of moto: clients of its services, and its stacks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients: dict[str, Any] = {}

    def __getattr__(self, service: str) -> Any:
        name = service.replace("_", "-")
        if name not in self._clients:
            credentials = {key.lower(): value for key, value in CREDENTIALS.items()}
            self._clients[name] = boto3.client(
                name, region_name="us-east-1", endpoint_url=self.url, **credentials
            )
        return self._clients[name]

    def policy(self, name: str) -> dict[str, Any]:
        """Return the document of a policy from IAM."""
        arn = f"arn:aws:iam::{ACCOUNT}:policy/{name}"
        version = self.iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
        document: dict[str, Any] = version["Document"]
        return document

    def create(self, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
        """Create a stack, and return the type of each resource that moto created, by logical id."""
        stack = f"neuron-{name}"
        self.cloudformation.create_stack(
            StackName=stack,
            TemplateBody=body(name),
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        (created,) = self.cloudformation.describe_stacks(StackName=stack)["Stacks"]
        assert created["StackStatus"] == "CREATE_COMPLETE"
        listed = self.cloudformation.list_stack_resources(StackName=stack)
        return {
            each["LogicalResourceId"]: each["ResourceType"]
            for each in listed["StackResourceSummaries"]
            if each["LogicalResourceId"]  # moto leaves some empty
        }

    def close(self) -> None:
        """Close the clients' connections."""
        for each in self._clients.values():
            each.close()


@contextmanager
def account() -> Iterator[Account]:
    """Yield an empty account."""
    with moto_server() as url, closing(Account(url)) as opened:
        yield opened
