#!/usr/bin/env python3
"""Train a regressor for Californian house prices, compile it, and predict prices.

    housing.py sample --rows 2000 > houses.csv
    housing.py train --data houses.csv --checkpoint model.pt
    housing.py compile --checkpoint model.pt --model s3://BUCKET/housing.pt
    housing.py predict --model s3://BUCKET/housing.pt --data houses.csv

The model has 256, 128 and 64 units with ReLU, a dropout of 0.2 and one output. Its inputs are
standardized with the training set's mean and standard deviation; its output is in units of 100,000
dollars.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import dataset
import model_store
import runner
from dataset import FEATURES, PRICE, Row
from housing_model import build_model, standardize
from runner import UserError

DOLLARS = 100_000.0
"""Unit of the model's output."""

EPOCHS = 10
BATCH = 16
SEED = 42
TRAINING_SHARE = 0.8
MIN_ROWS = 10


# Training


def train(options: argparse.Namespace) -> None:
    """Train, print the error after each epoch, and save a checkpoint and an example input."""
    files = {"--data": options.data, "--checkpoint": options.checkpoint}
    _check_distinct({**files, "--example": options.example})
    with (
        model_store.staging_directory(options.checkpoint),
        model_store.staging_directory(options.example),
    ):
        pass  # a location that is not writable fails before the training
    rows, dropped = dataset.read(options.data)
    rows = [row for row in rows if row.price is not None]
    if len(rows) < MIN_ROWS:
        raise UserError(
            f"{options.data}: training requires at least {MIN_ROWS} rows with a {PRICE} "
            f"(got {len(rows)})"
        )
    print(f"{len(rows)} houses, {len(FEATURES)} features; dropped: {dropped}")
    import torch

    torch.manual_seed(options.seed)
    order = torch.randperm(len(rows)).tolist()
    cut = int(TRAINING_SHARE * len(order))
    training, validation = ([rows[at] for at in part] for part in (order[:cut], order[cut:]))
    scaling = _scaling(training)
    model = build_model()
    optimizer = torch.optim.Adam(model.parameters())
    inputs, prices = standardize(training, scaling), _prices(training)
    validation_inputs, validation_prices = standardize(validation, scaling), _prices(validation)
    for epoch in range(1, options.epochs + 1):
        training_error = _train_epoch(
            model, optimizer, inputs, prices, options.batch, f"epoch {epoch}"
        )
        model.eval()
        with torch.no_grad():
            validation_error = _rmse(model(validation_inputs), validation_prices)
        errors = f"train ${training_error:,.0f}  validation ${validation_error:,.0f}"
        print(f"epoch {epoch:2}/{options.epochs}  RMSE {errors}", flush=True)
    # JSON, because PyTorch 1.13 (Inf1) safely loads floating-point numbers only in tensors.
    checkpoint = {"state": model.state_dict(), "scaling": json.dumps(scaling)}
    _save(checkpoint, options.checkpoint)
    _save(validation_inputs[:1].clone(), options.example)
    print(f"saved {options.checkpoint}, and one input in {options.example}")


def _check_distinct(files: dict[str, str]) -> None:
    flags: dict[Path, str] = {}
    for flag, path in files.items():
        other = flags.setdefault(Path(path).resolve(), flag)
        if other != flag:
            raise UserError(f"{flag}: {path} is also the file of {other}; specify another")


def _train_epoch(
    model: Any, optimizer: Any, inputs: Any, prices: Any, batch: int, name: str
) -> float:
    """Train on all inputs once, in random order, and return the RMSE in dollars."""
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


def _scaling(rows: list[Row]) -> dict[str, Any]:
    import torch

    raw = torch.tensor([row.features for row in rows], dtype=torch.float64)
    std = raw.std(dim=0, unbiased=False)
    std[std == 0] = 1.0  # a constant column becomes 0
    return {
        "features": list(FEATURES),
        "mean": raw.mean(dim=0).tolist(),
        "std": std.tolist(),
        "dollars": DOLLARS,
    }


def _prices(rows: list[Row]) -> Any:
    import torch

    return torch.tensor([[(row.price or 0.0) / DOLLARS] for row in rows])


