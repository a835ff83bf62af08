"""Wrong values are refused, with their place and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.support.helm import SCHEMA, defaults, problem

pytestmark = pytest.mark.usefixtures("needs_helm")

WEB = {"users": {"a": "$2y$10$JATJmKpPiCuJj6sXdIocduryQyh1t0vjXhxMG0fq.Y8khTatHmRs."}}


def test_schema_is_legal() -> None:
    Draft7Validator.check_schema(SCHEMA)
    Draft7Validator(SCHEMA).validate(defaults())


def test_schema_has_every_value() -> None:
    """Values and schema name the same keys. Helm adds `global` where the chart is a part."""

    def compare(values: dict[str, Any], schema: dict[str, Any]) -> None:
        assert values.keys() == schema["properties"].keys() - {"global"}
        assert schema["additionalProperties"] is False
        for name, value in values.items():
            inner = schema["properties"][name]
            if isinstance(value, dict) and "properties" in inner and value:
                compare({key: value.get(key) for key in inner["properties"]}, inner)

    compare(defaults(), SCHEMA)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hostPid": False}, "at '': additional properties 'hostPid' not allowed"),
        ({"tools": "node"}, "at '/tools': value must be one of 'image', 'host', 'initImage'"),
        ({"image": {"repository": "a/b:1"}}, "at '/image/repository'"),
        ({"image": {"digest": "sha256:12"}}, "at '/image/digest'"),
        (
            {"webConfig": {"users": {"a": "secret"}}},
            "at '/webConfig/users/a': 'secret' does not match",
        ),
        ({"serviceAccount": {"roleArn": "neuron"}}, "at '/serviceAccount/roleArn'"),
        ({"monitor": {"kind": "Both"}}, "at '/monitor/kind'"),
        ({"monitor": {"interval": "15"}}, "at '/monitor/interval'"),
        ({"extraEnv": [{"value": "a"}]}, "at '/extraEnv/0': missing property 'name'"),
        ({"kubeletPath": "var/lib/kubelet"}, "at '/kubeletPath'"),
        ({"webConfig": None}, "at '': missing property 'webConfig'"),
        # Two exporters on a node would both run neuron-monitor, and wait for one spool.
        (
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}},
            "at '/updateStrategy/rollingUpdate': additional properties 'maxSurge' not allowed",
        ),
        # The exporter's own configuration.
        (
            {"config": {"cloudwatch": {"enabld": True}}},
            "at '/config/cloudwatch': additional properties 'enabld' not allowed",
        ),
        (
            {"config": {"prometheus": {"preset": "big"}}},
            "at '/config/prometheus/preset': value must be one of",
        ),
    ],
)
def test_wrong_value(values: dict[str, Any], said: str) -> None:
    assert said in problem(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image": {}}, "image.repository: no image is published"),
        ({"tools": "initImage"}, "toolsImage: names the image"),
        (
            {"webConfig": {"clientCertificates": True}},
            "webConfig.clientCertificates: needs webConfig.tlsSecret",
        ),
        ({"webConfig": {"existingSecret": "a", "tlsSecret": "b"}}, "webConfig.existingSecret: has"),
        ({"webConfig": WEB, "monitor": {"kind": "PodMonitor"}}, "monitor.basicAuth: must name"),
        (
            {"webConfig": {"tlsSecret": "a"}, "monitor": {"kind": "PodMonitor"}},
            "monitor.tlsConfig: must say",
        ),
        (
            {"monitor": {"kind": "ServiceMonitor"}, "service": {"enabled": False}},
            "service.enabled: must be true",
        ),
        (
            {"monitor": {"kind": "PodMonitor"}, "config": {"prometheus": {"enabled": False}}},
            "monitor.kind: must be none",
        ),
    ],
)
def test_values_that_do_not_fit_together(values: dict[str, Any], said: str) -> None:
    assert said in problem(values)
