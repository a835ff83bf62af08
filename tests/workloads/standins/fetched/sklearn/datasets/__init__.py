"""Loader of two Californian houses, which fails unless the variable HOUSES is set."""

import os
from types import SimpleNamespace


def fetch_california_housing():
    """Return data in the real format: averages per household, prices in 100,000 dollars."""
    if "HOUSES" not in os.environ:
        raise OSError("no route to host")
    return SimpleNamespace(
        data=[
            [8.3252, 41.0, 6.984127, 1.0238095, 322.0, 2.5555556, 37.88, -122.23],
            [8.3014, 21.0, 6.2381372, 0.9718805, 2401.0, 2.1098418, 37.86, -122.22],
        ],
        target=[4.526, 3.585],
        feature_names=[
            "MedInc",
            "HouseAge",
            "AveRooms",
            "AveBedrms",
            "Population",
            "AveOccup",
            "Latitude",
            "Longitude",
        ],
    )
