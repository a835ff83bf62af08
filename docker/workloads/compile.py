#!/usr/bin/env python3
"""Compile a model for Inferentia, Trainium or the CPU, check it, and store it.

    compile.py resnet50 --model s3://BUCKET/resnet50.pt
    compile.py housing --weights model.pt --model housing.pt --target cpu

Inf2, Trn1 and later compile with torch_neuronx.trace, Inf1 with torch_neuron.trace, and where
neither package is installed, torch.jit.trace makes the same file for the CPU.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import artefact
import program
import s3
from description import Description
from program import Problem

TOLERANCE = {artefact.CPU: 1e-5, "neuronx": 0.05, "neuron": 0.05}
"""What a compiled model may differ from the eager one, as a share of the largest output or of 1.

Neuron's compilers calculate float32 in bfloat16 by default, at the least in products of matrices:
8 bits of precision, 0.4 % in each, and fifty layers of them."""


@dataclass(frozen=True)
class Network:
    """A model before it is compiled."""

    module: Any
    shape: tuple[int, ...]
    """Of one input, without the batch."""
    weights: str
    details: dict[str, Any] = field(default_factory=dict)


def resnet50(weights: str) -> Network:
    """ResNet-50, with the names of ImageNet's classes and how a picture is made its input."""
    try:
        from torchvision.models import ResNet50_Weights
        from torchvision.models import resnet50 as build
    except ImportError as error:
        raise Problem(f"resnet50 is torchvision's, which cannot be imported ({error})") from None
    which = ResNet50_Weights.DEFAULT if weights == "default" else ResNet50_Weights.IMAGENET1K_V1
    if weights == "default":
        try:
            module = build(weights=which)
        except (OSError, RuntimeError) as error:
            raise Problem(
                f"the pretrained weights cannot be loaded ({error}): give a file of them with "
                "--weights PATH, or --weights none for random ones"
            ) from None
    else:
        module = build(weights=None)
        if weights != "none":
            _load(module, _saved(weights), weights)
    picture = which.transforms()
    return Network(
        module,
        (3, 224, 224),
        str(which) if weights == "default" else weights,
        {
            "labels": list(which.meta["categories"]),
            "picture": {
                "resize": picture.resize_size[0],
                "crop": picture.crop_size[0],
                "mean": list(picture.mean),
                "std": list(picture.std),
            },
        },
    )


def housing(weights: str) -> Network:
    """The regressor that `housing.py train` trains, with what makes its answer dollars."""
    from houses import FEATURES
    from housing import network

    if weights == "default":
        raise Problem(
            "--weights: housing has none of its own; give the file that `housing.py train` wrote, "
            "or none for random ones"
        )
    module, details = network(), {}
    if weights != "none":
        saved = _saved(weights)
        if not isinstance(saved, dict) or not {"state", "scaling"} <= saved.keys():
            raise Problem(f"{weights} is not a checkpoint that `housing.py train` wrote")
        _load(module, saved["state"], weights)
        details = {"scaling": json.loads(saved["scaling"])}
    return Network(module, (len(FEATURES),), weights, details)


NETWORKS: dict[str, Callable[[str], Network]] = {"resnet50": resnet50, "housing": housing}


def _saved(path: str) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Problem(f"--weights: {path} cannot be read: {error.strerror}") from None
    except Exception:  # noqa: BLE001 (torch raises anything over a file that is none of its own)
        raise Problem(f"--weights: {path} is not a file of PyTorch's weights") from None


def _load(module: Any, state: Any, path: str) -> None:
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        first = str(error).splitlines()[-1].strip()
        raise Problem(f"--weights: {path} does not fit this model: {first}") from None


def trace(target: str, module: Any, example: Any, arguments: list[str]) -> Any:
    """TorchScript of a model, for a target.

    Raises:
        Problem: the target's package is not there, or cannot compile it.
    """
    import torch

    compiler = artefact.package(target)
    try:
        if compiler is None:
            with torch.no_grad():
                return torch.jit.trace(module, example)
        given = {"compiler_args": arguments} if arguments else {}
        return compiler.trace(module, example, **given)
    except RuntimeError as error:
        raise Problem(f"it cannot be compiled for {target}: {error}") from None


def difference(traced: Any, module: Any, example: Any) -> tuple[float, float]:
    """The largest difference between both outputs, and the largest output of the eager model."""
    import torch

    with torch.no_grad():
        expected, got = module(example), traced(example)
    if got.shape != expected.shape:
        raise Problem(f"the compiled model gives {list(got.shape)}, not {list(expected.shape)}")
    return float((got - expected).abs().max()), float(expected.abs().max())


def work(given: argparse.Namespace) -> None:
    """Build, trace, check, save, store."""
    os.environ.setdefault(program.TAG, "compile")  # what is compiled runs once, to be checked
    place = given.model or f"{given.network}.pt"
    if (
        Path(given.weights).exists()
        and Path(place).exists()
        and Path(given.weights).samefile(place)
    ):
        raise Problem(f"--model: {place} would overwrite the weights")
    if s3.is_address(place):
        s3.look_for_bucket(place)
    with artefact.workplace(place) as folder:
        _compile(given, place, Path(folder) / "model")


