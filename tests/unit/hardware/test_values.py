"""Contents of the driver's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from neuron_exporter.facts.driver_files import COMPONENTS
from neuron_exporter.hardware.values import (
    parse_health,
    parse_power,
    parse_serial_number,
    parse_total,
)

HEALTHY = {"device": 1.0, **dict.fromkeys(COMPONENTS, 1.0)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "POWER_STATUS_VALID,1759968000,10.50,31.00,20.25",
            {"min": 0.105, "max": 0.31, "avg": 0.2025},
        ),
        ("POWER_STATUS_VALID,1,0.00,100.00,0.00", {"min": 0.0, "max": 1.0, "avg": 0.0}),
        ("POWER_STATUS_NO_DATA,1759968000,0.00,0.00,0.00", {}),
        ("POWER_STATUS_INVALID,1759968000,0.00,0.00,0.00", {}),
    ],
)
def test_power(text: str, expected: dict[str, float]) -> None:
    assert parse_power(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", HEALTHY),
        ("hbm", {**HEALTHY, "hbm": 0.0}),
        ("link_efa,axi_fabric", {**HEALTHY, "link_efa": 0.0, "axi_fabric": 0.0}),
        ("sram,of_a_later_driver", {**HEALTHY, "sram": 0.0}),
        ("device_unreachable", {"device": 0.0}),
    ],
)
def test_health(text: str, expected: dict[str, float]) -> None:
    assert parse_health(text) == expected


def test_totals_and_serial_numbers() -> None:
    assert parse_total("0") == 0
    assert parse_total("18446744073709551615") == 2**64 - 1
    assert parse_serial_number("9ff5434815c8bd80") == "9ff5434815c8bd80"
    assert parse_serial_number("") == ""


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_total, str(0xDEADBEEF)),
        *(
            (parse_total, text)
            for text in ("", "-1", "1.5", "0x10", "\u0661", "9" * 21, "3735928559")
        ),
        *(
            (parse_power, text)
            for text in (
                "",
                "POWER_STATUS_VALID",
                "POWER_STATUS_VALID,1,2,3",
                "POWER_STATUS_VALID,1,nan,3,4",
                "POWER_STATUS_VALID,1,0.00,100.01,50.00",
                "POWER_STATUS_FINE,1,0.00,0.00,0.00",
            )
        ),
        *((parse_health, text) for text in ("none", "N/A", "of_a_later_driver", "\x00")),
        *((parse_serial_number, text) for text in ("a b", 'a"', "ü", "a" * 65)),
    ],
)
def test_garbage_is_no_value(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each has its own text)
        parse(text)
