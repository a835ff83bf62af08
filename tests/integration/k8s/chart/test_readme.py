"""Commands and tables about the chart in the documents agree with the chart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documents import block, calls, table
from tests.support.helm import SCHEMA, helm
from tests.support.kubernetes import COMPONENTS
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("needs_helm")

DOCUMENTS = ("README.md", "k8s/README.md", "k8s/examples/otlp/README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands(document: str, tmp_path: Path) -> None:
    """Helm accepts each command in its order, at the top of the repository, without a cluster."""
    (tmp_path / "k8s").symlink_to(ROOT / "k8s")
    (tmp_path / "grafana").symlink_to(ROOT / "grafana")
    values = block("k8s/README.md", "yaml", "image: {repository")
    (tmp_path / "values.yaml").write_text(values)
    own = [
        words for words in calls(document, "helm", inline=False) if "neuron-helm" not in str(words)
    ]
    assert own
    for words in own:
        if words[0] == "package":
            done = helm(*words, folder=tmp_path)
        elif words[0] == "install":
            done = helm(*words, "--dry-run=client", folder=tmp_path)
            assert "kind: DaemonSet" in done.stdout
        else:  # it needs a cluster
            known = helm(*words[:1], "--help").stdout
            assert all(each in known for each in words if each.startswith("--"))
            continue
        assert done.returncode == 0, done.stderr


def test_values_of_the_table_exist() -> None:
    """Each value in the table exists, and every component has one."""
    rows = table("k8s/README.md", "| value | instead of |")
    for value, _ in rows:
        for path in re.findall(r"`([a-z][\w.]+)(?:: \w+)?`", value):
            found = SCHEMA
            for name in path.split("."):
                if name == "config":
                    break
                found = found["properties"][name]
    replaced = {name for _, text in rows for name in re.findall(r"`([\w-]+)`", text)}
    assert {name.partition("/")[2] for name in COMPONENTS} <= replaced
