"""The memory of a control group: limit and use."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from neuron_exporter.source.memory import LimitedGroup, limited_group

V1 = "memory/{}memory.limit_in_bytes"
NO_LIMIT_V1 = "9223372036854771712"
STAT = "anon 70\nfile 30\ninactive_file 20\ntotal_inactive_file 25"


def found(folder: Path, membership: str, files: dict[str, str]) -> LimitedGroup | None:
    """Return the limited group of a process in these control groups."""
    (folder / "membership").write_text(membership + "\n")
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return limited_group(folder / "cgroup", folder / "membership")


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/", {"memory.max": "1000"}, 1000),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/", {}, None),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "2000"}, 2000),
        ("0::/a/b", {"a/b/memory.max": "3000", "a/memory.max": "2000"}, 2000),
        ("0::/a/b", {"a/b/memory.max": "1000", "a/memory.max": "2000"}, 1000),
        ("0::/../../other", {"memory.max": "1000"}, 1000),
        ("4:memory:/docker/x\n3:cpu:/", {V1.format("docker/x/"): "1000"}, 1000),
        ("4:cpu,memory:/docker/x", {V1.format(""): "1000"}, 1000),
        ("4:memory:/", {V1.format(""): NO_LIMIT_V1}, None),
        ("4:memory:/a\n0::/", {V1.format("a/"): NO_LIMIT_V1, V1.format(""): "500"}, 500),
        ("3:cpu:/a", {"cpu/a/memory.limit_in_bytes": "1000", "memory.max": "1000"}, None),
        ("", {"memory.max": "1000"}, None),
    ],
)
def test_lowest_limit(
    tmp_path: Path, membership: str, files: dict[str, str], limit: int | None
) -> None:
    """cgroups of both versions are read from the process's own up to the visible root."""
    group = found(tmp_path, membership, files)
    assert (None if group is None else group.limit) == limit


def test_no_cgroups(tmp_path: Path) -> None:
    assert limited_group(tmp_path, tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("membership", "files", "used"),
    [
        (
            "0::/a/b",
            {
                **{"a/b/memory.max": "max", "a/b/memory.current": "50", "a/b/memory.stat": STAT},
                **{"a/memory.max": "200", "a/memory.current": "100", "a/memory.stat": STAT},
            },
            80,
        ),
        (
            "4:memory:/",
            {
                V1.format(""): "200",
                "memory/memory.usage_in_bytes": "100",
                "memory/memory.stat": STAT,
            },
            75,
        ),
        ("0::/", {"memory.max": "200", "memory.current": "10", "memory.stat": STAT}, 0),
    ],
)
def test_use_of_the_limited_group(
    tmp_path: Path, membership: str, files: dict[str, str], used: float
) -> None:
    """All its processes count, and file cache that the kernel can drop does not."""
    group = found(tmp_path, membership, files)
    assert group is not None
    assert group.used() == used


@pytest.mark.parametrize("files", [{}, {"memory.current": "10", "memory.stat": "anon 5"}])
def test_unknown_use(tmp_path: Path, files: dict[str, str]) -> None:
    group = found(tmp_path, "0::/", {"memory.max": "200", **files})
    assert group is not None
    assert math.isnan(group.used())
