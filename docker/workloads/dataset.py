"""Houses as data: read from CSV or scikit-learn, cleaned to eleven features, or made up.

The columns are those of the well-known CSV of California's census of 1990: eight numbers, the
median value in dollars, and `ocean_proximity`, one of five words. Rows with an empty cell are left
out (207 of the 20,640 have no `total_bedrooms`), and so are those of the word ISLAND (5): four
words are left, of which the first is what the other three columns are compared with. That makes
eleven features: eight numbers, and three columns of 0 and 1.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from program import Problem

NUMBERS = (
    "longitude",
    "latitude",
    "housing_median_age",
    "total_rooms",
    "total_bedrooms",
    "population",
    "households",
    "median_income",
)
PROXIMITY = "ocean_proximity"
REFERENCE = "<1H OCEAN"
OTHERS = ("INLAND", "NEAR BAY", "NEAR OCEAN")
LEFT_OUT = "ISLAND"
FEATURES = (*NUMBERS, *(f"{PROXIMITY}={word}" for word in OTHERS))
TARGET = "median_house_value"

SKLEARN = "sklearn"


class House(NamedTuple):
    """One row that was kept: where it stood, its features, and its value in dollars if known."""

    line: int
    features: list[float]
    price: float | None


def read(source: str) -> tuple[list[House], str]:
    """The houses of a CSV file or of scikit-learn, and how many were left out, and why.

    Raises:
        Problem: the source cannot be read, or is none of houses.
    """
    if source == SKLEARN:
        return _clean(_fetched(), source)
    try:
        with open(source, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [
                each for each in (*NUMBERS, PROXIMITY) if each not in (reader.fieldnames or [])
            ]
            if missing:
                raise Problem(f"{source}: the first line lacks {', '.join(missing)}")
            return _clean(reader, source)
    except OSError as error:
        raise Problem(f"{source} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise Problem(f"{source} is no CSV file") from None


def _clean(rows: Iterable[dict[str, Any]], source: str) -> tuple[list[House], str]:
    kept, incomplete, islands = [], 0, 0
    for line, row in enumerate(rows, 2):
        word = row[PROXIMITY]
        if not word or any(row[name] in (None, "") for name in NUMBERS):
            incomplete += 1
        elif word == LEFT_OUT:
            islands += 1
        elif word not in (REFERENCE, *OTHERS):
            allowed = ", ".join((REFERENCE, *OTHERS, LEFT_OUT))
            raise Problem(f"{source}, line {line}: {PROXIMITY} is {word!r}, not one of {allowed}")
        else:
            numbers = [_number(row[name], name, line, source) for name in NUMBERS]
            price = row.get(TARGET)
            kept.append(
                House(
                    line,
                    numbers + [float(word == other) for other in OTHERS],
                    None if price in (None, "") else _number(price, TARGET, line, source),
                )
            )
    return kept, f"{incomplete} with an empty cell, {islands} on islands"


def _number(text: object, name: str, line: int, source: str) -> float:
    try:
        number = float(str(text))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Problem(f"{source}, line {line}: {name} is {text!r}, not a number")
    return number


def _fetched() -> Iterator[dict[str, Any]]:
    """scikit-learn's copy has averages for each household, and nothing about the ocean: the totals
    are worked out again, and every house counts as the reference."""
    try:
        from sklearn.datasets import fetch_california_housing
    except ImportError:
        raise Problem("--data: scikit-learn is not installed; give a CSV file") from None
    try:
        found = fetch_california_housing()
    except (OSError, ValueError) as error:
        raise Problem(f"--data: scikit-learn cannot fetch it ({error}); give a CSV file") from None
    for values, price in zip(found.data, found.target, strict=True):
        row = dict(zip(found.feature_names, map(float, values), strict=True))
        households = row["Population"] / row["AveOccup"]
        yield {
            "longitude": row["Longitude"],
            "latitude": row["Latitude"],
            "housing_median_age": row["HouseAge"],
            "total_rooms": row["AveRooms"] * households,
            "total_bedrooms": row["AveBedrms"] * households,
            "population": row["Population"],
            "households": households,
            "median_income": row["MedInc"],
            PROXIMITY: REFERENCE,
            TARGET: float(price) * 100_000,
        }


def made_up(rows: int, seed: int) -> Iterator[str]:
    """Lines of a CSV file with the same columns, for trying out. They tell nothing of California.

    Values rise with income and fall with the distance to the sea, with some chance in them; one
    row in a hundred lacks a cell.
    """
    rng = random.Random(seed)
    yield ",".join((*NUMBERS, TARGET, PROXIMITY)) + "\n"
    for number in range(rows):
        inland = rng.random()
        latitude = rng.uniform(32.5, 42.0)
        longitude = -114.3 - (latitude - 32.5) * 0.95 - 4 * (1 - inland)
        households = int(rng.lognormvariate(6.0, 0.6)) + 1
        income = min(15.0, max(0.5, rng.lognormvariate(1.25, 0.45)))
        rooms = int(households * (3.5 + 0.5 * income))
        word = OTHERS[0] if inland > 0.55 else rng.choice([REFERENCE, *OTHERS[1:]])
        near = {REFERENCE: 60_000, OTHERS[0]: 0, OTHERS[1]: 90_000, OTHERS[2]: 80_000}[word]
        value = 20_000 + 42_000 * income + near - 30_000 * inland + rng.gauss(0, 20_000)
        cells: list[object] = [
            round(longitude, 2),
            round(latitude, 2),
            rng.randrange(1, 53),
            rooms,
            "" if number % 100 == 99 else max(1, int(rooms * rng.uniform(0.17, 0.23))),
            int(households * rng.uniform(2.2, 3.6)),
            households,
            round(income, 4),
            round(min(500_001, max(15_000, value))),
            word,
        ]
        yield ",".join(map(str, cells)) + "\n"
