"""The table of instance types, and its output."""

from __future__ import annotations

import json
import re

import pytest

from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.generate.instance_types import as_json, as_text
from tests.support.commands import run


def test_rows_have_dated_sources() -> None:
    for name, row in INSTANCE_TYPES.items():
        assert row.name == name
        assert row.sources
        assert all(source.name and re.search(r"20\d\d", source.date) for source in row.sources)


@pytest.mark.parametrize(
    ("name", "cores", "logical", "total_gib"),
    [
        ("inf1.24xlarge", 64, 64, 128),
        ("inf2.48xlarge", 24, 24, 384),
        ("trn1n.32xlarge", 32, 32, 512),
        ("trn2.3xlarge", 8, 4, 96),
        ("trn2u.48xlarge", 128, 64, 1536),
        ("trn2n.48xlarge", None, None, None),
        ("inf2e.32xlarge", None, None, None),
        ("trn3sn.3xlarge", 8, 4, 144),
        ("trn3e.24xlarge", 32, 16, 576),
        ("trn3.48xlarge", None, None, None),
    ],
)
def test_totals(name: str, cores: int | None, logical: int | None, total_gib: int | None) -> None:
    """A total is unknown if one of its factors is."""
    row = INSTANCE_TYPES[name]
    assert (row.cores, row.logical_cores, row.total_device_memory_gib) == (
        cores,
        logical,
        total_gib,
    )


def test_corrected_figures() -> None:
    """Two wrong figures of 2023 are corrected and noted."""
    small, large = INSTANCE_TYPES["inf2.xlarge"], INSTANCE_TYPES["inf2.8xlarge"]
    assert (small.vcpus, large.memory_gib) == (4, 128)
    assert "8 vCPUs" in small.note
    assert "64 GiB" in large.note


def test_unknown_figures() -> None:
    """Figures without a public source are None."""
    assert INSTANCE_TYPES["trn2.3xlarge"].vcpus is None
    assert INSTANCE_TYPES["trn2.3xlarge"].memory_gib is None
    assert INSTANCE_TYPES["trn2n.48xlarge"].devices is None
    assert INSTANCE_TYPES["inf2e.32xlarge"].device_memory_bytes is None
    assert INSTANCE_TYPES["trn3.48xlarge"].devices is None


def test_unconfirmed_types() -> None:
    """Types that only AWS's own programs name are marked as such, in both formats."""
    unconfirmed = [name for name, row in INSTANCE_TYPES.items() if not row.confirmed]
    trainium3 = [name for name in INSTANCE_TYPES if name.startswith("trn3")]
    assert len(trainium3) == 9
    assert unconfirmed == ["inf2e.32xlarge", "trn2n.48xlarge", "trn2a.48xlarge", *trainium3]
    assert as_text().endswith(f"can be launched\n  {', '.join(unconfirmed)}\n")
    assert [row["type"] for row in json.loads(as_json()) if not row["confirmed"]] == unconfirmed


def test_text_table() -> None:
    """The table has every figure, `-` for unknown ones, and numbered sources."""
    head, *rest = as_text().splitlines()
    table = {line.split()[0]: line.split() for line in rest[: len(INSTANCE_TYPES)]}
    assert list(table) == list(INSTANCE_TYPES)
    expected = ["inferentia2", *map(str, (4, 16, 1, 2, 2, 1, 2, 32, 32)), "-"]
    assert table["inf2.xlarge"][1:12] == expected
    assert table["trn2.3xlarge"][2:5] == ["-", "-", "1"]
    assert set(table["inf2e.32xlarge"][1:12]) == {"-"}
    assert head.split()[0] == "TYPE"
    sources = {each for row in INSTANCE_TYPES.values() for each in row.sources}
    numbered = [line for line in rest if re.match(r" +\d+  ", line)]
    assert len(numbered) == len(sources)
    for row in INSTANCE_TYPES.values():
        numbers = table[row.name][-1].split(",")
        cited = [line for line in numbered if line.split()[0] in numbers]
        assert len(cited) == len(row.sources)
        assert all(any(source.name in line for line in cited) for source in row.sources)


def test_json() -> None:
    """JSON has every figure, null for unknown ones, and the sources."""
    rows = {row["type"]: row for row in json.loads(as_json())}
    assert list(rows) == list(INSTANCE_TYPES)
    for name, row in INSTANCE_TYPES.items():
        for field in ("vcpus", "memory_gib", "devices", "cores", "logical_cores", "efa_interfaces"):
            assert rows[name][field] == getattr(row, field)
        assert [each["date"] for each in rows[name]["sources"]] == [s.date for s in row.sources]
    assert rows["trn2.3xlarge"]["vcpus"] is None


@pytest.mark.parametrize(("flags", "render"), [((), as_text), (("--json",), as_json)])
def test_command(flags: tuple[str, ...], render: object) -> None:
    finished = run("instance-types", *flags)
    assert callable(render)
    assert (finished.status, finished.out, finished.err) == (0, render(), "")
