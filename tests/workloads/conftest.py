"""The programs in an environment with PyTorch, a trained model, and an S3 server."""

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

NOBODYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
NO_OTHERS = {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}


@pytest.fixture(scope="session")
def with_torch() -> Path:
    """An interpreter that has PyTorch."""
    if not can_import(WITH_TORCH, "torch"):
        missing("PyTorch is not installed (make test-workloads)")
    return WITH_TORCH


@pytest.fixture
def programs(with_torch: Path, tmp_path: Path) -> Programs:
    """The programs, run in a folder of their own."""
    return Programs(with_torch, tmp_path)


@pytest.fixture
def with_torchvision(tmp_path: Path) -> Programs:
    """The programs, run by an interpreter that has torchvision."""
    if not can_import(WITH_TORCHVISION, "torch", "torchvision", "PIL"):
        missing("torchvision is not installed (Debian: python3-torchvision)")
    return Programs(WITH_TORCHVISION, tmp_path)


class Trained(NamedTuple):
    """What one training printed and left."""

    folder: Path
    printed: str


@pytest.fixture(scope="session")
def trained(with_torch: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A regressor that was trained with everything by default, on 600 houses that are made up; its
    checkpoint, example and compiled model, and the houses."""
    folder = tmp_path_factory.mktemp("trained")
    programs = Programs(with_torch, folder)
    (folder / "houses.csv").write_text(programs.succeed("housing.py", "sample", "--rows", "600"))
    printed = programs.succeed("housing.py", "train", "--data", "houses.csv")
    programs.succeed("housing.py", "compile", "--example", "example.pt")
    return Trained(folder, printed)


class Bucket(NamedTuple):
    """A bucket of an S3 server on this machine."""

    name: str
    client: Any
    environment: dict[str, str]

    def keys(self) -> set[str]:
        """The objects in it."""
        return {
            each["Key"] for each in self.client.list_objects(Bucket=self.name).get("Contents", [])
        }


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a server that the whole run shares."""
    with moto_server() as url:
        yield url


@pytest.fixture
def bucket(s3_server: str, nobodys_credentials: None) -> Iterator[Bucket]:
    """An empty bucket, and the variables by which a program finds its server."""
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
    name = f"models-{uuid.uuid4()}"
    client.create_bucket(Bucket=name)
    yield Bucket(name, client, {**NOBODYS, **NO_OTHERS, "AWS_ENDPOINT_URL_S3": s3_server})
    client.close()
