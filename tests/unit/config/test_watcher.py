"""The configuration's file is read again when it has other content, and nobody is writing it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuron_exporter.config import ConfigError, Given, Origin
from neuron_exporter.config.watcher import QUIET


class Watched:
    """A file that is watched, in a time that is moved by hand."""

    def __init__(self, path: Path, text: str | None = "log: {level: info}\n") -> None:
        self.path = path
        self.now = 0.0
        if text is not None:
            path.write_text(text)
        self.origin = Origin(str(path), {}, clock=lambda: self.now)
        self.origin.load()

    def write(self, level: str) -> None:
        """Write another configuration."""
        self.path.write_text(f"log: {{level: {level}}}\n")

    def seconds(self, count: int) -> list[str]:
        """What is seen in so many seconds, asked once in each: the levels that are loaded, or the
        problem."""
        seen = []
        for _ in range(count):
            self.now += 1
            if self.origin.has_settled():
                seen.append(self._loaded() if self.origin.has_news() else "the same")
        return seen

    def _loaded(self) -> str:
        try:
            return self.origin.load_again().config.log.level
        except ConfigError as error:
            return str(error).replace(str(self.path), "FILE")


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """A file of the test's own."""
    return Watched(tmp_path / "exporter.yaml")


def test_a_change_is_seen_once_after_it_has_been_quiet(watched: Watched) -> None:
    """Two seconds after the last of several writings there is one reload, of the last."""
    assert watched.seconds(5) == []
    for level in ("debug", "warning", "error"):
        watched.write(level)
        assert watched.seconds(2) == []
    assert watched.seconds(1) == ["error"]
    assert watched.seconds(5) == []
    assert QUIET == 2


def test_a_change_between_start_and_first_look_is_seen(tmp_path: Path) -> None:
    """What is written right after the file was read for the start is not lost."""
    path = tmp_path / "exporter.yaml"
    path.write_text("{}")
    watched = Watched(path)
    watched.write("debug")
    assert watched.seconds(5) == ["debug"]


def test_a_touch_is_no_news(watched: Watched) -> None:
    """A file with other times and the same content is not reloaded."""
    os.utime(watched.path, (1, 1))
    assert watched.seconds(5) == ["the same"]


def test_a_swapped_link_is_seen(tmp_path: Path) -> None:
    """Kubelet turns a link to a folder; the file's own path stays what it was."""
    for name, level in (("..2026_1", "info"), ("..2026_2", "error")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "exporter.yaml").write_text(f"log: {{level: {level}}}\n")
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "exporter.yaml").symlink_to(Path("..data") / "exporter.yaml")
    watched = Watched(tmp_path / "exporter.yaml", text=None)

    (tmp_path / "..data_tmp").symlink_to("..2026_2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert watched.seconds(5) == ["error"]


def test_a_file_that_vanishes_for_a_moment_is_no_error(watched: Watched) -> None:
    """An editor that removes and writes anew does not disturb; a file that stays away is told
    once, and seen when it is back, with whatever content."""
    before = watched.path.read_text()
    watched.path.unlink()
    assert watched.seconds(2) == []
    watched.write("debug")
    assert watched.seconds(5) == ["debug"]

    watched.path.unlink()
    assert watched.seconds(10) == ["FILE: cannot be read: No such file or directory"]
    watched.path.write_text(before)
    assert watched.seconds(5) == ["info"]


def test_what_was_refused_is_not_read_again_and_again(watched: Watched) -> None:
    """A bad file is told once, also when it is touched."""
    watched.path.write_text("log: {level: loud}\n")
    assert len(watched.seconds(10)) == 1
    os.utime(watched.path, (1, 1))
    assert watched.seconds(5) == ["the same"]


def test_flags_and_environment_are_merged_again(watched: Watched) -> None:
    """What a flag or a variable sets, the file does not change, as at the start."""
    origin = Origin(
        str(watched.path),
        {"NEURON_EXPORTER__WEB__PAGE": "false"},
        [Given("--x", "log.level", "error")],
    )
    origin.load()
    watched.path.write_text("log: {level: debug, format: json}\nweb: {page: true}\n")
    config = origin.load_again().config
    assert (config.log.level, config.log.format, config.web.page) == ("error", "json", False)


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """What can be read only once is neither watched nor waited for."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    origin = Origin(str(path), {})
    assert not origin.has_settled()
    with pytest.raises(ConfigError, match="is not a file that can be read again"):
        origin.load_again()


def test_without_a_file_there_is_nothing_to_watch() -> None:
    """Who configures by variables and flags alone is not disturbed."""
    origin = Origin(None, {"NEURON_EXPORTER__LOG__LEVEL": "error"})
    assert origin.load().config.log.level == "error"
    assert not origin.has_settled()
