"""Who the machine is, asked of real services that answer, refuse, or say nothing."""

from __future__ import annotations

import json

import pytest

from neuron_exporter.doctor.context import Case, Sample
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.identity import examine
from neuron_exporter.doctor.scraped import Exposed
from neuron_exporter.identity import dmi
from neuron_exporter.model import SourceState
from neuron_exporter.report import decode
from tests.support import metadata
from tests.support.children import REPORT
from tests.support.doctoring import case, of


@pytest.fixture(autouse=True)
def _no_firmware(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """What the firmware of the machine that tests tells is not looked at."""
    monkeypatch.setattr(dmi, "FOLDER", tmp_path)


def asking(**variables: str) -> Case:
    """A machine of which nothing is known, with these variables."""
    return case(
        variables,
        cloudwatch__enabled=True,
        cloudwatch__dimension_sets=[["InstanceId"], ["ClusterName"], ["InstanceName"]],
    )


def field(findings: list[Finding], name: str) -> Finding:
    """What is said of a field."""
    (found,) = [each for each in findings if each.seen.startswith(f"{name} is ")]
    return found


def test_every_field_says_which_place_told_it() -> None:
    """Who looks for a wrong label finds the place that it came from."""
    with metadata.imds(metadata.imds_answers(Name="box")) as ec2, metadata.ecs() as task:
        findings = list(
            examine(
                asking(
                    AWS_EC2_METADATA_SERVICE_ENDPOINT=ec2.url,
                    ECS_CONTAINER_METADATA_URI_V4=task.url,
                )
            )
        )
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    assert sorted(finding.seen for finding in findings) == [
        "availability_zone is us-west-2b (EC2's metadata service)",
        "cluster is training (ECS task metadata)",
        "instance_id is i-0fedcba9876543210 (EC2's metadata service)",
        "instance_name is box (EC2's metadata service)",
        "instance_type is trn1.32xlarge (EC2's metadata service)",
        "region is us-west-2 (EC2's metadata service)",
    ]


def test_a_hop_limit_of_one_is_named() -> None:
    """A metadata service that says nothing is what a container with hop limit 1 meets; the command
    that mends it is there to be copied."""
    with metadata.imds({"/latest/api/token": metadata.silent}) as ec2:
        findings = list(examine(asking(AWS_EC2_METADATA_SERVICE_ENDPOINT=ec2.url)))
    (service,) = [each for each in findings if each.seen.startswith("EC2's metadata service:")]
    assert service.verdict is Verdict.WARNING
    assert "no answer within 1 s" in service.seen
    assert "--http-put-response-hop-limit 2" in service.fix
    missing = field(findings, "instance_id")
    assert missing.verdict is Verdict.WARNING
    assert missing.fix.startswith("set identity.instance_id")
    assert "no answer within 1 s" in missing.seen
    assert "ECS task metadata: not in a task" in field(findings, "cluster").seen


def test_tags_that_are_not_exposed_are_explained() -> None:
    """An instance's name needs a setting of the instance, which is named."""
    with metadata.imds() as ec2:
        findings = list(examine(asking(AWS_EC2_METADATA_SERVICE_ENDPOINT=ec2.url)))
    (service,) = [each for each in findings if each.seen.startswith("EC2's metadata service:")]
    assert "InstanceMetadataTags=enabled" in service.fix
    assert field(findings, "instance_id").verdict is Verdict.OK


def test_what_is_switched_off_is_said_to_be() -> None:
    """Nobody looks for a fault in a service that is not asked."""
    told = case(
        {"AWS_EC2_METADATA_DISABLED": "true"}, identity__ecs=False, identity__region="eu-west-1"
    )
    findings = list(examine(told))
    assert "switched off by AWS_EC2_METADATA_DISABLED" in field(findings, "instance_id").seen
    assert field(findings, "region").seen == "region is eu-west-1 (the configuration)"


def test_a_report_that_was_heard_tells_too() -> None:
    """What neuron-monitor says of the instance goes before what would have to be asked."""
    told = case({"AWS_EC2_METADATA_DISABLED": "true"})
    line = json.dumps(REPORT).encode()
    told.sample = Sample(SourceState.OK, "", line, decode(line).report)
    assert told.identity is not None
    assert told.report is not None
    told.identity.observe(told.report.instance_info)
    findings = list(examine(told))
    seen = field(findings, "instance_id").seen
    assert seen == "instance_id is i-0123456789abcdef0 (neuron-monitor's report)"
    assert "neuron-monitor's report: it does not tell" in field(findings, "region").seen


def test_labels_of_the_running_exporter_are_known() -> None:
    """Where the exporter has the reports, its labels tell what is in them."""
    told = case({"AWS_EC2_METADATA_DISABLED": "true"})
    told.exposed = Exposed(
        'neuron_exporter_build_info{version="1"} 1\n'
        'neuroncore_utilization_ratio{instance_id="i-0abc",region="eu-west-1"} 1\n'
    )
    findings = list(examine(told))
    assert field(findings, "instance_id").verdict is Verdict.OK
    assert field(findings, "instance_type").verdict is Verdict.WARNING


def test_reports_of_another_machine_are_not_this_ones() -> None:
    """Nothing is asked where reports are simulated or replayed."""
    assert of(examine(case(source__kind="simulator")), Verdict.SKIPPED)
