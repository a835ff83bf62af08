"""The walk-through does what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.support.commands import shell_environment
from tests.support.paths import ROOT
from tests.support.programs import PROGRAMS

pytestmark = pytest.mark.workloads

TEXT = (PROGRAMS / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_way_on_a_laptop_can_be_gone(with_torch: Path, tmp_path: Path) -> None:
    """Each command runs as it is written, for fewer houses and seconds, and at a free port."""
    (script,) = blocks("sh")
    for written, instead in (
        ("python3 docker/workloads/", f"{with_torch} {PROGRAMS}/"),
        ("--rows 2000", "--rows 200"),
        ("--duration 30", "--duration 1 --metrics-port 0"),
    ):
        assert written in script
        script = script.replace(written, instead)
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


def test_the_pod_by_hand_is_valid() -> None:
    """What is copied from here is taken by Kubernetes."""
    (pod,) = [each for each in map(yaml.safe_load, blocks("yaml")) if "kind" in each]
    kubernetes_validate.validate(pod, "1.37", strict=True)


def test_the_pod_by_hand_may_run_where_karpenter_taints() -> None:
    """It would wait for ever on the machines that k8s/karpenter launches."""
    (pod,) = [each for each in map(yaml.safe_load, blocks("yaml")) if "kind" in each]
    pools = yaml.safe_load_all((ROOT / "k8s" / "karpenter" / "node-pools.yaml").read_text())
    taints = [taint for pool in pools for taint in pool["spec"]["template"]["spec"]["taints"]]
    tolerated = [
        (each["key"], each["effect"])
        for each in pod["spec"].get("tolerations", [])
        if each["operator"] == "Exists"
    ]
    assert taints
    assert all((taint["key"], taint["effect"]) in tolerated for taint in taints)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_links_lead_somewhere(link: str) -> None:
    """A folder that is named is there."""
    assert (PROGRAMS / link).resolve().is_relative_to(ROOT)
    assert (PROGRAMS / link).exists()


def test_the_flags_that_are_shown_are_the_programs(with_torch: Path) -> None:
    """Each flag of a program's command line is in its help."""
    shown = 0
    for program, arguments in re.findall(r"(\w+\.py) ((?:[^\n`']|\\\n)*)", TEXT):
        if not (PROGRAMS / program).exists():
            continue
        words = arguments.split()
        command = [words[0]] if program == "housing.py" else []
        text = subprocess.run(
            [str(with_torch), str(PROGRAMS / program), *command, "--help"],
            capture_output=True,
            text=True,
            env=shell_environment(PYTHONDONTWRITEBYTECODE="1"),
            check=True,
        ).stdout
        for flag in (word for word in words if word.startswith("--")):
            assert flag in text, f"{program} {' '.join(command)} has no {flag}"
            shown += 1
    assert shown > 10
