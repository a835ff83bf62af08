"""Prices and their tiers."""

from __future__ import annotations

import re

import pytest

from neuron_exporter.facts import prices
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.facts.prices import METRIC, OTHER_SETUPS, REQUEST, Price
from neuron_exporter.generate.cost.estimate import Bill, charge

PRICES = {name: value for name, value in vars(prices).items() if isinstance(value, Price)}


@pytest.mark.parametrize("name", PRICES)
def test_prices_have_dated_sources(name: str) -> None:
    price = PRICES[name]
    assert price.unit
    assert price.sources
    assert all(source.name and re.search(r"20\d\d", source.date) for source in price.sources)


@pytest.mark.parametrize("name", PRICES)
def test_tiers(name: str) -> None:
    """The limits of tiers rise, and the last tier is unlimited."""
    *ends, last = [tier.up_to for tier in PRICES[name].tiers]
    assert last is None
    assert None not in ends
    assert ends == sorted(set(ends), key=lambda end: end or 0)
    assert all(tier.usd >= 0 for tier in PRICES[name].tiers)
    assert PRICES[name].tiers[-1].usd > 0


@pytest.mark.parametrize(
    ("number", "usd"),
    [
        (0, 0.0),
        (10, 3.0),
        (27, 8.1),
        (806, 241.8),
        (1478, 443.4),
        (9_999, 2_999.7),
        (10_000, 3_000.0),
        (10_001, 3_000.1),
        (250_000, 27_000.0),
        (250_001, 27_000.05),
        (1_000_000, 64_500.0),
        (1_000_001, 64_500.02),
        (2_000_000, 84_500.0),
    ],
)
def test_metric_charges(number: int, usd: float) -> None:
    """Only units above a limit have the next price (computed by hand)."""
    assert charge(METRIC, number) == pytest.approx(usd, abs=1e-6)


@pytest.mark.parametrize(
    ("number", "usd"), [(43_800, 0.0), (1_000_000, 0.0), (1_001_000, 0.01), (4_380_000, 33.8)]
)
def test_request_charges(number: int, usd: float) -> None:
    """The first million requests are free."""
    assert charge(REQUEST, number) == pytest.approx(usd)


def test_bill() -> None:
    """A hundred standard machines: 1,000 metrics, a request a minute each, and 30 GB of logs."""
    bill = Bill(1_000, 4_380_000, 30_000_000_000)
    assert bill.usd == pytest.approx(300 + 33.8 + 15)


def test_other_setups_have_dated_sources() -> None:
    for row in OTHER_SETUPS:
        assert row.metrics > 0
        assert row.source.name
        assert row.source.date
        assert row.instance_type is None or row.instance_type in INSTANCE_TYPES
