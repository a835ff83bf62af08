"""README as data: its code blocks and its tables."""

from __future__ import annotations

import re

from tests.support.paths import ROOT

TEXT = (ROOT / "README.md").read_text()


def block(language: str, containing: str = "") -> str:
    """The first code block of a language that has a text in it."""
    for found in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL):
        if containing in found:
            return str(found)
    raise AssertionError(f"README has no {language} block with {containing!r}")


def queries() -> list[tuple[str, str]]:
    """The questions of the cookbook, and the query that answers each."""
    found = []
    for part in block("promql").strip().split("\n\n"):
        question, _, query = part.partition("\n")
        found.append((question.removeprefix("# "), query))
    return found


def table(heading: str) -> list[list[str]]:
    """The rows of the first table whose heading has a text in it, as cells."""
    lines = TEXT.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|") and heading in line)
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows
