"""The committed policies are those that the stack makes, for whoever makes roles in another way."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.conftest import Golden
from tests.support.policies import FOLDER
from tests.support.stacks import Account, account

POLICIES = (
    *("publish", "publish-otlp", "service-names", "start-tasks", "read-models", "write-models"),
)


@pytest.fixture(scope="module")
def base() -> Iterator[Account]:
    """An account with the stack in it."""
    with account() as opened:
        opened.create("base", {})
        yield opened


@pytest.mark.parametrize("name", POLICIES)
def test_a_committed_policy_is_the_stacks(
    name: str, base: Account, request: pytest.FixtureRequest
) -> None:
    """Stack and documents agree, with the stack's default names and a placeholder account."""
    made = json.dumps(base.policy(f"neuron-{name}-us-east-1"), indent=2) + "\n"
    update = request.config.getoption("--update-golden")
    Golden(FOLDER, update=update).check(f"{name}.json", made)


def test_nothing_else_is_committed() -> None:
    """A policy that nothing writes anew would grow old unseen."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in POLICIES}
