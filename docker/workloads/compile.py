#!/usr/bin/env python3
"""Compile a model for Inferentia, Trainium or the CPU, check it, and store it.

    compile.py resnet50 --model s3://BUCKET/resnet50.pt
    compile.py housing --weights model.pt --model housing.pt --target cpu

torch_neuronx.trace compiles for Inf2, Trn1 and later, torch_neuron.trace for Inf1. If neither
package is installed, torch.jit.trace produces a file of the same format for the CPU.
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

import model_store
import runner
import s3
from model_metadata import Metadata
from runner import UserError

TOLERANCE = {model_store.CPU: 1e-5, "neuronx": 0.05, "neuron": 0.05}
"""Allowed difference between the outputs of the compiled and the original model, as a share of the
largest output or of 1, whichever is larger.

By default, Neuron's compilers calculate at least matrix products of float32 in bfloat16. Its 8 bits
of precision are an error of 0.4 % per layer, and ResNet-50 has fifty layers."""


@dataclass(frozen=True)
class Network:
    """Model before compilation."""

    module: Any
    shape: tuple[int, ...]
    """Shape of one input, without the batch."""
    weights: str
    details: dict[str, Any] = field(default_factory=dict)


def resnet50(weights: str) -> Network:
    """Load ResNet-50 with ImageNet's class names and the preprocessing of pictures."""
    try:
        from torchvision.models import ResNet50_Weights
        from torchvision.models import resnet50 as build
    except ImportError as error:
        raise UserError(
            f"resnet50 requires torchvision, which cannot be imported ({error})"
        ) from None
    default = weights == "default"
    pretrained = ResNet50_Weights.DEFAULT if default else ResNet50_Weights.IMAGENET1K_V1
    if default:
        try:
            module = build(weights=pretrained)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"the pretrained weights cannot be loaded ({error}); specify a file with "
                "--weights PATH, or --weights none for random weights"
            ) from None
    else:
        module = build(weights=None)
        if weights != "none":
            _load_weights(module, _load_file("--weights", weights), weights)
    transforms = pretrained.transforms()
    return Network(
        module,
        (3, 224, 224),
        str(pretrained) if default else weights,
        {
            "labels": list(pretrained.meta["categories"]),
            "picture": {
                "resize": transforms.resize_size[0],
                "crop": transforms.crop_size[0],
                "mean": list(transforms.mean),
                "std": list(transforms.std),
            },
        },
    )


def housing(weights: str) -> Network:
    """Load the regressor from a checkpoint of `housing.py train`, with its scaling."""
    from dataset import FEATURES
    from housing_model import build_model

    if weights == "default":
        raise UserError(
            "--weights: housing has no pretrained weights; specify a checkpoint written by "
            "`housing.py train`, or none for random weights"
        )
    module, details = build_model(), {}
    if weights != "none":
        checkpoint = _load_file("--weights", weights)
        if not isinstance(checkpoint, dict) or not {"state", "scaling"} <= checkpoint.keys():
            raise UserError(f"{weights} is not a checkpoint written by `housing.py train`")
        _load_weights(module, checkpoint["state"], weights)
        details = {"scaling": json.loads(checkpoint["scaling"])}
    return Network(module, (len(FEATURES),), weights, details)


NETWORKS: dict[str, Callable[[str], Network]] = {"resnet50": resnet50, "housing": housing}


def _load_file(flag: str, path: str) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{flag}: {path} cannot be read: {error.strerror}") from None
    except Exception:  # noqa: BLE001 (torch raises various errors for files of other formats)
        raise UserError(f"{flag}: {path} is not a file of PyTorch tensors") from None


def _load_weights(module: Any, state: Any, path: str) -> None:
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"--weights: {path} does not match this model: {reason}") from None


def trace(target: str, module: Any, example: Any, arguments: list[str]) -> Any:
    """Compile a model to TorchScript for a target.

    Raises:
        UserError: the target's package is not installed or cannot compile the model.
    """
    import torch

    compiler = model_store.import_package(target)
    try:
        if compiler is None:
            with torch.no_grad():
                return torch.jit.trace(module, example)
        options = {"compiler_args": arguments} if arguments else {}
        return compiler.trace(module, example, **options)
    except RuntimeError as error:
        raise UserError(f"the model cannot be compiled for {target}: {error}") from None


def difference(traced: Any, module: Any, example: Any) -> tuple[float, float]:
    """Return the largest difference of both models' outputs, and the original's largest output."""
    import torch

    with torch.no_grad():
        expected, actual = module(example), traced(example)
    if actual.shape != expected.shape:
        raise UserError(
            f"the compiled model's output has shape {list(actual.shape)}, expected "
            f"{list(expected.shape)}"
        )
    return float((actual - expected).abs().max()), float(expected.abs().max())


def run(options: argparse.Namespace) -> None:
    """Load, compile, check and store the model."""
    os.environ.setdefault(runner.TAG, "compile")  # the check runs the compiled model once
    location = options.model or f"{options.network}.pt"
    if (
        Path(options.weights).exists()
        and Path(location).exists()
        and Path(options.weights).samefile(location)
    ):
        raise UserError(f"--model: {location} would overwrite the weights")
    if s3.is_address(location):
        s3.check_bucket(location)
    with model_store.staging_directory(location) as directory:
        _compile(options, location, Path(directory) / "model")


