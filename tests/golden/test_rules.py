"""The committed Prometheus rules are generated from their source."""

from __future__ import annotations

import pytest

from grafana.rules_src.render import files
from tests.conftest import Golden
from tests.support.paths import ROOT

FOLDERS = ("grafana/rules", "k8s/components/prometheus-rules")


@pytest.mark.parametrize("name", files())
def test_committed_file_is_current(name: str, request: pytest.FixtureRequest) -> None:
    update = request.config.getoption("--update-golden")
    Golden(ROOT, update=update).check(name, files()[name])


def test_all_committed_files_are_generated() -> None:
    committed = {
        str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).iterdir()
    }
    assert committed == {*files(), f"{FOLDERS[1]}/kustomization.yaml"}
