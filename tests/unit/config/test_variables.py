"""A configuration written as environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.config import ConfigError, load
from neuron_exporter.config.variables import as_variables, variable_name

EVERY_TYPE = """
source: {kind: neuron-monitor, period: 10s, environment: {AWS_REGION: us-west-2, AWS_PROFILE: null}}
prometheus:
  listen: [":9415", "[::1]:9416"]
  web_config_file: null
  exclude: ['neuroncore_*{neuroncore="1?"}', "system_*"]
cloudwatch:
  enabled: true
  preset: none
  include: [NeuronCoreUtilization, "Execution*"]
  dimension_sets: [[InstanceId, InstanceType], []]
  extra_dimensions: {Stage: "yes", Owner: "Jo: ä"}
  budget: {max_metrics: null, max_monthly_usd: 2.5}
  spool: {max_bytes: 64MiB, max_age: 1h30m}
identity: {kubernetes: false}
"""


def written(folder: Path, text: str) -> dict[str, str]:
    """Return the variables of a file."""
    path = folder / "exporter.yaml"
    path.write_text(text)
    return as_variables(load(str(path), {}))


def test_variables_set_what_the_file_sets(tmp_path: Path) -> None:
    variables = written(tmp_path, EVERY_TYPE)
    assert load(None, variables).config == load(str(tmp_path / "exporter.yaml"), {}).config
    assert variables["NEURON_EXPORTER__CLOUDWATCH__DIMENSION_SETS"] == (
        "[[InstanceId, InstanceType], []]"
    )
    assert variables["NEURON_EXPORTER__CLOUDWATCH__SPOOL__MAX_AGE"] == "90m"
    assert variables["NEURON_EXPORTER__CLOUDWATCH__BUDGET__MAX_METRICS"] == "null"
    assert variable_name("cloudwatch.region") not in variables


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("identity: {cluster: ''}", "identity.cluster"),
        ("identity: {cluster: 'null'}", "identity.cluster"),
        ("cloudwatch: {namespace: ' a '}", "cloudwatch.namespace"),
    ],
)
def test_text_that_a_variable_cannot_carry(tmp_path: Path, text: str, key: str) -> None:
    """A variable is stripped, `null` is no value, and an empty one is ignored."""
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, text)
    (problem,) = caught.value.problems
    assert f"{key}: cannot be written as an environment variable" in problem
