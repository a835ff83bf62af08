"""The workflows and issue forms of GitHub: valid, safe, and nothing but this Makefile's targets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").iterdir())


def steps(workflow: Path) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("path", [*WORKFLOWS, *FORMS], ids=lambda path: path.name)
def test_files_are_valid(path: Path) -> None:
    form = "issue-config" if path.stem == "config" else "issue-forms"
    schema = "workflows" if path in WORKFLOWS else form
    check = ["-m", "check_jsonschema", "--builtin-schema", f"vendor.github-{schema}", path]
    done = subprocess.run([sys.executable, *check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_zizmor_has_no_findings() -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    audit = [zizmor, "--offline", "--pedantic", "--no-progress", "--color=never", GITHUB]
    done = subprocess.run(audit, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_targets_only(path: Path) -> None:
    """A developer can run on a machine what a workflow runs."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    for command in commands:
        target = re.fullmatch(
            r'(?:sudo env (?:CI=true )?PATH="\$PATH" )?make ([\w-]+)(?: [A-Z]+="[^"]*")*', command
        )
        assert target, command
        assert target[1] in targets


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_with_their_version(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert re.fullmatch(r" *- uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
