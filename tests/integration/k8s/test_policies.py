"""What a linter of policies says of k8s/ is mended, or explained beside the line."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import kubernetes
from tests.support.kubernetes import CHECKOV, EXPORTERS, K8S, KUSTOMIZATIONS

APPLIED = [name for name in KUSTOMIZATIONS if name != "base"]
"""The base has no namespace, and its findings are those of the overlays."""

QUIETLY = ("--quiet", "--compact", "--skip-download")
"""Report failures only, without code, and use no network."""


def findings(folder: Path) -> dict[str, set[str]]:
    """What checkov finds in each file of a folder, by the file's name."""
    done = subprocess.run(
        [CHECKOV, f"--directory={folder}", "--framework=kubernetes", "--output=json", *QUIETLY],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    report = json.loads(done.stdout)
    assert not report["summary"]["parsing_errors"]
    found: dict[str, set[str]] = {path.name: set() for path in folder.iterdir()}
    for each in report["results"]["failed_checks"]:
        found[Path(each["file_path"]).name].add(each["check_id"])
    return found


def explained(*folders: str) -> set[str]:
    """The checks that comments below these folders name."""
    return {
        check
        for folder in folders
        for path in (K8S / folder).glob("*.yaml")
        for line in path.read_text().splitlines()
        for check in re.findall(r"\bCKV\w+", line.partition("#")[2])
    }


@pytest.mark.usefixtures("needs_checkov")
@pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())
def test_every_finding_is_explained(tmp_path: Path) -> None:
    """checkov finds nothing but what comments of the same objects name, and all of that."""
    for name in APPLIED:
        path = tmp_path / f"{name.replace('/', '_')}.yaml"
        path.write_text(kubernetes.kustomize(K8S / name))
    found = findings(tmp_path)
    for name in APPLIED:
        sources = [name, "image"] if name in EXPORTERS else [name]
        if name in EXPORTERS and name != "overlays/simulator":
            sources.append("base")
        assert found[f"{name.replace('/', '_')}.yaml"] == explained(*sources), name
