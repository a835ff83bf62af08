"""Durations and sizes, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.units import format_duration, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("14d", 14 * 86400),
        ("1d2h3m4s5ms", 93784.005),
        ("0s", 0),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    """A duration is a number with its unit, or several of them in a row."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "s",
        "5 s",
        "5S",
        "-5s",
        "+5s",
        "1e3s",
        ".5s",
        "5.s",
        "5s ",
        "5s\n",
        "5µs",
        "\N{ARABIC-INDIC DIGIT FIVE}s",
    ],
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    """Text that is not exactly a duration is refused, and the message shows what is one."""
    with pytest.raises(ValueError, match=r'must be a duration such as "5s", "500ms", "1m30s"'):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_a_written_duration_is_read_back(milliseconds: int) -> None:
    """What is written for people can be pasted into a configuration and means the same."""
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.005, "5ms"),
        (0.1 + 0.2, "300ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (60, "1m"),
        (90, "90s"),
        (5400, "90m"),
        (86400, "1d"),
        (1234567.5, "1234567.5s"),
    ],
)
def test_durations_are_written_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    """A duration is written short and never with an exponent."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("16MiB", 16 * 2**20),
        ("16 MiB", 16 * 2**20),
        ("64kB", 64_000),
        ("1.5GiB", 3 * 2**29),
        ("0.1kB", 100),
        ("10B", 10),
        ("65536", 65536),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes_are_read_exactly(text: str, count: int) -> None:
    """kB is 1,000 bytes, KiB is 1,024, and a number alone is bytes."""
    assert parse_size(text) == count


def test_a_size_beyond_all_measure_is_still_a_number() -> None:
    """A slip on the keyboard makes a large size, not a crash."""
    assert parse_size("9" * 400 + "GiB") > 10**400


@pytest.mark.parametrize(
    "text", ["", "MiB", "16mib", "16 M", "-1B", "1e3B", "1.5", "16MiB ", "\N{SUPERSCRIPT TWO}B"]
)
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    """Text that is not exactly a size is refused, and the message shows what is one."""
    with pytest.raises(ValueError, match='must be a size such as "16MiB"'):
        parse_size(text)
