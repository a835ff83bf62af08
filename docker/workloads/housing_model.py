"""The regressor of `housing.py`: its architecture and its inputs."""

from __future__ import annotations

from typing import Any

from dataset import FEATURES, Row

HIDDEN_UNITS = (256, 128, 64)
DROPOUT = 0.2


def build_model() -> Any:
    """Return the untrained model, which predicts one price per row of features."""
    from torch import nn

    layers: list[Any] = []
    inputs = len(FEATURES)
    for units in HIDDEN_UNITS:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    return nn.Sequential(*layers, nn.Dropout(DROPOUT), nn.Linear(inputs, 1))


def standardize(rows: list[Row], scaling: dict[str, Any]) -> Any:
    """Return the model's inputs for these rows, standardized by the training set's scaling."""
    import torch

    raw = torch.tensor([row.features for row in rows], dtype=torch.float64)
    mean, std = (torch.tensor(scaling[name], dtype=torch.float64) for name in ("mean", "std"))
    return ((raw - mean) / std).float()
