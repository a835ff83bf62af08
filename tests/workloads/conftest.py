"""Fixtures: the programs in an environment with PyTorch, a trained model, and an S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from tests.conftest import missing
from tests.support.programs import WITH_TORCH, WITH_TORCHVISION, Programs, can_import
from tests.support.servers import moto_server

FAKE_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
NO_AWS_FILES = {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}


@pytest.fixture(scope="session")
def with_torch() -> Path:
    """Return an interpreter that has PyTorch."""
    if not can_import(WITH_TORCH, "torch"):
        missing("PyTorch is not installed (make test-workloads)")
    return WITH_TORCH


@pytest.fixture
def programs(with_torch: Path, tmp_path: Path) -> Programs:
    """Return the programs in an empty folder."""
    return Programs(with_torch, tmp_path)


@pytest.fixture
def with_torchvision(tmp_path: Path) -> Programs:
    """Return the programs with an interpreter that has torchvision."""
    if not can_import(WITH_TORCHVISION, "torch", "torchvision", "PIL"):
        missing("torchvision is not installed (Debian: python3-torchvision)")
    return Programs(WITH_TORCHVISION, tmp_path)


class Trained(NamedTuple):
    """Folder of a training run, and the output of the run."""

    folder: Path
    printed: str


@pytest.fixture(scope="session")
def trained(with_torch: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train on 600 generated houses with default options, and compile the model."""
    folder = tmp_path_factory.mktemp("trained")
    programs = Programs(with_torch, folder)
    (folder / "houses.csv").write_text(programs.succeed("housing.py", "sample", "--rows", "600"))
    printed = programs.succeed("housing.py", "train", "--data", "houses.csv")
    programs.succeed("housing.py", "compile", "--example", "example.pt")
    return Trained(folder, printed)


class Bucket(NamedTuple):
    """Bucket of a local S3 server, and the environment for programs that use it."""

    name: str
    client: Any
    environment: dict[str, str]

    def keys(self) -> set[str]:
        """Return the keys of all objects."""
        return {
            each["Key"] for each in self.client.list_objects(Bucket=self.name).get("Contents", [])
        }


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Return the URL of an S3 server for the whole session."""
    with moto_server() as url:
        yield url


@pytest.fixture
def bucket(s3_server: str, fake_credentials: None) -> Iterator[Bucket]:
    """Return an empty bucket."""
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
    name = f"models-{uuid.uuid4()}"
    client.create_bucket(Bucket=name)
    yield Bucket(
        name, client, {**FAKE_CREDENTIALS, **NO_AWS_FILES, "AWS_ENDPOINT_URL_S3": s3_server}
    )
    client.close()
