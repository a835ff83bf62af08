"""The command `alarms --promql`, and its template in cfn-lint, moto and the aws command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml

from tests.support.commands import run
from tests.support.fleet import CREDENTIALS

CONFIG = "otlp: {enabled: true, endpoint: 'http://localhost:4318'}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write a configuration that sends to a collector."""
    path = tmp_path / "exporter.yaml"
    path.write_text(CONFIG)
    return path


def test_template(config: Path, tmp_path: Path) -> None:
    """AWS's linter accepts both forms without remarks, and what is left out is explained."""
    written = []
    for flags in ((), ("--json",)):
        finished = run("alarms", "--promql", "--config", str(config), *flags)
        assert finished.status == 0
        path = tmp_path / f"alarms{''.join(flags)}.yaml"
        path.write_text(finished.out)
        written.append(path)
        explained = [line.partition(" is left out: ")[0] for line in finished.error_lines]
        assert explained == ["NeuronExporterDown", "NeuronDeviceSuspect"]
    one, other = (yaml.safe_load(path.read_text()) for path in written)
    assert one == other == json.loads(written[1].read_text())
    lint = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", *written],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (lint.stdout, lint.stderr, lint.returncode) == ("", "", 0)


def test_moto_accepts_the_template(
    config: Path, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto does not create its alarms."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    text = run("alarms", "--promql", "--config", str(config)).out
    client = boto3.client("cloudformation", region_name="us-east-1", endpoint_url=moto)
    client.create_stack(StackName="promql", TemplateBody=text)
    (stack,) = client.describe_stacks(StackName="promql")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    client.close()


def test_without(config: Path) -> None:
    flags = ("--without", "NeuronOverBudget", "NeuronHang")
    finished = run("alarms", "--promql", "--config", str(config), *flags)
    resources = yaml.safe_load(finished.out)["Resources"]
    assert not resources.keys() & {"NeuronOverBudget", "NeuronHang"}
    assert "NeuronHangSuspected" in resources


@pytest.mark.parametrize(
    "flags", [("--instance-id", "i-0abc"), ("--instance-type", "inf2.xlarge"), ("--stream", "x")]
)
def test_options_about_one_machine(flags: tuple[str, str], config: Path) -> None:
    finished = run("alarms", "--promql", "--config", str(config), *flags)
    assert (finished.status, finished.out) == (2, "")
    assert finished.error_lines == [
        f"{flags[0]}: must not be set with --promql: its alarms watch all machines"
    ]


def test_otlp_is_off(config: Path) -> None:
    config.write_text("{}\n")
    finished = run("alarms", "--promql", "--config", str(config))
    assert (finished.status, finished.out) == (2, "")
    assert finished.error_lines == ["otlp.enabled: must be true for PromQL alarms (got False)"]
