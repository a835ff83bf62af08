"""Tables of measured figures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """A figure of each program, in the order of the columns; the exporter's is the first."""

    name: str
    unit: str
    values: Sequence[float]


def print_rounds(title: str, columns: Sequence[str], rounds: Sequence[Sequence[Row]]) -> None:
    """Print each row's medians, and how often the exporter's figure is in the second column's: the
    median of the rounds' ratios, the lowest and the highest."""
    _print_line(title, columns, "ratio")
    for rows in zip(*rounds, strict=True):
        medians = [
            statistics.median(each) for each in zip(*(row.values for row in rows), strict=True)
        ]
        ratios = sorted(row.values[1] / (row.values[0] or float("nan")) for row in rows)
        ratio = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
        _print_line(rows[0].name, [f"{each:.2f} {rows[0].unit}" for each in medians], ratio)
    print(flush=True)


def _print_line(name: str, cells: Sequence[str], last: str = "") -> None:
    print(f"{name:64}", *(f"{each:>15}" for each in cells), f"  {last}", flush=True)


def print_table(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print lines of text below their columns."""
    for name, *cells in ((title, *columns), *lines):
        _print_line(name, cells)
    print(flush=True)
