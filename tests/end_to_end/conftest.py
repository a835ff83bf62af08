"""Fixtures of the tests that create an ECS service from nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.registry import Registry, ecr
from tests.support.stacks import Account, account


@pytest.fixture
def empty_account() -> Iterator[Account]:
    """Start a moto of the test's own."""
    with account() as opened:
        yield opened


@pytest.fixture
def registry(empty_account: Account, tmp_path: Path) -> Iterator[Registry]:
    """Start an empty registry with the account's password, in place of ECR's."""
    for program in ("docker-registry", "buildah", "skopeo"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed (make docker-registry)")
    with ecr(empty_account, tmp_path / "registry") as started:
        yield started
