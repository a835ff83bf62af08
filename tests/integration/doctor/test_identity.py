"""Identity, looked up from a service that stays silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.identity import check
from neuron_exporter.identity import local, local_http
from tests.support import metadata
from tests.support.doctor import field, unknown_machine


def test_imds_timeout_suggests_the_hop_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The finding has the command that raises the hop limit."""
    monkeypatch.setattr(local, "DMI_FOLDER", tmp_path)
    monkeypatch.setattr(local_http, "TIMEOUT", 1.0)
    with metadata.imds({"/latest/api/token": metadata.never_respond}) as ec2:
        findings = list(check(unknown_machine(AWS_EC2_METADATA_SERVICE_ENDPOINT=ec2.url)))
    (service,) = [each for each in findings if each.seen.startswith("EC2 instance metadata:")]
    assert service.verdict is Verdict.WARNING
    assert "no answer within 1 s" in service.seen
    assert "--http-put-response-hop-limit 2" in service.fix
    missing = field(findings, "instance_id")
    assert missing.verdict is Verdict.WARNING
    assert missing.fix.startswith("set identity.instance_id")
    assert "no answer within 1 s" in missing.seen
    assert "ECS task metadata: not in an ECS task" in field(findings, "cluster").seen
