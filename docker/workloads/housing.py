#!/usr/bin/env python3
"""Prices of Californian houses, from training to a price in dollars.

    housing.py sample --rows 2000 > houses.csv
    housing.py train --data houses.csv --checkpoint model.pt
    housing.py compile --checkpoint model.pt --model s3://BUCKET/housing.pt
    housing.py predict --model s3://BUCKET/housing.pt --data houses.csv

The network has 256, 128 and 64 units with ReLU, a dropout of 0.2 before its one output. Its inputs
are standardised by the mean and deviation of the training set; its output is in units of 100,000
dollars, and is multiplied by that.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import artefact
import houses
import program
from houses import FEATURES, TARGET, House
from program import Problem

DOLLARS = 100_000.0
"""One unit of the network's output."""

HIDDEN = (256, 128, 64)
DROPOUT = 0.2
EPOCHS = 10
BATCH = 16
SEED = 42
TRAINED_ON = 0.8


def network() -> Any:
    """The regressor: one price for one house's features."""
    from torch import nn

    layers: list[Any] = []
    before = len(FEATURES)
    for units in HIDDEN:
        layers += [nn.Linear(before, units), nn.ReLU()]
        before = units
    return nn.Sequential(*layers, nn.Dropout(DROPOUT), nn.Linear(before, 1))


def scaled(found: list[House], scaling: dict[str, Any]) -> Any:
    """The houses as the network's inputs."""
    import torch

    raw = torch.tensor([house.features for house in found], dtype=torch.float64)
    mean, std = (torch.tensor(scaling[name], dtype=torch.float64) for name in ("mean", "std"))
    return ((raw - mean) / std).float()


# Training


def train(given: argparse.Namespace) -> None:
    """Train, print the error of each epoch, and save a checkpoint and one input."""
    _apart({"--data": given.data, "--checkpoint": given.checkpoint, "--example": given.example})
    with artefact.workplace(given.checkpoint), artefact.workplace(given.example):
        pass  # a place that cannot be written to is found out before the training
    known, dropped = houses.read(given.data)
    priced = [house for house in known if house.price is not None]
    if len(priced) < 10:
        raise Problem(f"{given.data}: {len(priced)} houses with a {TARGET} are too few to train on")
    print(f"{len(priced)} houses, {len(FEATURES)} features; left out: {dropped}")
    import torch

    torch.manual_seed(given.seed)
    order = torch.randperm(len(priced)).tolist()
    cut = int(TRAINED_ON * len(order))
    learnt, held_back = ([priced[at] for at in part] for part in (order[:cut], order[cut:]))
    scaling = _scaling(learnt)
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    inputs, prices = scaled(learnt, scaling), _prices(learnt)
    checked, true = scaled(held_back, scaling), _prices(held_back)
    for epoch in range(1, given.epochs + 1):
        error = _epoch(model, optimizer, inputs, prices, given.batch, f"epoch {epoch}")
        model.eval()
        with torch.no_grad():
            validation = _rmse(model(checked), true)
        errors = f"train ${error:,.0f}  validation ${validation:,.0f}"
        print(f"epoch {epoch:2}/{given.epochs}  RMSE {errors}", flush=True)
    # As JSON: what PyTorch 1.13 (Inf1) loads safely has no numbers with fractions but in tensors.
    _save({"state": model.state_dict(), "scaling": json.dumps(scaling)}, given.checkpoint)
    _save(checked[:1].clone(), given.example)
    print(f"saved {given.checkpoint}, and one input in {given.example}")


def _apart(places: dict[str, str]) -> None:
    taken: dict[Path, str] = {}
    for flag, place in places.items():
        other = taken.setdefault(Path(place).resolve(), flag)
        if other != flag:
            raise Problem(f"{flag}: {place} is the file of {other} as well; name another")


def _epoch(model: Any, optimizer: Any, inputs: Any, prices: Any, batch: int, name: str) -> float:
    """Learn from all inputs once, in random order; gives the RMSE in dollars meanwhile."""
    import torch

    from progress import Progress

    model.train()
    squares = 0.0
    with Progress(name, len(inputs), clear=True) as progress:
        for part in torch.randperm(len(inputs)).split(batch):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(inputs[part]), prices[part])
            loss.backward()
            optimizer.step()
            squares += loss.item() * len(part)
            progress(len(part))
    return DOLLARS * math.sqrt(squares / len(inputs))


