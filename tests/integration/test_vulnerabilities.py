"""Known vulnerabilities of the libraries that the exporter imports, from PyPI's database."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.paths import ROOT


def installed_libraries() -> dict[str, str]:
    """Return names and installed versions of what the package and its extras need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    chosen_extras = (extras[name] for name in ("container", "kubernetes", "otlp"))
    waiting = [*project["dependencies"], *chain.from_iterable(chosen_extras)]
    found: dict[str, str] = {}
    for text in waiting:  # which grows
        needed = Requirement(text)
        library = distribution(needed.name)
        if library.name in found:
            continue
        found[library.name] = library.version
        for each in library.requires or ():
            marker = Requirement(each).marker
            chosen = [{"extra": extra} for extra in ("", *needed.extras)]
            if marker is None or any(map(marker.evaluate, chosen)):
                waiting.append(each)
    return found


def test_no_known_vulnerability(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    libraries = installed_libraries()
    assert {"boto3", "grpclib", "opentelemetry-proto", "supervisor", "urllib3"} <= libraries.keys()
    requirements.write_text("".join(f"{name}=={ver}\n" for name, ver in libraries.items()))
    options = ["--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off"]
    audit = subprocess.run(
        [sys.executable, "-m", "pip_audit", *options, "--timeout=10", "-r", requirements],
        capture_output=True,
        text=True,
    )
    if not audit.stdout:
        pytest.skip(f"PyPI's database cannot be reached: {audit.stderr.splitlines()[-1][:300]}")
    results = json.loads(audit.stdout)["dependencies"]
    unknown = [each["skip_reason"] for each in results if "skip_reason" in each]
    if len(unknown) == len(results):  # a mirror without the database
        pytest.skip(f"this index has no database of vulnerabilities: {unknown[0]}")
    assert not unknown
    vulnerable = {each["name"]: [found["id"] for found in each["vulns"]] for each in results}
    assert not {name: ids for name, ids in vulnerable.items() if ids}
