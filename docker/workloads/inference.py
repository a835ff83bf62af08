#!/usr/bin/env python3
"""Run a compiled model: on pictures, or under a load that the program makes.

    inference.py --model s3://BUCKET/resnet50.pt kitten.jpg pictures/
    inference.py --model s3://BUCKET/resnet50.pt --rate 50 --duration 60

Pictures get their five most probable classes. Under load, latency and throughput are printed, and
served for Prometheus with the tag under which the exporter shows the process (NEURON_PROCESS_TAG).
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

import artefact
import program
from description import Description
from program import TAG, Problem

RATE = 10.0
METRICS_PORT = 8080
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}
SHOWN = 5
DAMAGED = (OSError, ValueError, SyntaxError, struct.error, EOFError, IndexError, TypeError)
"""What Pillow raises over a picture that is damaged behind its start. Over the start it makes one
error of all these itself."""


@dataclass(frozen=True)
class Model:
    """A loaded model, and what its description says."""

    run: Any
    """The outputs of inputs, both tensors."""
    description: Description
    target: str
    spread: bool = False
    """Whether it takes several batches at once, and spreads them over all cores itself."""

    def __call__(self, inputs: Any) -> Any:
        """The outputs of any number of inputs, in executions of the batch that was compiled.

        Raises:
            Problem: the model does not take them.
        """
        import torch

        batch, *wanted = self.description.shape
        if list(inputs.shape[1:]) != wanted:
            raise Problem(
                f"{self.description.model} takes {wanted} for one input, not "
                f"{list(inputs.shape[1:])}"
            )
        whole = torch.cat([inputs, inputs.new_zeros(-len(inputs) % batch, *wanted)])
        try:
            with torch.no_grad():
                parts = [whole] if self.spread else whole.split(batch)
                return torch.cat([self.run(part) for part in parts])[: len(inputs)]
        except (RuntimeError, torch.jit.Error) as error:
            last = str(error).strip().splitlines()[-1]
            raise Problem(
                "the model does not take what its description says it takes, "
                f"{self.description.shape}: {last}"
            ) from None


def load(
    place: str, target: str = "auto", tag: str | None = None, *, all_cores: bool = False
) -> Model:
    """Fetch, verify and load a model, and tell the Neuron runtime by which tag it is known.

    Args:
        all_cores: spread its work over all cores of the process, rather than use the first.

    Raises:
        Problem: it cannot be had, or is for another target.
    """
    here = artefact.target_here() if target == "auto" else target
    if all_cores and here == artefact.CPU:
        raise Problem("--all-cores: means NeuronCores, and this is the CPU")
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        path, description = artefact.fetch(place, here, Path(folder))
        os.environ[TAG] = tag or os.environ.get(TAG) or description.model
        # It registers the operators that a compiled model consists of.
        neuron = artefact.package(here)
        import torch

        try:
            loaded = torch.jit.load(str(path))
        except (RuntimeError, ValueError, torch.jit.Error) as error:
            last = str(error).strip().splitlines()[-1]
            raise Problem(f"{place} cannot be loaded: {last}") from None
    if neuron is not None and all_cores:
        return Model(neuron.DataParallel(loaded), description, here, spread=True)
    return Model(loaded, description, here)


# Pictures


def pictures(paths: list[str]) -> Iterator[Path]:
    """The files that are named, and the pictures of the folders that are, in the order of names."""
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
        if not found:
            raise Problem(f"{path}: no pictures in this folder ({', '.join(sorted(SUFFIXES))})")
        yield from found


def pixels(path: Path, how: dict[str, Any]) -> Any:
    """A picture as the model takes it: its middle, scaled and normalised.

    Raises:
        Problem: it cannot be read.
    """
    import torch
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except UnidentifiedImageError:
        raise Problem(f"{path} is no picture that can be read") from None
    except (*DAMAGED, Image.DecompressionBombError) as error:
        why = getattr(error, "strerror", None) or error
        raise Problem(f"{path} cannot be read: {why}") from None
    crop = how["crop"]
    kept = min(image.size) * crop / how["resize"]
    left, top = ((side - kept) / 2 for side in image.size)
    middle = (left, top, left + kept, top + kept)
    cut = image.resize((crop, crop), Image.Resampling.BILINEAR, box=middle)
    raw = torch.frombuffer(bytearray(cut.tobytes()), dtype=torch.uint8)
    unit = raw.reshape(crop, crop, 3).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(how[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    return (unit - mean) / std


def most_probable(logits: list[float], labels: list[str]) -> list[tuple[str, float]]:
    """The five most probable classes and their probabilities, by softmax over all of them.

    A class without a name is shown by its number.
    """
    top = max(logits)
    powers = [math.exp(each - top) for each in logits]
    total = sum(powers)
    ranked = sorted(range(len(logits)), key=lambda at: -logits[at])[:SHOWN]
    named = len(labels) == len(logits)
    return [(labels[at] if named else f"class {at}", powers[at] / total) for at in ranked]


def classify(model: Model, paths: list[str]) -> None:
    """Print the most probable classes of each picture.

    Raises:
        Problem: the model takes no pictures, or one of them cannot be read.
    """
    how = model.description.details.get("picture")
    if how is None:
        raise Problem(f"{model.description.model} takes no pictures")
    labels = model.description.details.get("labels", [])
    for path in pictures(paths):
        started = time.perf_counter()
        output = model(pixels(path, how).unsqueeze(0))[0].tolist()
        print(f"{path} ({1000 * (time.perf_counter() - started):.1f} ms)")
        for label, probability in most_probable(output, labels):
            print(f"  {probability:7.2%}  {label}")


# Work and arguments


def work(given: argparse.Namespace) -> None:
    """Load the model and do with it what was asked for."""
    model = load(given.model, given.target, given.tag, all_cores=given.all_cores)
    where = "the CPU" if model.target == artefact.CPU else model.target
    print(
        f"{model.description.model} {model.description.shape} on {where}, tag {os.environ[TAG]}",
        flush=True,
    )
    if given.pictures:
        classify(model, given.pictures)
        return
    from traffic import under_load

    under_load(
        model,
        tag=os.environ[TAG],
        rate=given.rate or RATE,
        duration=given.duration,
        batch=given.batch or model.description.batch,
        port=METRICS_PORT if given.metrics_port is None else given.metrics_port,
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The flags; ends the process with status 2 where they are wrong."""
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
        help="files and folders; without any the program makes a load",
    )
    parser.add_argument(
        "--model", required=True, metavar="PLACE", help="a path, or s3://BUCKET/KEY"
    )
    artefact.add_target(parser)
    parser.add_argument(
        "--tag",
        help=f"how the exporter names this process (default: {TAG}, or else the model's name)",
    )
    parser.add_argument(
        "--all-cores",
        action="store_true",
        help="spread each request over all NeuronCores that the process has (Neuron's "
        "DataParallel): give it a --batch of as many of the model's batches (default: one core)",
    )
    load = parser.add_argument_group("under load")
    load.add_argument(
        "--rate",
        type=_positive,
        metavar="R",
        help=f"requests a second, whether or not those before are answered (default {RATE:g})",
    )
    load.add_argument(
        "--duration", type=_positive, metavar="SECONDS", help="default: until it is stopped"
    )
    load.add_argument(
        "--batch", type=_count, metavar="N", help="inputs of a request (default: the model's batch)"
    )
    load.add_argument(
        "--metrics-port",
        type=_port,
        metavar="PORT",
        help=f"for Prometheus; 0 is any that is free (default {METRICS_PORT})",
    )
    given = parser.parse_args(arguments)
    if given.pictures:
        for name in ("rate", "duration", "batch", "metrics_port"):
            if getattr(given, name) is not None:
                flag = "--" + name.replace("_", "-")
                parser.error(f"argument {flag}: is for a load, and pictures were given")
    return given


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1e6:
        raise argparse.ArgumentTypeError(f"must be a number above 0, to 1e6 (got {text!r})")
    return number


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65536:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 65536 (got {text!r})")
    return int(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535 (got {text!r})")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run; gives the exit status."""
    given = parse(arguments)
    return program.run("inference.py", lambda: work(given))


if __name__ == "__main__":
    sys.exit(main())
