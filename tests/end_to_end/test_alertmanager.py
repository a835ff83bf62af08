"""A real Alertmanager inhibits alerts by the committed configuration."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from grafana.rules_src.render import all_alerts
from tests.support.paths import ROOT
from tests.support.servers import Alertmanager, alertmanager

pytestmark = pytest.mark.usefixtures("needs_alertmanager")

CONFIG = ROOT / "grafana" / "alertmanager.yml"
RULES = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]

HERE = {"job": "neuron", "instance": "a:9415"}
OTHER_MACHINE = {"job": "neuron", "instance": "b:9415"}
OTHER_CLUSTER = {"job": "neuron", "instance": "a:9415", "cluster": "other"}
FLEET = {"job": "neuron"}
DEVICE = {**HERE, "neuron_device_index": "3"}
MEMORY_FAULT = {**HERE, "error_type": "hw_hbm_ue_error"}
OTHER_FAULT = {**HERE, "error_type": "hw_nc_ue_error"}
OTHER_DEVICE = {**HERE, "neuron_device_index": "4"}
POD = {**HERE, "namespace": "ml", "pod": "one"}
OTHER_POD = {**HERE, "namespace": "ml", "pod": "two"}

INHIBITED = (
    ("NeuronFleetUnseen", FLEET, "NeuronExporterDown", HERE, OTHER_CLUSTER),
    ("NeuronFleetUnseen", FLEET, "NeuronSourceDown", HERE, OTHER_CLUSTER),
    ("NeuronFleetUnseen", FLEET, "NeuronCrashLoop", HERE, OTHER_CLUSTER),
    ("NeuronDeviceMissing", HERE, "NeuronSourceDown", HERE, OTHER_MACHINE),
    ("NeuronDeviceMissing", HERE, "NeuronHang", HERE, OTHER_MACHINE),
    ("NeuronDeviceMissing", HERE, "NeuronHangSuspected", HERE, OTHER_MACHINE),
    ("NeuronDeviceMissing", HERE, "NeuronErrorRatio", HERE, OTHER_MACHINE),
    ("NeuronDeviceMissing", HERE, "NeuronWorkloadErrorRatio", HERE, OTHER_CLUSTER),
    ("NeuronDeviceMissing", HERE, "NeuronTimeouts", HERE, OTHER_MACHINE),
    ("NeuronDeviceMissing", HERE, "NeuronStraggler", HERE, OTHER_MACHINE),
    ("NeuronSourceDown", HERE, "NeuronCrashLoop", HERE, OTHER_MACHINE),
    ("NeuronErrorRatio", HERE, "NeuronTimeouts", HERE, OTHER_MACHINE),
    ("NeuronUncorrectedEcc", DEVICE, "NeuronDeviceSuspect", DEVICE, OTHER_DEVICE),
    ("NeuronUncorrectedEcc", DEVICE, "NeuronCorrectedEccRising", DEVICE, OTHER_DEVICE),
    ("NeuronUncorrectedEcc", DEVICE, "NeuronHardwareFaults", MEMORY_FAULT, OTHER_FAULT),
    ("NeuronUncorrectedEcc", DEVICE, "NeuronMinorHardwareFaults", MEMORY_FAULT, OTHER_FAULT),
    ("NeuronHang", HERE, "NeuronStraggler", HERE, OTHER_MACHINE),
    ("NeuronHangSuspected", HERE, "NeuronStraggler", HERE, OTHER_MACHINE),
    ("NeuronAllocatedWithoutRuntime", POD, "NeuronAllocatedIdle", POD, OTHER_POD),
)
"""An alert, another that it inhibits, and labels with which it does not."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """Run an Alertmanager with the committed configuration."""
    with alertmanager(tmp_path_factory.mktemp("alertmanager"), CONFIG) as running:
        yield running


def test_amtool_accepts_the_configuration() -> None:
    done = subprocess.run(
        ["amtool", "check-config", str(CONFIG)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_inhibitions_name_existing_alerts_and_are_all_tested() -> None:
    """A renamed alert would end an inhibition silently."""
    pairs = {
        (source, target)
        for rule in RULES
        for source in _names(rule["source_matchers"])
        for target in _names(rule["target_matchers"])
    }
    assert pairs == {(source, target) for source, _, target, *_ in INHIBITED}
    assert {name for pair in pairs for name in pair} <= {alert.name for alert in all_alerts()}


def _names(matchers: list[str]) -> list[str]:
    (found,) = re.findall(r'alertname=~?"(.*)"', matchers[0])
    return str(found).split("|")


@pytest.mark.parametrize(("source", "where", "target", "labels", "elsewhere"), INHIBITED)
def test_alert_inhibits_another_in_its_place_only(
    server: Alertmanager,
    source: str,
    where: dict[str, str],
    target: str,
    labels: dict[str, str],
    elsewhere: dict[str, str],
) -> None:
    with server.alerts(
        {"alertname": target, **labels},
        {"alertname": target, **elsewhere},
    ) as (first, second):
        assert not server.inhibited(first)
        with server.alerts({"alertname": source, **where}):
            server.wait_until_inhibited(first)
            assert not server.inhibited(second)


@pytest.mark.parametrize(
    ("severity", "receiver"),
    [("critical", "on-call"), ("warning", "working-hours"), ("info", "none")],
)
def test_severity_chooses_the_receiver(severity: str, receiver: str) -> None:
    done = subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={CONFIG}", f"severity={severity}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [receiver], done.stderr
