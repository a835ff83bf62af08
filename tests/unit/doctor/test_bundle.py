"""The support bundle: its files, and what is masked in them."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import Config, ConfigError
from neuron_exporter.doctor.bundle import Bundle, masked_configuration
from neuron_exporter.doctor.context import Sample
from neuron_exporter.doctor.finding import Subject
from neuron_exporter.model import SourceState
from neuron_exporter.text import MASK
from tests.support.children import REPORT
from tests.support.doctor import make_context

FINDINGS = [Subject("driver").ok("version 2.24.7.0 is loaded")]


SECRETS = [
    ("source", {"command": ["sh", "-c", "curl -H 'Authorization: Bearer geheim' host"]}),
    ("source", {"command": ["neuron-monitor", "--auth", "geheim", "-pgeheim", "--token=geheim"]}),
    ("source", {"command": ["/home/geheim/neuron-monitor", "AKIAGEHEIMGEHEIMGEHE"]}),
    ("source", {"environment": {"TEAM": "geheim"}, "kind": "file", "path": "/home/geheim"}),
    ("prometheus", {"listen": "geheim.example:9415", "web_config_file": "geheim"}),
    ("prometheus", {"include": ["geheim-1"], "exclude": ["geheim 2"]}),
    ("cloudwatch", {"endpoint_url": "https://me:geheim@host/?sig=geheim", "namespace": "geheim"}),
    ("cloudwatch", {"extra_dimensions": {"Team": "geheim"}, "dimension_sets": [["geheim"]]}),
    ("cloudwatch", {"region": "geheim", "budget": {"keep": ["geheim:1"]}}),
    ("cloudwatch", {"spool": {"path": "/home/geheim/spool.db"}}),
    ("identity", {"cluster": "geheim", "instance_type": "geheim.large", "pod_labels": ["geheim"]}),
    ("identity", {"process_labels": {"job_id": "geheim"}}),
]


@pytest.mark.parametrize(("section", "values"), SECRETS)
def test_unknown_text_of_the_configuration_is_masked(section: str, values: Any) -> None:
    document = masked_configuration(Config.model_validate({section: values}))
    assert "geheim" not in str(document).lower()
    assert MASK in str(document[section])


def test_known_text_of_the_configuration_stays() -> None:
    """Defaults, numbers, members of closed lists, and texts of a harmless form."""
    config = Config.model_validate(
        {
            "source": {"command": ["neuron-monitor", "--verbose", "4"], "period": "7s"},
            "prometheus": {"listen": ["127.0.0.1:9415", "[::1]:1"], "include": ["neuroncore_*"]},
            "cloudwatch": {
                "region": "eu-central-1",
                "dimension_sets": [["InstanceId"], ["PodName"]],
            },
            "identity": {"instance_type": "trn2u.48xlarge", "kubernetes": True},
            "log": {"level": "debug"},
        }
    )  # fmt: skip
    assert masked_configuration(config) == config.model_dump()
    assert masked_configuration(Config()) == Config().model_dump()


def test_bundle_content(tmp_path: Path) -> None:
    """The archive is readable by its owner only, lists its files, and has no names or secrets."""
    path = tmp_path / "bundle.tar.gz"
    context = make_context(source__kind="neuron-monitor", source__environment={"NAME": "geheim"})
    context.metrics = b"neuron_exporter_up 1\n"
    context.snapshot = (
        b'{"reason": "http://me:geheim@host/?sig=geheim", '
        b'"lines": ["curl -H \'Authorization: Bearer geheim\'", "AWS_SECRET_ACCESS_KEY=geheim"]}'
    )
    context.sample = Sample(SourceState.OK, "", json.dumps(REPORT).encode())

    lines = list(Bundle(str(path)).write(context, FINDINGS))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        parts = {Path(entry.name).name: archive.extractfile(entry) for entry in archive}
        content = {name: part.read() for name, part in parts.items() if part is not None}
    assert [line.split(":")[0].strip() for line in lines[1:]] == list(content)
    assert set(content) == {
        *("findings.json", "configuration.yaml", "report.json", "metrics.txt", "snapshot.json"),
        "versions.txt",
    }
    assert b"i-0123456789abcdef0" not in content["report.json"]
    assert json.loads(content["report.json"])["neuron_hardware_info"]["neuron_device_count"] == 1
    assert b"geheim" not in b"".join(content.values())
    assert b"NAME: '***'" in content["configuration.yaml"]
    assert b"pydantic" in content["versions.txt"]


def test_existing_paths_are_never_overwritten(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (there, link, tmp_path / "no" / "folder"):
        with pytest.raises(ConfigError, match="--bundle"):
            Bundle(str(path))
    assert there.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["link", "there"]
