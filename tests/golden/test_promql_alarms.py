"""The PromQL alarms in the package are generated from the alert rules."""

from __future__ import annotations

import pytest

from grafana.alarms_src.alarms import FILE, document
from tests.conftest import Golden
from tests.support.paths import ROOT


def test_committed_file_is_current(request: pytest.FixtureRequest) -> None:
    update = request.config.getoption("--update-golden")
    Golden(ROOT, update=update).check(FILE, document())
