"""Sources of AWS credentials in the image, whose botocore has few services."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.container import Container, Image, container
from tests.support.endpoint import respond
from tests.support.http import serving
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint

pytestmark = pytest.mark.image

ROLE = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "AccessKeyId": "found",
    "SecretAccessKey": "found",
    "Token": "found",
    "Expiration": "2100-01-01T00:00:00Z",
}

ASSUMED = """<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result>
<Credentials><AccessKeyId>found</AccessKeyId><SecretAccessKey>found</SecretAccessKey>
<SessionToken>found</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>
</{0}Result></{0}Response>"""


class CredentialServer(BaseHTTPRequestHandler):
    """HTTP handler that returns credentials as the metadata service, the container's agent and STS
    do."""

    def do_GET(self) -> None:
        """Return the token, the role's name, or its credentials."""
        naming = self.command == "PUT" or self.path.endswith("/security-credentials/")
        respond(self, 200, "name" if naming else json.dumps(ROLE))

    do_PUT = do_GET

    def do_POST(self) -> None:
        """Answer every operation as STS does."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        operation = body.partition("Action=")[2].partition("&")[0]
        respond(self, 200, ASSUMED.format(operation))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


SEND = """
import sys
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport

transport = PutMetricDataTransport("us-east-1", sys.argv[1])
datum = {"MetricName": "A", "Value": 1.0}
print(transport.send(PutMetricDataRequest("NeuronExporter", "us-east-1", 0.0, [datum])))
"""

PROFILE = """[default]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = base
[profile base]
aws_access_key_id = base
aws_secret_access_key = base
"""


def signing_key(running: Container, front: ValidatingEndpoint, **environment: str) -> str:
    """Send a datum from within the container; return the access key that signed it."""
    done = running.run("python3", "-c", SEND, front.url, **environment)
    assert "DELIVERED" in done.stdout, done
    signed: str = front.headers[-1]["Authorization"]
    return signed.partition("Credential=")[2].partition("/")[0]


def test_credential_sources(image: Image, tmp_path: Path) -> None:
    """Container and instance roles, web identity (IRSA), shared files with keys, and a role named
    in them sign a request from the image."""
    config, token = tmp_path / "config", tmp_path / "token"
    config.write_text(PROFILE)
    token.write_text("a.b.c")
    mounts: dict[str, str | Path] = {"/aws/config": config, "/aws/token": token}
    with (
        validating_endpoint() as front,
        serving(CredentialServer) as server_url,
        container(image, tmp_path, mounts=mounts) as running,
    ):
        running.wait_for_value("neuron_exporter_up", 1)
        sts = {"AWS_ENDPOINT_URL_STS": server_url}
        assert signing_key(running, front, AWS_CONTAINER_CREDENTIALS_FULL_URI=server_url) == "found"
        instance = {
            "AWS_EC2_METADATA_DISABLED": "",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": server_url,
        }
        assert signing_key(running, front, **instance) == "found"
        web = {
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/aws/token",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
        }
        assert signing_key(running, front, **web, **sts) == "found"
        shared = {"AWS_CONFIG_FILE": "/aws/config"}
        assert signing_key(running, front, AWS_PROFILE="base", **shared) == "base"
        assert signing_key(running, front, **shared, **sts) == "found"
        keys = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "mine"}
        assert signing_key(running, front, **keys) == "mine"
        assert front.rejected == []


REGIONS = """
from neuron_exporter.sinks.cloudwatch.put_metric_data import _client
from botocore.session import Session
for region in ("us-east-1", "cn-north-1", "us-gov-west-1"):
    print(_client(region, None).meta.endpoint_url)
ecs = Session().create_client("ecs", region_name="eu-west-1")
print(ecs.meta.endpoint_url, "DescribeTasks" in ecs.meta.service_model.operation_names)
sts = Session().create_client("sts", region_name="eu-west-1")
print(sts.meta.endpoint_url, "GetCallerIdentity" in sts.meta.service_model.operation_names)
"""


def test_partitions(image: Image, tmp_path: Path) -> None:
    """The endpoints of China and GovCloud, and those of ECS and STS, can be resolved."""
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    with container(image, tmp_path) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        done = running.run("python3", "-c", REGIONS, **keys)
    assert done.stdout.splitlines() == [
        "https://monitoring.us-east-1.amazonaws.com",
        "https://monitoring.cn-north-1.amazonaws.com.cn",
        "https://monitoring.us-gov-west-1.amazonaws.com",
        "https://ecs.eu-west-1.amazonaws.com True",
        "https://sts.eu-west-1.amazonaws.com True",
    ], done.stderr