def _compile(options: argparse.Namespace, location: str, file: Path) -> None:
    import torch

    target = _select_target(options)
    torch.manual_seed(0)  # makes random weights reproducible
    network = NETWORKS[options.network](options.weights)
    module = network.module.eval()
    example = _example(options, network)
    print(f"compiling {options.network} {list(example.shape)} for {target}", flush=True)
    started = time.monotonic()
    traced = trace(target, module, example, options.compiler_args)
    seconds = time.monotonic() - started
    content = io.BytesIO()
    try:
        torch.jit.save(traced, content)
    except RuntimeError as error:
        raise UserError(f"the compiled model cannot be saved: {error}") from None
    model_store.write(content.getbuffer(), file, location)
    measured, largest = _check(file, module, example)
    tolerance = TOLERANCE[target] if options.tolerance is None else options.tolerance
    allowed = tolerance * max(1.0, largest)
    print(f"compiled in {seconds:.1f} s; output differs by {measured:.2g} (allowed: {allowed:.2g})")
    if not measured <= allowed:  # also true for NaN
        raise UserError(
            f"the compiled model's output differs by {measured:.3g} from the original model's, "
            f"more than the allowed {allowed:.3g}; nothing was stored"
        )
    metadata = Metadata(
        model=options.network,
        target=target,
        shape=list(example.shape),
        dtype=str(example.dtype).removeprefix("torch."),
        sha256=model_store.checksum(file),
        size=file.stat().st_size,
        weights=network.weights,
        seconds=round(seconds, 3),
        check={"difference": measured, "allowed": allowed, "tolerance": tolerance},
        versions=model_store.installed_versions(
            "torch", "torchvision", "torch-neuronx", "neuronx-cc", "torch-neuron", "neuron-cc"
        ),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        details=network.details,
    )
    model_store.store(file, metadata, location)
    print(f"stored {location}: {metadata.size} bytes, SHA-256 {metadata.sha256}")


def _select_target(options: argparse.Namespace) -> str:
    target: str = model_store.detect_target() if options.target == "auto" else options.target
    if target == model_store.CPU:
        if options.target == "auto":
            print(
                "WARNING: no Neuron package is installed (torch_neuronx, torch_neuron); compiling "
                "for the CPU, the result does not run on an accelerator",
                file=sys.stderr,
            )
        if options.compiler_args:
            raise UserError("--compiler-args: not supported for the CPU")
    return target


def _check(file: Path, module: Any, example: Any) -> tuple[float, float]:
    """Load the saved model and return its `difference` from the original."""
    import torch

    try:
        return difference(torch.jit.load(str(file)), module, example)
    except (RuntimeError, ValueError, torch.jit.Error) as error:
        # Compiling needs no device; a missing or busy one shows only here.
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"the compiled model cannot be run for the check: {reason}") from None


def _example(options: argparse.Namespace, network: Network) -> Any:
    import torch

    expected = (options.batch, *network.shape)
    if options.example is None:
        return torch.rand(expected)
    example = _load_file("--example", options.example)
    if not isinstance(example, torch.Tensor) or tuple(example.shape[1:]) != network.shape:
        actual = list(example.shape) if isinstance(example, torch.Tensor) else "no tensor"
        raise UserError(
            f"--example: must have shape {list(expected)} for {options.network} (got {actual})"
        )
    return example[:1].repeat(options.batch, *[1] * len(network.shape))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; exit with status 2 if it is invalid."""
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
        metavar="LOCATION",
        help="output, a path or s3://BUCKET/KEY; the metadata is stored as LOCATION.json "
        "(default NETWORK.pt)",
    )
    parser.add_argument(
        "--weights",
        default="default",
        metavar="none|default|PATH",
        help="random weights, torchvision's pretrained weights (default), or a file",
    )
    parser.add_argument(
        "--batch",
        type=runner.integer(1, 1024),
        default=1,
        metavar="N",
        help="inputs per execution (default 1)",
    )
    model_store.add_target_flag(parser)
    parser.add_argument(
        "--compiler-args",
        type=_words,
        default=[],
        metavar="ARGS",
        help="arguments for Neuron's compiler, as in --compiler-args='--auto-cast none'",
    )
    parser.add_argument(
        "--example",
        metavar="PATH",
        help="saved input for tracing and the check (default: random values)",
    )
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        metavar="SHARE",
        help="allowed difference of the compiled model's output, as a share of the largest output "
        f"or of 1 (default {TOLERANCE[model_store.CPU]:g} on the CPU, {TOLERANCE['neuronx']:g} on "
        "Neuron)",
    )
    return parser.parse_args(arguments)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be words as in a shell: {error} (got {text!r})"
        ) from None


def _tolerance(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1 (got {text!r})")
    return share


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    options = parse(arguments)
    return runner.run("compile.py", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
