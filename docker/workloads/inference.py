#!/usr/bin/env python3
"""Run a compiled model on pictures, or under a generated load.

    inference.py --model s3://BUCKET/resnet50.pt kitten.jpg pictures/
    inference.py --model s3://BUCKET/resnet50.pt --rate 50 --duration 60

For each picture, the program prints the five most probable classes. Under load, it prints latency
and throughput and serves them for Prometheus, labelled with the process's name in the exporter
(NEURON_PROCESS_TAG).
"""

from __future__ import annotations

import argparse
import math
import os
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import model_store
import runner
from model_metadata import Metadata
from runner import TAG, UserError

RATE = 10.0
METRICS_PORT = 8080
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}
TOP = 5
"""Number of classes to print."""
DAMAGED = (OSError, ValueError, SyntaxError, struct.error, EOFError, IndexError, TypeError)
"""Errors that Pillow raises for a picture that is damaged after its header. For a damaged header it
raises UnidentifiedImageError."""


@dataclass(frozen=True)
class Model:
    """Loaded model with its metadata."""

    run: Any
    """Function from input tensors to output tensors."""
    metadata: Metadata
    target: str
    parallel: bool = False
    """Whether `run` accepts several batches at once and distributes them over the cores."""

    def __call__(self, inputs: Any) -> Any:
        """Return the outputs for any number of inputs, executed in batches of the compiled size.

        Raises:
            UserError: the inputs do not have the model's shape.
        """
        import torch

        batch, *shape = self.metadata.shape
        if list(inputs.shape[1:]) != shape:
            raise UserError(
                f"an input of {self.metadata.model} must have shape {shape} (got "
                f"{list(inputs.shape[1:])})"
            )
        padded = torch.cat([inputs, inputs.new_zeros(-len(inputs) % batch, *shape)])
        try:
            with torch.no_grad():
                parts = [padded] if self.parallel else padded.split(batch)
                return torch.cat([self.run(part) for part in parts])[: len(inputs)]
        except (RuntimeError, torch.jit.Error) as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"the model rejects the input shape of its metadata {self.metadata.shape}: {reason}"
            ) from None


def load(
    location: str, target: str = "auto", tag: str | None = None, *, all_cores: bool = False
) -> Model:
    """Fetch, verify and load a model, and set the process's tag for the Neuron runtime.

    Args:
        all_cores: distribute work over all NeuronCores of the process instead of using the first.

    Raises:
        UserError: the model cannot be loaded, or was compiled for another target.
    """
    target = model_store.detect_target() if target == "auto" else target
    if all_cores and target == model_store.CPU:
        raise UserError("--all-cores: requires NeuronCores (the target is the CPU)")
    with tempfile.TemporaryDirectory(prefix="model-") as directory:
        path, metadata = model_store.fetch(location, target, Path(directory))
        os.environ[TAG] = tag or os.environ.get(TAG) or metadata.model
        # The import registers the operators that a compiled model uses.
        package = model_store.import_package(target)
        import torch

        try:
            loaded = torch.jit.load(str(path))
        except (RuntimeError, ValueError, torch.jit.Error) as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"{location} cannot be loaded: {reason}") from None
    if package is not None and all_cores:
        return Model(package.DataParallel(loaded), metadata, target, parallel=True)
    return Model(loaded, metadata, target)


# Pictures


def pictures(paths: list[str]) -> Iterator[Path]:
    """Return the given files and the pictures in the given directories, sorted by name."""
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        files = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
        if not files:
            raise UserError(
                f"{path}: no pictures in this directory ({', '.join(sorted(SUFFIXES))})"
            )
        yield from files


