"""The configuration values that the flags of `run` set."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.cli.registry import make_parser
from neuron_exporter.cli.run import overrides


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("", {}),
        ("--source stdin", {"source.kind": "stdin"}),
        ("--source a.ndjson", {"source.kind": "file", "source.path": "a.ndjson"}),
        ("--port 9", {"prometheus.listen": ":9"}),
        ("--source simulater", {"source.kind": "simulater"}),
        ("--port 9 --listen :8", {"prometheus.listen": ":8"}),
        ("--namespace N", {"cloudwatch.enabled": True, "cloudwatch.namespace": "N"}),
        ("--region R", {"cloudwatch.enabled": True, "cloudwatch.region": "R"}),
        (
            "--common-dims instance_id,Stage,instance_id",
            {"cloudwatch.dimension_sets": [["InstanceId", "Stage"]]},
        ),
        (
            "--web.listen-address :1 --web.listen-address=[::1]:2",
            {"prometheus.listen": [":1", "[::1]:2"]},
        ),
        ("--web.config.file w.yaml", {"prometheus.web_config_file": "w.yaml"}),
        ("--log.level warn --log.format=logfmt", {"log.level": "warning", "log.format": "logfmt"}),
        ("--log.level debug", {"log.level": "debug"}),
        ("--common-dims ,", {"cloudwatch.dimension_sets": []}),
    ],
)
def test_overrides(words: str, values: dict[str, Any]) -> None:
    args = make_parser("run").parse_args(words.split())
    assert {each.key: each.value for each in overrides(args)} == values


def test_origin_is_the_flag() -> None:
    args = make_parser("run").parse_args(["--region", "R"])
    assert {each.origin for each in overrides(args)} == {"--region"}
