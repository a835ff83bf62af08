"""Data set of Californian houses: read from CSV or scikit-learn and cleaned, or generated.

The columns are those of the widely copied CSV of the 1990 census: eight numeric columns, the median
value in dollars, and `ocean_proximity`, which has five values. Rows with an empty cell are dropped
(207 of 20,640 have no `total_bedrooms`), and so are those with ISLAND (5). The first of the
remaining four values is the baseline of the other three, which become indicator columns. This makes
eleven features.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from runner import UserError

NUMERIC = (
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
BASELINE = "<1H OCEAN"
INDICATORS = ("INLAND", "NEAR BAY", "NEAR OCEAN")
DROPPED = "ISLAND"
FEATURES = (*NUMERIC, *(f"{PROXIMITY}={value}" for value in INDICATORS))
PRICE = "median_house_value"

SKLEARN = "sklearn"


class Row(NamedTuple):
    """Row of the cleaned data: its line number, features, and price in dollars if known."""

    line: int
    features: list[float]
    price: float | None


def read(source: str) -> tuple[list[Row], str]:
    """Read a CSV file, or scikit-learn's copy for the source `sklearn`.

    Return the cleaned rows and a description of the dropped ones.

    Raises:
        UserError: the source cannot be read or has invalid values.
    """
    if source == SKLEARN:
        return _clean(enumerate(_fetch_sklearn(), 2), source)
    try:
        with open(source, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            missing = [each for each in (*NUMERIC, PROXIMITY) if each not in columns]
            if missing:
                raise UserError(f"{source}: missing columns: {', '.join(missing)}")
            # The DictReader's own number is that of a blank line that precedes the record.
            return _clean(((reader.reader.line_num, record) for record in reader), source)
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{source} is not a CSV file") from None


def _clean(records: Iterable[tuple[int, dict[str, Any]]], source: str) -> tuple[list[Row], str]:
    rows, incomplete, islands = [], 0, 0
    for line, record in records:
        proximity = record[PROXIMITY]
        if not proximity or any(record[name] in (None, "") for name in NUMERIC):
            incomplete += 1
        elif proximity == DROPPED:
            islands += 1
        elif proximity not in (BASELINE, *INDICATORS):
            allowed = ", ".join((BASELINE, *INDICATORS, DROPPED))
            raise UserError(
                f"{source}, line {line}: {PROXIMITY} must be one of {allowed} (got {proximity!r})"
            )
        else:
            numbers = [_number(record[name], name, line, source) for name in NUMERIC]
            indicators = [float(proximity == each) for each in INDICATORS]
            price = record.get(PRICE)
            known = price not in (None, "")
            rows.append(
                Row(
                    line,
                    numbers + indicators,
                    _number(price, PRICE, line, source) if known else None,
                )
            )
    return rows, f"{incomplete} with an empty cell, {islands} on islands"


def _number(text: object, name: str, line: int, source: str) -> float:
    try:
        number = float(str(text))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{source}, line {line}: {name} must be a number (got {text!r})")
    return number


def _fetch_sklearn() -> Iterator[dict[str, Any]]:
    """Fetch scikit-learn's copy of the data.

    The copy has averages per household, which are converted to totals, and no `ocean_proximity`, so
    that every row has the baseline's.
    """
    try:
        from sklearn.datasets import fetch_california_housing
    except ImportError:
        raise UserError("--data: scikit-learn is not installed; use a CSV file") from None
    try:
        fetched = fetch_california_housing()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--data: scikit-learn cannot fetch the data ({error}); use a CSV file"
        ) from None
    for values, price in zip(fetched.data, fetched.target, strict=True):
        record = dict(zip(fetched.feature_names, map(float, values), strict=True))
        households = record["Population"] / record["AveOccup"]
        yield {
            "longitude": record["Longitude"],
            "latitude": record["Latitude"],
            "housing_median_age": record["HouseAge"],
            "total_rooms": record["AveRooms"] * households,
            "total_bedrooms": record["AveBedrms"] * households,
            "population": record["Population"],
            "households": households,
            "median_income": record["MedInc"],
            PROXIMITY: BASELINE,
            PRICE: float(price) * 100_000,
        }


def generate(count: int, seed: int) -> Iterator[str]:
    """Generate the lines of a CSV file with random houses, unrelated to the real data.

    Prices rise with income, fall with the distance to the sea, and contain noise. One row in a
    hundred has an empty cell.
    """
    rng = random.Random(seed)  # noqa: S311 # random houses
    yield ",".join((*NUMERIC, PRICE, PROXIMITY)) + "\n"
    for number in range(count):
        inland = rng.random()
        latitude = rng.uniform(32.5, 42.0)
        longitude = -114.3 - (latitude - 32.5) * 0.95 - 4 * (1 - inland)
        households = int(rng.lognormvariate(6.0, 0.6)) + 1
        income = min(15.0, max(0.5, rng.lognormvariate(1.25, 0.45)))
        rooms = int(households * (3.5 + 0.5 * income))
        proximity = INDICATORS[0] if inland > 0.55 else rng.choice([BASELINE, *INDICATORS[1:]])
        premiums = dict(zip((BASELINE, *INDICATORS), (60_000, 0, 90_000, 80_000), strict=True))
        price = 20_000 + 42_000 * income + premiums[proximity] - 30_000 * inland
        price += rng.gauss(0, 20_000)
        cells: list[object] = [
            round(longitude, 2),
            round(latitude, 2),
            rng.randrange(1, 53),
            rooms,
            "" if number % 100 == 99 else max(1, int(rooms * rng.uniform(0.17, 0.23))),
            int(households * rng.uniform(2.2, 3.6)),
            households,
            round(income, 4),
            round(min(500_001, max(15_000, price))),
            proximity,
        ]
        yield ",".join(map(str, cells)) + "\n"
