"""The committed Prometheus rules are what their source writes."""

from __future__ import annotations

import pytest

from grafana.rulebook.render import files
from tests.conftest import Golden
from tests.support.paths import ROOT

FOLDERS = ("grafana/rules", "k8s/components/prometheus-rules")


@pytest.mark.parametrize("name", files())
def test_a_committed_file_is_what_the_source_writes(
    name: str, request: pytest.FixtureRequest
) -> None:
    """Prometheus and the Prometheus Operator get the same rules, from one source."""
    update = request.config.getoption("--update-golden")
    Golden(ROOT, update=update).check(name, files()[name])


def test_nothing_else_is_committed() -> None:
    """A file that nothing writes anew would grow old unseen."""
    committed = {
        str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).iterdir()
    }
    assert committed == {*files(), f"{FOLDERS[1]}/kustomization.yaml"}
