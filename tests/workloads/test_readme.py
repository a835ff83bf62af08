"""Commands, flags and links of docker/workloads/README.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.support.commands import shell_environment
from tests.support.documents import blocks, text
from tests.support.paths import ROOT
from tests.support.programs import PROGRAMS

pytestmark = pytest.mark.workloads

README = "docker/workloads/README.md"


def test_the_commands_for_a_laptop(with_torch: Path, tmp_path: Path) -> None:
    """Each command runs, with fewer houses, fewer seconds and a free port."""
    (script,) = blocks(README, "sh")
    for written, replacement in (
        ("python3 docker/workloads/", f"{with_torch} {PROGRAMS}/"),
        ("--rows 2000", "--rows 200"),
        ("--duration 30", "--duration 1 --metrics-port 0"),
    ):
        assert written in script
        script = script.replace(written, replacement)
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=tmp_path,
        env=shell_environment(PYTHONDONTWRITEBYTECODE="1", PYTHONWARNINGS="ignore"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 10/10" in done.stdout
    assert len(re.findall(r"^line \d+: \$", done.stdout, re.MULTILINE)) == 198
    assert done.stdout.splitlines()[-1].startswith("100 requests  p50 ")


def test_the_example_of_a_pod_is_valid() -> None:
    (pod,) = [each for each in map(yaml.safe_load, blocks(README, "yaml")) if "kind" in each]
    kubernetes_validate.validate(pod, "1.37", strict=True)


def test_the_example_of_a_pod_tolerates_karpenters_taints() -> None:
    (pod,) = [each for each in map(yaml.safe_load, blocks(README, "yaml")) if "kind" in each]
    pools = yaml.safe_load_all((ROOT / "k8s" / "karpenter" / "node-pools.yaml").read_text())
    taints = [taint for pool in pools for taint in pool["spec"]["template"]["spec"]["taints"]]
    tolerated = [
        (each["key"], each["effect"])
        for each in pod["spec"].get("tolerations", [])
        if each["operator"] == "Exists"
    ]
    assert taints
    assert all((taint["key"], taint["effect"]) in tolerated for taint in taints)


def test_flags_exist(with_torch: Path) -> None:
    """Each flag of a program's command line is in its help."""
    shown = 0
    for program, arguments in re.findall(r"(\w+\.py) ((?:[^\n`']|\\\n)*)", text(README)):
        if not (PROGRAMS / program).exists():
            continue
        words = arguments.split()
        command = [words[0]] if program == "housing.py" else []
        help_text = subprocess.run(
            [str(with_torch), str(PROGRAMS / program), *command, "--help"],
            capture_output=True,
            text=True,
            env=shell_environment(PYTHONDONTWRITEBYTECODE="1"),
            check=True,
        ).stdout
        for flag in (word for word in words if word.startswith("--")):
            assert flag in help_text, f"{program} {' '.join(command)} has no {flag}"
            shown += 1
    assert shown > 10
