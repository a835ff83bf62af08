"""The committed task definitions are what the command writes."""

from __future__ import annotations

import pytest

from tests.conftest import Golden
from tests.support.commands import run
from tests.support.task_definitions import EXAMPLES, FOLDER


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_committed_definition_is_the_commands_output(
    name: str, request: pytest.FixtureRequest
) -> None:
    """Whoever reads `ecs/task-definitions` reads what the command would give them."""
    finished = run("task-definition", "--instance-type", *EXAMPLES[name].split())
    assert (finished.status, finished.err) == (0, "")
    update = request.config.getoption("--update-golden")
    Golden(FOLDER, update=update).check(f"{name}.json", finished.out)


def test_nothing_else_is_committed() -> None:
    """A definition that nothing writes anew would grow old unseen."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in EXAMPLES}
