"""Watching the configuration file: a change is loaded once, after the file has settled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuron_exporter.config import ConfigError, ConfigWatcher, Override
from neuron_exporter.config.watcher import SETTLE_SECONDS


class WatchedFile:
    """A watched file, with a manual clock."""

    def __init__(self, path: Path, text: str | None = "log: {level: info}\n") -> None:
        self.path = path
        self.now = 0.0
        if text is not None:
            path.write_text(text)
        self.watcher = ConfigWatcher(str(path), {}, clock=lambda: self.now)
        self.watcher.load()

    def write(self, level: str) -> None:
        """Write a configuration with this log level."""
        self.path.write_text(f"log: {{level: {level}}}\n")

    def advance(self, count: int) -> list[str]:
        """Poll once a second for `count` advance; return the loaded log levels and the errors."""
        results = []
        for _ in range(count):
            self.now += 1
            if self.watcher.has_settled():
                results.append(self._loaded() if self.watcher.has_new_content() else "unchanged")
        return results

    def _loaded(self) -> str:
        try:
            return self.watcher.reload().config.log.level
        except ConfigError as error:
            return str(error).replace(str(self.path), "FILE")


@pytest.fixture
def watched(tmp_path: Path) -> WatchedFile:
    """Return a file of the test's own."""
    return WatchedFile(tmp_path / "exporter.yaml")


def test_change_is_loaded_once_after_settling(watched: WatchedFile) -> None:
    assert watched.advance(5) == []
    for level in ("debug", "warning", "error"):
        watched.write(level)
        assert watched.advance(2) == []
    assert watched.advance(1) == ["error"]
    assert watched.advance(5) == []
    assert SETTLE_SECONDS == 2


def test_change_before_first_poll(tmp_path: Path) -> None:
    path = tmp_path / "exporter.yaml"
    path.write_text("{}")
    watched = WatchedFile(path)
    watched.write("debug")
    assert watched.advance(5) == ["debug"]


def test_touch_loads_nothing(watched: WatchedFile) -> None:
    os.utime(watched.path, (1, 1))
    assert watched.advance(5) == ["unchanged"]


def test_replaced_link(tmp_path: Path) -> None:
    """The kubelet updates a ConfigMap by replacing the link to its folder."""
    for name, level in (("..2026_1", "info"), ("..2026_2", "error")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "exporter.yaml").write_text(f"log: {{level: {level}}}\n")
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "exporter.yaml").symlink_to(Path("..data") / "exporter.yaml")
    watched = WatchedFile(tmp_path / "exporter.yaml", text=None)

    (tmp_path / "..data_tmp").symlink_to("..2026_2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert watched.advance(5) == ["error"]


def test_missing_file(watched: WatchedFile) -> None:
    """A file that is replaced by an editor is no error; one that stays away is reported once."""
    before = watched.path.read_text()
    watched.path.unlink()
    assert watched.advance(2) == []
    watched.write("debug")
    assert watched.advance(5) == ["debug"]

    watched.path.unlink()
    assert watched.advance(10) == ["FILE: cannot be read: No such file or directory"]
    watched.path.write_text(before)
    assert watched.advance(5) == ["info"]


def test_invalid_file_is_loaded_once(watched: WatchedFile) -> None:
    watched.path.write_text("log: {level: loud}\n")
    assert len(watched.advance(10)) == 1
    os.utime(watched.path, (1, 1))
    assert watched.advance(5) == ["unchanged"]


def test_reload_merges_flags_and_environment(watched: WatchedFile) -> None:
    watcher = ConfigWatcher(
        str(watched.path),
        {"NEURON_EXPORTER__WEB__PAGE": "false"},
        [Override("--x", "log.level", "error")],
    )
    watcher.load()
    watched.path.write_text("log: {level: debug, format: json}\nweb: {page: true}\n")
    config = watcher.reload().config
    assert (config.log.level, config.log.format, config.web.page) == ("error", "json", False)


def test_pipe_is_not_watched(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    watcher = ConfigWatcher(str(path), {})
    assert not watcher.has_settled()
    with pytest.raises(ConfigError, match="is not a file that can be read again"):
        watcher.reload()


def test_no_file() -> None:
    watcher = ConfigWatcher(None, {"NEURON_EXPORTER__LOG__LEVEL": "error"})
    assert watcher.load().config.log.level == "error"
    assert not watcher.has_settled()