def _rmse(predicted: Any, actual: Any) -> float:
    return DOLLARS * float(((predicted - actual) ** 2).mean().sqrt())


def _save(content: Any, path: str) -> None:
    """Save a file atomically."""
    import torch

    with model_store.staging_directory(path) as directory:
        buffer, file = io.BytesIO(), Path(directory) / "file"
        torch.save(content, buffer)
        model_store.write(buffer.getbuffer(), file, path)
        try:
            file.replace(path)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from None


# Other commands


def compile_(options: argparse.Namespace) -> int:
    """Compile the checkpoint with compile.py and return the exit status."""
    import compile as compiler

    flags = ["--weights", options.checkpoint, "--model", options.model, "--target", options.target]
    if options.example is not None:
        flags += ["--example", options.example]
    return compiler.main(["housing", *flags, "--batch", str(options.batch)])


def predict(options: argparse.Namespace) -> None:
    """Print the predicted price of each house."""
    import inference

    rows, dropped = dataset.read(options.data)
    model = inference.load(options.model, options.target)
    scaling = model.metadata.details.get("scaling")
    if model.metadata.model != "housing" or scaling is None:
        raise UserError(
            f"{options.model} is not a housing model that was compiled from a checkpoint"
        )
    if scaling["features"] != list(FEATURES):
        raise UserError(f"{options.model} was trained on other features: {scaling['features']}")
    if not rows:
        raise UserError(f"{options.data}: no complete row; dropped: {dropped}")
    predicted = (model(standardize(rows, scaling)).double() * scaling["dollars"]).flatten().tolist()
    for row, price in zip(rows, predicted, strict=True):
        actual = "" if row.price is None else f"  (in the data: ${row.price:,.2f})"
        print(f"line {row.line}: ${price:,.2f}{actual}")


def sample(options: argparse.Namespace) -> None:
    """Print generated houses as CSV."""
    sys.stdout.writelines(dataset.generate(options.rows, options.seed))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; exit with status 2 if it is invalid."""
    parser = argparse.ArgumentParser(
        prog="housing.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    data = "a CSV file, or `sklearn` for scikit-learn's copy"
    location = "a path or s3://BUCKET/KEY"
    positive = runner.integer(1, 10**6)

    command = commands.add_parser("sample", help="print generated houses as CSV")
    command.add_argument("--rows", type=positive, default=2000, metavar="N", help="default 2000")
    command.add_argument("--seed", type=positive, default=SEED, metavar="N", help=f"default {SEED}")

    command = commands.add_parser("train", help="train the model")
    command.add_argument("--data", required=True, help=data)
    command.add_argument(
        "--checkpoint", default="model.pt", metavar="PATH", help="default model.pt"
    )
    command.add_argument(
        "--example", default="example.pt", metavar="PATH", help="one input (default example.pt)"
    )
    for flag, default in (("--epochs", EPOCHS), ("--batch", BATCH), ("--seed", SEED)):
        command.add_argument(
            flag, type=positive, default=default, metavar="N", help=f"default {default}"
        )

    command = commands.add_parser("compile", help="compile the checkpoint with compile.py")
    command.add_argument(
        "--checkpoint", default="model.pt", metavar="PATH", help="default model.pt"
    )
    command.add_argument("--model", default="housing.pt", metavar="LOCATION", help=location)
    command.add_argument("--example", metavar="PATH", help="saved input for the check")
    command.add_argument("--batch", type=positive, default=1, metavar="N", help="default 1")
    model_store.add_target_flag(command)

    command = commands.add_parser("predict", help="print prices predicted by the compiled model")
    command.add_argument("--model", default="housing.pt", metavar="LOCATION", help=location)
    command.add_argument("--data", required=True, help=data)
    model_store.add_target_flag(command)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    options = parse(arguments)
    if options.command == "compile":
        return compile_(options)
    commands = {"sample": sample, "train": train, "predict": predict}
    return runner.run("housing.py", lambda: commands[options.command](options))


if __name__ == "__main__":
    sys.exit(main())
