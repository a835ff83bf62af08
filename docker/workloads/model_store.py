"""Storage of compiled models: a TorchScript file MODEL, and its metadata in MODEL.json.

The metadata contains what was compiled for which target, the input shape, and a checksum that
detects incomplete and mismatched files. Neither this module nor `s3.py` needs PyTorch.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import s3
from model_metadata import Metadata, read_metadata
from runner import UserError

CPU = "cpu"
PACKAGES = {"neuronx": "torch_neuronx", "neuron": "torch_neuron"}
"""Packages of the Neuron targets: NeuronCores v2 and later (Inf2, Trn1, Trn2), and v1 (Inf1). A
model that was compiled for one target does not run on another."""
TARGETS = (CPU, *PACKAGES)

_CHUNK_SIZE = 1 << 20


def metadata_location(model: str) -> str:
    """Return the location of a model's metadata, a path or s3://BUCKET/KEY."""
    return f"{model}.json"


def checksum(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_SIZE):
            digest.update(chunk)
    return digest.hexdigest()


# Targets


def import_package(target: str) -> ModuleType | None:
    """Import the package that compiles for a target and registers its operators.

    Return None for the CPU.

    Raises:
        UserError: the package is not installed, or only PyPI's empty placeholder is.
    """
    if target == CPU:
        return None
    name = PACKAGES[target]
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"target {target} requires {name}, which cannot be imported ({error})"
        ) from None
    if not hasattr(module, "trace"):
        raise UserError(
            f"{name} is PyPI's empty placeholder; install AWS's package from "
            "https://pip.repos.neuron.amazonaws.com"
        )
    return module


def detect_target() -> str:
    """Return the target of the installed Neuron package, or the CPU if there is none.

    Raises:
        UserError: a package is installed but unusable.
    """
    for target, name in PACKAGES.items():
        if importlib.util.find_spec(name) is not None:
            import_package(target)
            return target
    return CPU


def add_target_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag --target."""
    parser.add_argument(
        "--target",
        choices=("auto", *TARGETS),
        default="auto",
        help="neuronx for Inf2, Trn1 and later, neuron for Inf1; auto (default) selects by the "
        "installed packages, or the CPU if there are none",
    )


def installed_versions(*names: str) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    from importlib import metadata

    versions = {"python": platform.python_version()}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


# Storing


def store(file: Path, metadata: Metadata, location: str) -> None:
    """Move a model from its staging directory to its location, and then its metadata.

    A reader that finds metadata therefore finds a complete model. If the metadata cannot be stored,
    the model is removed because it would be unusable.

    Raises:
        UserError: the model or its metadata cannot be stored.
    """
    metadata_file = file.with_name(file.name + ".json")
    content = json.dumps(asdict(metadata), indent=2).encode() + b"\n"
    write(content, metadata_file, metadata_location(location))
    _move(file, location, metadata.sha256)
    try:
        _move(metadata_file, metadata_location(location), checksum(metadata_file))
    except BaseException:
        with suppress(UserError, OSError):
            s3.remove(location) if s3.is_address(location) else os.unlink(location)
        raise


def write(content: bytes | memoryview, path: Path, location: str) -> None:
    """Write a staged file whose final location is `location`.

    Models are serialized to memory first: on a full disk, PyTorch's own file writer ends the
    process with SIGABRT, which cannot be caught (seen with 2.13 and 1.13).

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{location} cannot be written: {error.strerror}") from None


def _move(file: Path, location: str, sha256: str) -> None:
    if s3.is_address(location):
        s3.upload(file, location, sha256)
        return
    try:
        os.replace(file, location)
    except OSError as error:
        raise UserError(f"{location} cannot be written: {error.strerror}") from None


def staging_directory(location: str) -> tempfile.TemporaryDirectory[str]:
    """Create a temporary directory, for a local location in the same directory.

    A finished file can then be moved into place with a rename.

    Raises:
        UserError: the directory does not exist or is not writable.
    """
    parent = None if s3.is_address(location) else Path(location).absolute().parent
    try:
        if parent is not None and Path(location).is_dir():
            raise UserError(f"{location} is a directory; specify a file")
        return tempfile.TemporaryDirectory(prefix=".unfinished-", dir=parent)
    except OSError as error:
        raise UserError(f"{parent} is not writable: {error.strerror}") from None


# Fetching


def fetch(location: str, target: str, directory: Path) -> tuple[Path, Metadata]:
    """Return a model's file and metadata after checking its target and checksum.

    Args:
        directory: destination of downloads from S3.

    Raises:
        UserError: the model is missing, damaged, of another format, or compiled for another target.
    """
    name = metadata_location(location)
    if s3.is_address(location):
        metadata = read_metadata(s3.download(name, directory / "model.json"), name)
        _check_target(metadata, target, location)
        model = s3.download(location, directory / "model")
    else:
        model = Path(location)
        if not model.is_file():
            raise UserError(f"{location} does not exist")
        metadata = read_metadata(Path(name), name)
        _check_target(metadata, target, location)
    if checksum(model) != metadata.sha256:
        raise UserError(
            f"{location} does not match its metadata {name}: the SHA-256 differs "
            f"({model.stat().st_size} bytes, expected {metadata.size}); store it again"
        )
    return model, metadata


def _check_target(metadata: Metadata, target: str, location: str) -> None:
    if metadata.target != target:
        raise UserError(
            f"{location} was compiled for {metadata.target}, but this machine's target is {target}:"
            f" compile it with --target {target}"
            + (", or run it with --target cpu" if metadata.target == CPU else "")
        )