def _scaling(learnt: list[House]) -> dict[str, Any]:
    import torch

    raw = torch.tensor([house.features for house in learnt], dtype=torch.float64)
    std = raw.std(dim=0, unbiased=False)
    std[std == 0] = 1.0  # a column that is the same everywhere tells nothing, and stays at 0
    return {
        "features": list(FEATURES),
        "mean": raw.mean(dim=0).tolist(),
        "std": std.tolist(),
        "dollars": DOLLARS,
    }


def _prices(found: list[House]) -> Any:
    import torch

    return torch.tensor([[(house.price or 0.0) / DOLLARS] for house in found])


def _rmse(got: Any, true: Any) -> float:
    return DOLLARS * float(((got - true) ** 2).mean().sqrt())


def _save(content: Any, path: str) -> None:
    """Save whole or not at all."""
    import torch

    with artefact.workplace(path) as folder:
        saved, made = io.BytesIO(), Path(folder) / "made"
        torch.save(content, saved)
        artefact.write(saved.getbuffer(), made, path)
        try:
            made.replace(path)
        except OSError as error:
            raise Problem(f"{path} cannot be written: {error.strerror}") from None


# The other commands


def compile_(given: argparse.Namespace) -> int:
    """Compile the checkpoint, by compile.py."""
    import compile as compiler

    flags = ["--weights", given.checkpoint, "--model", given.model, "--target", given.target]
    if given.example is not None:
        flags += ["--example", given.example]
    return compiler.main(["housing", *flags, "--batch", str(given.batch)])


def predict(given: argparse.Namespace) -> None:
    """Print the price of each house, by the model that inference.py loads."""
    import inference

    found, dropped = houses.read(given.data)
    model = inference.load(given.model, given.target)
    scaling = model.description.details.get("scaling")
    if model.description.model != "housing" or scaling is None:
        raise Problem(f"{given.model} is not a housing model that was compiled from a checkpoint")
    if scaling["features"] != list(FEATURES):
        raise Problem(f"{given.model} was trained on other features: {scaling['features']}")
    if not found:
        raise Problem(f"{given.data}: no house is left; left out: {dropped}")
    answers = (model(scaled(found, scaling)).double() * scaling["dollars"]).flatten().tolist()
    for house, price in zip(found, answers, strict=True):
        told = "" if house.price is None else f"  (in the data: ${house.price:,.2f})"
        print(f"line {house.line}: ${price:,.2f}{told}")


def sample(given: argparse.Namespace) -> None:
    """Print houses that the program made up."""
    sys.stdout.writelines(houses.made_up(given.rows, given.seed))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command and its flags; ends the process with status 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="housing.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    data = "a CSV file, or `sklearn` for what scikit-learn fetches"

    made = commands.add_parser("sample", help="print houses that are made up, as CSV")
    made.add_argument("--rows", type=_whole, default=2000, metavar="N", help="default 2000")
    made.add_argument("--seed", type=_whole, default=SEED, metavar="N", help=f"default {SEED}")

    learn = commands.add_parser("train", help="train the regressor")
    learn.add_argument("--data", required=True, help=data)
    learn.add_argument("--checkpoint", default="model.pt", metavar="PATH", help="default model.pt")
    learn.add_argument(
        "--example", default="example.pt", metavar="PATH", help="one input (default example.pt)"
    )
    learn.add_argument("--epochs", type=_whole, default=EPOCHS, metavar="N", help=f"{EPOCHS}")
    learn.add_argument("--batch", type=_whole, default=BATCH, metavar="N", help=f"default {BATCH}")
    learn.add_argument("--seed", type=_whole, default=SEED, metavar="N", help=f"default {SEED}")

    built = commands.add_parser("compile", help="compile the checkpoint, as compile.py does")
    built.add_argument("--checkpoint", default="model.pt", metavar="PATH", help="default model.pt")
    built.add_argument("--model", default="housing.pt", metavar="PLACE", help="a path or s3://...")
    built.add_argument("--example", metavar="PATH", help="the saved input, to check with")
    built.add_argument("--batch", type=_whole, default=1, metavar="N", help="default 1")
    artefact.add_target(built)

    ask = commands.add_parser("predict", help="print prices, by the compiled model")
    ask.add_argument("--model", default="housing.pt", metavar="PLACE", help="a path or s3://...")
    ask.add_argument("--data", required=True, help=data)
    artefact.add_target(ask)
    return parser.parse_args(arguments)


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 1000000 (got {text!r})")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run; gives the exit status."""
    given = parse(arguments)
    if given.command == "compile":
        return compile_(given)
    commands = {"sample": sample, "train": train, "predict": predict}
    return program.run("housing.py", lambda: commands[given.command](given))


if __name__ == "__main__":
    sys.exit(main())
