"""The committed task definitions are what the command writes."""

from __future__ import annotations

import pytest

from tests.conftest import Golden
from tests.support.commands import run
from tests.support.task_definitions import EXAMPLES, FOLDER, MANAGED

ALL = EXAMPLES | MANAGED


@pytest.mark.parametrize("name", ALL)
def test_a_committed_definition_is_the_commands_output(
    name: str, request: pytest.FixtureRequest
) -> None:
    finished = run("task-definition", "--instance-type", *ALL[name].split())
    assert finished.status == 0
    assert name in MANAGED or finished.err == ""
    update = request.config.getoption("--update-golden")
    Golden(FOLDER, update=update).check(f"{name}.json", finished.out)


def test_nothing_else_is_committed() -> None:
    """A definition that nothing regenerates would become outdated."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in ALL}
