"""Fixtures of the image tests."""

from __future__ import annotations

import os

import pytest

from tests.conftest import missing
from tests.support.container import Image, built_image


@pytest.fixture(scope="session")
def image() -> Image:
    """Return the image that `make test-image` built."""
    if os.geteuid() != 0:
        missing("the image's tests need root")
    try:
        return built_image()
    except FileNotFoundError:
        missing("the image is not built (make test-image)")
        raise
