"""A compiled model as these programs keep it: TorchScript, and JSON beside it that says what it is.

MODEL is the TorchScript, MODEL.json the description: what was compiled for what, the shape that it
takes, and the checksum by which a half-copied or exchanged file is found out. Neither this module
nor `s3.py` needs PyTorch.
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
from description import Description, read
from program import Problem

CPU = "cpu"
PACKAGES = {"neuronx": "torch_neuronx", "neuron": "torch_neuron"}
"""Targets that have a package of their own: NeuronCores v2 and later (Inf2, Trn1, Trn2), and v1
(Inf1). A model that was compiled for one runs on no other."""
TARGETS = (CPU, *PACKAGES)

_CHUNK = 1 << 20


def description_of(model: str) -> str:
    """Where the description of a model is, a path or s3://BUCKET/KEY."""
    return f"{model}.json"


def checksum(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


# Targets


def package(target: str) -> ModuleType | None:
    """The package that compiles for a target and registers its operators; none for the CPU.

    Raises:
        Problem: it is not installed, or only the empty one of that name on PyPI is.
    """
    if target == CPU:
        return None
    name = PACKAGES[target]
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise Problem(f"{name} cannot be imported, which {target} needs ({error})") from None
    if not hasattr(module, "trace"):
        raise Problem(
            f"{name} is only the placeholder of PyPI: install AWS's own, from "
            "https://pip.repos.neuron.amazonaws.com"
        )
    return module


def target_here() -> str:
    """The target that this machine's packages are for, the CPU where there are none.

    Raises:
        Problem: a package is there and cannot be used.
    """
    for target, name in PACKAGES.items():
        if importlib.util.find_spec(name) is not None:
            package(target)
            return target
    return CPU


def add_target(parser: argparse.ArgumentParser) -> None:
    """The flag by which a user says otherwise."""
    parser.add_argument(
        "--target",
        choices=("auto", *TARGETS),
        default="auto",
        help="neuronx is Inf2, Trn1 and later, neuron is Inf1; auto (default) is what the "
        "installed packages are for, and the CPU without any",
    )


def versions(*names: str) -> dict[str, str]:
    """The versions of Python and of those packages that are installed."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


# Storing


def store(made: Path, description: Description, place: str) -> None:
    """Put a model and its description where they belong.

    The description goes last: who finds it finds a whole model. Where it cannot be stored, the
    model goes as well, which would be of no use.

    Raises:
        Problem: it cannot be written.
    """
    beside = made.with_name(made.name + ".json")
    write(json.dumps(asdict(description), indent=2).encode() + b"\n", beside, description_of(place))
    _put(made, place, description.sha256)
    try:
        _put(beside, description_of(place), checksum(beside))
    except BaseException:
        with suppress(Problem, OSError):
            s3.remove(place) if s3.is_address(place) else os.unlink(place)
        raise


def write(content: bytes | memoryview, path: Path, place: str) -> None:
    """Write a file that is on its way to a place.

    What PyTorch saves comes here as bytes: where the disk is full, its own writing into a file
    ends the process with SIGABRT (seen with 2.13 and 1.13), which nothing can catch.

    Raises:
        Problem: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Problem(f"{place} cannot be written: {error.strerror}") from None


def _put(file: Path, place: str, sha256: str) -> None:
    if s3.is_address(place):
        s3.upload(file, place, sha256)
        return
    try:
        os.replace(file, place)
    except OSError as error:
        raise Problem(f"{place} cannot be written: {error.strerror}") from None


def workplace(place: str) -> tempfile.TemporaryDirectory[str]:
    """A folder for what is not finished; beside a path, so that finishing is one renaming.

    Raises:
        Problem: there is no such folder, or nothing can be written into it.
    """
    folder = None if s3.is_address(place) else Path(place).absolute().parent
    try:
        if folder is not None and Path(place).is_dir():
            raise Problem(f"{place} is a folder; name a file in it")
        return tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder)
    except OSError as error:
        raise Problem(f"{folder} cannot be written to: {error.strerror}") from None


# Fetching


def fetch(place: str, target: str, folder: Path) -> tuple[Path, Description]:
    """A model that is whole and for this target, and its description.

    Args:
        folder: where to what comes from S3.

    Raises:
        Problem: it is missing, damaged, of another format, or compiled for another target.
    """
    if s3.is_address(place):
        told = s3.download(description_of(place), folder / "model.json")
        description = read(told, description_of(place))
        _fits(description, target, place)
        model = s3.download(place, folder / "model")
    else:
        model = Path(place)
        if not model.is_file():
            raise Problem(f"{place}: there is no such file")
        description = read(Path(description_of(place)), description_of(place))
        _fits(description, target, place)
    if checksum(model) != description.sha256:
        raise Problem(
            f"{place} is not the file that {description_of(place)} describes: it has "
            f"{model.stat().st_size} bytes of {description.size} and another SHA-256; store it anew"
        )
    return model, description


def _fits(description: Description, target: str, place: str) -> None:
    if description.target != target:
        raise Problem(
            f"{place} was compiled for {description.target}, and this is {target}: compile it with "
            f"--target {target}"
            + (", or run it with --target cpu" if description.target == CPU else "")
        )
