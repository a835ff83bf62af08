"""Configuration files that are short and expensive to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.validation import MAX_VALUES
from tests.support.commands import run

BASE_60 = "1" + ":59" * 130_000
ALIASES = "a0: &a0 {b: [x, x]}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"log: {{level: {BASE_60}}}",
            ":1: log.level: must be debug, info, warning or error (got ",
        ),
        (f"log: {{level: {BASE_60}.5}}", ":1: log.level: must be debug, info, warning or error"),
        (
            f"log: {{level: !!int '{BASE_60}'}}",
            ":1: log.level: must be debug, info, warning or err",
        ),
        (ALIASES, f":5: stands for more than {MAX_VALUES} values"),
        (f"log: [{'a,' * 400_000}]", f":1: stands for more than {MAX_VALUES} values"),
        ("[" * 400_000, ": is nested too deeply"),
    ],
    ids=["integer", "float", "tag", "aliases", "list", "depth"],
)
def test_check_refuses_what_is_expensive_to_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "exporter.yaml"
    path.write_text(text)
    done = run("check", "--config", str(path))
    assert (done.status, done.out) == (2, "")
    (line,) = done.error_lines
    assert line.startswith(f"{path}{message}")
    assert len(line) < len(str(path)) + 300