def preprocess(path: Path, parameters: dict[str, Any]) -> Any:
    """Return the model's input for a picture: its center, resized and normalized.

    Raises:
        UserError: the picture cannot be read.
    """
    import torch
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except UnidentifiedImageError:
        raise UserError(f"{path} is not a readable picture") from None
    except (*DAMAGED, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read: {reason}") from None
    crop = parameters["crop"]
    side = min(image.size) * crop / parameters["resize"]
    left, top = ((length - side) / 2 for length in image.size)
    box = (left, top, left + side, top + side)
    center = image.resize((crop, crop), Image.Resampling.BILINEAR, box=box)
    raw = torch.frombuffer(bytearray(center.tobytes()), dtype=torch.uint8)
    pixels = raw.reshape(crop, crop, 3).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(parameters[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    return (pixels - mean) / std


def most_probable(logits: list[float], labels: list[str]) -> list[tuple[str, float]]:
    """Return the five most probable classes with their probabilities (softmax over all classes).

    Without a name for every class, classes are numbered.
    """
    highest = max(logits)
    powers = [math.exp(each - highest) for each in logits]
    total = sum(powers)
    ranked = sorted(range(len(logits)), key=lambda at: -logits[at])[:TOP]
    named = len(labels) == len(logits)
    return [(labels[at] if named else f"class {at}", powers[at] / total) for at in ranked]


def classify(model: Model, paths: list[str]) -> None:
    """Print the most probable classes of each picture.

    Raises:
        UserError: the model does not classify pictures, or a picture cannot be read.
    """
    parameters = model.metadata.details.get("picture")
    if parameters is None:
        raise UserError(f"{model.metadata.model} does not classify pictures")
    labels = model.metadata.details.get("labels", [])
    for path in pictures(paths):
        started = time.perf_counter()
        output = model(preprocess(path, parameters).unsqueeze(0))[0].tolist()
        print(f"{path} ({1000 * (time.perf_counter() - started):.1f} ms)")
        for label, probability in most_probable(output, labels):
            print(f"  {probability:7.2%}  {label}")


# Command line


def run(options: argparse.Namespace) -> None:
    """Load the model, then classify pictures or generate a load."""
    model = load(options.model, options.target, options.tag, all_cores=options.all_cores)
    target = "the CPU" if model.target == model_store.CPU else model.target
    print(
        f"{model.metadata.model} {model.metadata.shape} on {target}, tag {os.environ[TAG]}",
        flush=True,
    )
    if options.pictures:
        classify(model, options.pictures)
        return
    from load_generator import generate_load

    generate_load(
        model,
        tag=os.environ[TAG],
        rate=options.rate or RATE,
        duration=options.duration,
        batch=options.batch or model.metadata.batch,
        port=METRICS_PORT if options.metrics_port is None else options.metrics_port,
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; exit with status 2 if it is invalid."""
    parser = argparse.ArgumentParser(
        prog="inference.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "pictures",
        nargs="*",
        metavar="PICTURE",
        help="files and directories; without any, the program generates a load",
    )
    parser.add_argument(
        "--model", required=True, metavar="LOCATION", help="a path or s3://BUCKET/KEY"
    )
    model_store.add_target_flag(parser)
    parser.add_argument(
        "--tag",
        help=f"name of this process in the exporter (default: {TAG}, or the model's name)",
    )
    parser.add_argument(
        "--all-cores",
        action="store_true",
        help="distribute each request over all NeuronCores of the process (Neuron's DataParallel); "
        "set --batch to a multiple of the model's batch (default: use one core)",
    )
    load = parser.add_argument_group("load")
    load.add_argument(
        "--rate",
        type=_positive,
        metavar="R",
        help="requests per second, independent of the responses to earlier ones "
        f"(default {RATE:g})",
    )
    load.add_argument(
        "--duration", type=_positive, metavar="SECONDS", help="default: until stopped"
    )
    load.add_argument(
        "--batch",
        type=runner.integer(1, 65536),
        metavar="N",
        help="inputs per request (default: the model's batch)",
    )
    load.add_argument(
        "--metrics-port",
        type=runner.integer(0, 65535),
        metavar="PORT",
        help=f"port for Prometheus; 0 selects a free port (default {METRICS_PORT})",
    )
    options = parser.parse_args(arguments)
    if options.pictures:
        for name in ("rate", "duration", "batch", "metrics_port"):
            if getattr(options, name) is not None:
                flag = "--" + name.replace("_", "-")
                parser.error(f"argument {flag}: not allowed with pictures")
    return options


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1e6:
        raise argparse.ArgumentTypeError(
            f"must be a positive number of at most 1000000 (got {text!r})"
        )
    return number


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    options = parse(arguments)
    return runner.run("inference.py", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
