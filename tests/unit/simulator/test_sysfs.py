"""A directory with the driver's files: only the simulator's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuron_exporter.simulator.sysfs import Tree, TreeError


def read(root: Path) -> dict[str, str]:
    """Return all files by path."""
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def test_files_are_written_and_changed(tmp_path: Path) -> None:
    root = tmp_path / "new" / "tree"
    tree = Tree(root)
    tree.write({0: {"core_count": "2", "stats/a": "1\n"}, 3: {"stats/a": "5\n"}})
    assert read(root) == {
        "neuron0/core_count": "2",
        "neuron0/stats/a": "1\n",
        "neuron3/stats/a": "5\n",
    }
    before = (root / "neuron0" / "core_count").stat()
    tree.write({0: {"core_count": "2", "stats/a": "2\n"}, 3: {"stats/a": "5\n"}})
    assert read(root)["neuron0/stats/a"] == "2\n"
    assert (root / "neuron0" / "core_count").stat() == before


def test_device_that_vanishes_and_returns(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write({0: {"a": "1\n"}, 1: {"a": "1\n"}})
    tree.write({1: {"a": "1\n"}})
    assert read(tmp_path) == {"neuron1/a": "1\n"}
    tree.write({0: {"a": "3\n"}, 1: {"a": "1\n"}})
    assert read(tmp_path)["neuron0/a"] == "3\n"


def test_moved_layout(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "moved")
    for text in ("1\n", "2\n"):
        tree.write({0: {"stats/hardware/x": text, "neuron_core1/y": text, "info/z": text}})
    assert read(tmp_path) == {
        f"neuron0/{path}": "2\n" for path in ("health/ecc/x", "cores/nc1/y", "info/z")
    }


def test_a_tree_of_the_simulator_is_taken_over(tmp_path: Path) -> None:
    """Devices of an earlier run are gone, also those that it left half prepared."""
    Tree(tmp_path).write({0: {"a": "1\n"}, 5: {"a": "1\n"}})
    (tmp_path / Tree.MARKER / "neuron0").mkdir()
    (tmp_path / Tree.MARKER / "neuron0" / "old").write_text("1\n")
    tree = Tree(tmp_path)
    assert [path for path in read(tmp_path) if path.startswith("neuron")] == []
    tree.write({0: {"a": "2\n"}})
    assert read(tmp_path) == {"neuron0/a": "2\n"}


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "neuron0").mkdir()
    (tmp_path / "neuron0" / "core_count").write_text("2")
    before = read(tmp_path)
    message = f"^{tmp_path}: must be empty or have files of the simulator only$"
    with pytest.raises(TreeError, match=message):
        Tree(tmp_path)
    assert read(tmp_path) == before
    assert os.listdir(tmp_path) == ["neuron0"]


@pytest.mark.parametrize("place", [Tree.MARKER, "neuron7"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "file", "other user"])
def test_prepared_places_are_refused(tmp_path: Path, place: str, kind: str) -> None:
    """Nothing behind a link is deleted, and nothing in the tree."""
    root, victim = tmp_path / "tree", tmp_path / "victim"
    Tree(root).write({0: {"a": "1\n"}})
    (victim / "neuron0").mkdir(parents=True)
    (victim / "neuron0" / "precious").write_text("1\n")
    path = root / place
    if place == Tree.MARKER:
        path.rmdir()
    if kind == "file":
        path.write_text("")
    elif kind != "other user":
        path.symlink_to(victim if kind == "link" else tmp_path / "nowhere")
    elif os.geteuid() == 0:
        path.mkdir()
        os.chown(path, 12345, 12345)
    else:
        pytest.skip("only root may give a directory to another user")
    before = read(tmp_path)
    message = f"^{path}: must be a directory of user {os.geteuid()}, not a link \\(got "
    with pytest.raises(TreeError, match=message):
        Tree(root)
    assert read(tmp_path) == before


def test_a_link_in_the_marker_is_not_followed(tmp_path: Path) -> None:
    root, victim = tmp_path / "tree", tmp_path / "victim"
    Tree(root).write({0: {"a": "1\n"}})
    victim.mkdir()
    (root / Tree.MARKER / "neuron0").symlink_to(victim)
    with pytest.raises(TreeError, match=f"^{root}: cannot be written: .*symbolic link"):
        Tree(root)
    assert victim.exists()


@pytest.mark.parametrize(
    ("place", "reason"), [("file", "Not a directory"), ("file/tree", "Not a directory")]
)
def test_no_directory(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "file").write_text("text")
    root = tmp_path / place
    with pytest.raises(TreeError, match=f"^{root}: cannot be written: {reason}$"):
        Tree(root)
