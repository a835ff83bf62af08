"""What the tests of the hardware's readers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.support.sysfs_tree import write_tree


@pytest.fixture
def log() -> Iterator[list[Any]]:
    """Return the events that are logged."""
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture(params=["old", "moved"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a tree of two devices with eight cores, in each layout."""
    return write_tree(tmp_path / "sysfs", range(2), 8, is_moved=request.param == "moved")