def _compile(given: argparse.Namespace, place: str, made: Path) -> None:
    import torch

    target = artefact.target_here() if given.target == "auto" else given.target
    if target == artefact.CPU:
        if given.target == "auto":
            print(
                "WARNING: no Neuron package is installed (torch_neuronx, torch_neuron): this "
                "compiles for the CPU, and runs on no accelerator",
                file=sys.stderr,
            )
        if given.compiler_args:
            raise Problem("--compiler-args: the CPU has no compiler to give them to")
    torch.manual_seed(0)  # random weights are the same ones each time
    network = NETWORKS[given.network](given.weights)
    module = network.module.eval()
    example = _example(given, network)
    print(f"compiling {given.network} {list(example.shape)} for {target}", flush=True)
    started = time.monotonic()
    traced = trace(target, module, example, shlex.split(given.compiler_args))
    seconds = time.monotonic() - started
    saved = io.BytesIO()
    try:
        torch.jit.save(traced, saved)
    except RuntimeError as error:
        raise Problem(f"compiled, and cannot be saved: {error}") from None
    artefact.write(saved.getbuffer(), made, place)
    off, largest = _checked(made, module, example)
    tolerance = TOLERANCE[target] if given.tolerance is None else given.tolerance
    allowed = tolerance * max(1.0, largest)
    print(
        f"compiled in {seconds:.1f} s; differs by {off:.2g} from the model, {allowed:.2g} allowed"
    )
    if not off <= allowed:  # nor is NaN
        raise Problem(
            f"the compiled model differs by {off:.3g} from the model itself, more than "
            f"{allowed:.3g}: nothing was stored"
        )
    description = Description(
        model=given.network,
        target=target,
        shape=list(example.shape),
        dtype=str(example.dtype).removeprefix("torch."),
        sha256=artefact.checksum(made),
        size=made.stat().st_size,
        weights=network.weights,
        seconds=round(seconds, 3),
        check={"difference": off, "allowed": allowed, "tolerance": tolerance},
        versions=artefact.versions(
            "torch", "torchvision", "torch-neuronx", "neuronx-cc", "torch-neuron", "neuron-cc"
        ),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        details=network.details,
    )
    artefact.store(made, description, place)
    print(f"stored {place}: {description.size} bytes, SHA-256 {description.sha256}")


def _checked(made: Path, module: Any, example: Any) -> tuple[float, float]:
    """What `difference` says of the file as it was saved."""
    import torch

    try:
        return difference(torch.jit.load(str(made)), module, example)
    except (RuntimeError, ValueError, torch.jit.Error) as error:
        # A device that is absent or another process's shows only now: compiling needs none.
        last = str(error).strip().splitlines()[-1]
        raise Problem(f"compiled, and cannot be run here to be checked: {last}") from None


def _example(given: argparse.Namespace, network: Network) -> Any:
    import torch

    wanted = (given.batch, *network.shape)
    if given.example is None:
        return torch.rand(wanted)
    example = _saved(given.example)
    if not isinstance(example, torch.Tensor) or tuple(example.shape[1:]) != network.shape:
        shape = list(example.shape) if isinstance(example, torch.Tensor) else "no tensor"
        raise Problem(f"--example: {given.network} takes {list(wanted)}, and it has {shape}")
    return example[:1].repeat(given.batch, *[1] * len(network.shape))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The flags; ends the process with status 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="compile.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "network", nargs="?", choices=NETWORKS, default="resnet50", help="default resnet50"
    )
    parser.add_argument(
        "--model",
        metavar="PLACE",
        help="where the compiled model goes, a path or s3://BUCKET/KEY, with a description beside "
        "it (PLACE.json); default NETWORK.pt",
    )
    parser.add_argument(
        "--weights",
        default="default",
        metavar="none|default|PATH",
        help="random ones, the pretrained ones of torchvision (default), or a file",
    )
    parser.add_argument(
        "--batch", type=_batch, default=1, metavar="N", help="inputs of one execution (default 1)"
    )
    artefact.add_target(parser)
    parser.add_argument(
        "--compiler-args",
        default="",
        metavar="ARGS",
        help="more for Neuron's compiler, as in --compiler-args='--auto-cast none'",
    )
    parser.add_argument(
        "--example", metavar="PATH", help="a saved input to trace and check with (default: random)"
    )
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        metavar="SHARE",
        help="what the compiled model may differ, as a share of the largest output or of 1 "
        f"(default {TOLERANCE[artefact.CPU]:g} on the CPU, {TOLERANCE['neuronx']:g} on Neuron)",
    )
    return parser.parse_args(arguments)


def _batch(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 1024 (got {text!r})")
    return int(text)


def _tolerance(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1 (got {text!r})")
    return share


def main(arguments: list[str] | None = None) -> int:
    """Run; gives the exit status."""
    given = parse(arguments)
    return program.run("compile.py", lambda: work(given))


if __name__ == "__main__":
    sys.exit(main())
