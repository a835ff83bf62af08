"""Identity, looked up from services that answer, and from reports."""

from __future__ import annotations

import json

import pytest

from neuron_exporter.doctor.context import Sample
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.identity import check
from neuron_exporter.doctor.scraped import ScrapedMetrics
from neuron_exporter.identity import local
from neuron_exporter.model import SourceState
from neuron_exporter.report import decode
from tests.support import metadata
from tests.support.children import REPORT
from tests.support.doctor import field, make_context, seen_with, unknown_machine


@pytest.fixture(autouse=True)
def _no_dmi(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Hide the DMI data of the machine that runs the tests."""
    monkeypatch.setattr(local, "DMI_FOLDER", tmp_path)


def test_fields_name_their_provider() -> None:
    with metadata.imds(metadata.imds_responses(Name="box")) as ec2, metadata.ecs() as task:
        findings = list(
            check(
                unknown_machine(
                    AWS_EC2_METADATA_SERVICE_ENDPOINT=ec2.url,
                    ECS_CONTAINER_METADATA_URI_V4=task.url,
                )
            )
        )
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    assert sorted(finding.seen for finding in findings) == [
        "availability_zone is us-west-2b (EC2 instance metadata)",
        "cluster is training (ECS task metadata)",
        "instance_id is i-0fedcba9876543210 (EC2 instance metadata)",
        "instance_name is box (EC2 instance metadata)",
        "instance_type is trn1.32xlarge (EC2 instance metadata)",
        "region is us-west-2 (EC2 instance metadata)",
    ]


def test_missing_instance_tags_are_explained() -> None:
    with metadata.imds() as ec2:
        findings = list(check(unknown_machine(AWS_EC2_METADATA_SERVICE_ENDPOINT=ec2.url)))
    (service,) = [each for each in findings if each.seen.startswith("EC2 instance metadata:")]
    assert "InstanceMetadataTags=enabled" in service.fix
    assert field(findings, "instance_id").verdict is Verdict.OK


def test_disabled_providers_are_named() -> None:
    context = make_context(
        {"AWS_EC2_METADATA_DISABLED": "true"}, identity__ecs=False, identity__region="eu-west-1"
    )
    findings = list(check(context))
    assert "disabled by AWS_EC2_METADATA_DISABLED" in field(findings, "instance_id").seen
    assert field(findings, "region").seen == "region is eu-west-1 (the configuration)"


def test_fields_from_a_sampled_report() -> None:
    context = make_context({"AWS_EC2_METADATA_DISABLED": "true"})
    line = json.dumps(REPORT).encode()
    context.sample = Sample(SourceState.OK, "", line, decode(line).report)
    assert context.identity is not None
    assert context.report is not None
    context.identity.observe(context.report.instance_info)
    findings = list(check(context))
    seen = field(findings, "instance_id").seen
    assert seen == "instance_id is i-0123456789abcdef0 (neuron-monitor's report)"
    assert "neuron-monitor's report: does not have it" in field(findings, "region").seen


def test_fields_from_labels_of_the_running_exporter() -> None:
    context = make_context(
        {"AWS_EC2_METADATA_DISABLED": "true"},
        cloudwatch__enabled=True,
        cloudwatch__dimension_sets=[["UltraServerId"]],
    )
    missing = field([*check(context)], "ultraserver_id").seen
    assert missing == "ultraserver_id is unknown (neuron-monitor's report: none was read)"
    labels = 'instance_id="i-0abc",region="eu-west-1",ultraserver_id="u-0abc"'
    context.scraped = ScrapedMetrics(
        f'neuron_exporter_build_info{{version="1"}} 1\nneuroncore_utilization_ratio{{{labels}}} 1\n'
    )
    findings = list(check(context))
    assert field(findings, "instance_id").verdict is Verdict.OK
    seen = field(findings, "ultraserver_id").seen
    assert seen == "ultraserver_id is u-0abc (the running exporter)"
    assert field(findings, "instance_type").verdict is Verdict.WARNING


def test_simulated_source_is_skipped() -> None:
    assert seen_with(check(make_context(source__kind="simulator")), Verdict.SKIPPED)
