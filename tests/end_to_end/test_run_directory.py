"""A run directory to which other users can write, as on a shared volume."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuron_exporter.run_directory import RUN_DIRECTORY_VARIABLE
from tests.support.commands import run
from tests.support.exporter import running_exporter, simulated
from tests.support.supervised import ENTRY_POINT, own_directory, supervised
from tests.support.waiting import wait_for

CONFIG = {"source": simulated()}
PLANTED = ("ended", "exporter.pid", "log", "supervisord.pid", "url", "url.new")
OTHER_USER = 12345
DEFAULT = "http://127.0.0.1:9415"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")


@pytest.fixture(params=[0o777, 0o1777], ids=["emptyDir", "tmpfs"])
def shared(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Create the run directory of `supervised`."""
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(request.param)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Create a directory with a file that another user wants to be changed."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "file").write_text("unchanged")
    return folder


def unchanged(victim: Path) -> bool:
    """Return whether the directory is as the fixture made it."""
    return os.listdir(victim) == ["file"] and (victim / "file").read_text() == "unchanged"


def plant_links(folder: Path, victim: Path) -> None:
    """Give the names of the exporter's files to links."""
    for name in PLANTED:
        (folder / name).symlink_to(victim / "file")


def test_planted_links_are_not_followed(tmp_path: Path, shared: Path, victim: Path) -> None:
    plant_links(shared, victim)
    own = own_directory(shared)
    own.mkdir()
    plant_links(own, victim)
    with supervised(tmp_path, CONFIG) as exporter:
        exporter.wait_for_start(1)
        wait_for((own / "url").exists)
        assert own.stat().st_mode & 0o777 == 0o700
        assert unchanged(victim)
        assert exporter.stop() == 0
    assert unchanged(victim)
    assert {each.name for each in shared.iterdir()} == {*PLANTED, own.name}


def test_supervision_refuses_a_link(tmp_path: Path, shared: Path, victim: Path) -> None:
    own_directory(shared).symlink_to(victim)
    with supervised(tmp_path, CONFIG) as exporter:
        assert exporter.wait() == 2
    (line,) = exporter.raw_log
    must = f"must be a directory of user {os.geteuid()}, not a link"
    assert line.startswith("neuron-exporter: NEURON_EXPORTER_RUN_DIRECTORY: uid-")
    assert must in line
    assert unchanged(victim)


@as_root
def test_supervision_refuses_a_directory_of_another_user(
    tmp_path: Path, shared: Path, victim: Path
) -> None:
    os.chown(victim.rename(own_directory(shared)), OTHER_USER, OTHER_USER)
    with supervised(tmp_path, CONFIG) as exporter:
        assert exporter.wait() == 2
    assert unchanged(own_directory(shared))


def test_directory_is_replaced_while_supervised(tmp_path: Path, shared: Path, victim: Path) -> None:
    own = own_directory(shared)
    with supervised(tmp_path, CONFIG) as exporter:
        exporter.wait_for_start(1)
        wait_for((own / "url").exists)
        own.rename(shared / "moved")
        own.symlink_to(victim)
        assert exporter.stop() == 0
    assert unchanged(victim)
    assert (shared / "moved" / "ended").read_text() == "0\n"


@pytest.mark.parametrize("name", ["100%", "%(x)s", "%(ENV_x)s", 'it\'s "a" %d', "-x", "%(here)s"])
def test_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    with supervised(tmp_path, CONFIG, NEURON_EXPORTER_RUN_DIRECTORY=str(folder)) as exporter:
        exporter.wait_for_start(1)
        wait_for((own_directory(folder) / "url").exists)
        assert exporter.stop() == 0


def test_relative_paths_do_not_mean_the_run_directory(tmp_path: Path) -> None:
    command = ["env", f"--chdir={tmp_path}", str(ENTRY_POINT), "--config", "exporter.yaml"]
    with supervised(tmp_path, CONFIG, within=command) as exporter:
        exporter.wait_for_start(1)
        assert exporter.stop() == 0


def test_exporter_without_supervision_goes_on_without_the_directory(
    tmp_path: Path, shared: Path, victim: Path
) -> None:
    """It refuses a link with a warning. Its files are not written, and the rest works."""
    own_directory(shared).symlink_to(victim)
    environment = {RUN_DIRECTORY_VARIABLE: str(shared)}
    with running_exporter(tmp_path, CONFIG, environment=environment) as exporter:
        warning = exporter.wait_for_event("run_directory_unusable")
        assert warning["reason"] == "is a link or not a directory"
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert unchanged(victim)
        assert exporter.stop() == 0


def test_what_a_killed_exporter_left_is_removed(tmp_path: Path, shared: Path) -> None:
    own = own_directory(shared)
    (own / "neuron-exporter-1").mkdir(parents=True)
    (own / "neuron-exporter-1" / "neuron-monitor.json").touch()
    (own / "url").write_text("http://127.0.0.1:1\n")
    environment = {RUN_DIRECTORY_VARIABLE: str(shared)}
    with running_exporter(tmp_path, CONFIG, environment=environment) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert not (own / "neuron-exporter-1").exists()
        (in_use,) = own.glob("neuron-exporter-*")
        assert (in_use / "neuron-monitor.json").exists()
        assert (own / "url").read_text() == f"{exporter.url}\n"
        assert exporter.stop() == 0
    assert list(own.iterdir()) == []


@pytest.mark.parametrize("kind", ["in the run directory", "link", "fifo", "directory link"])
def test_health_check_ignores_planted_addresses(tmp_path: Path, shared: Path, kind: str) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "url").write_text("http://127.0.0.1:1\n")
    own = own_directory(shared)
    if kind == "directory link":
        own.symlink_to(planted)
    else:
        own.mkdir()
    if kind == "in the run directory":
        (shared / "url").write_text("http://127.0.0.1:1\n")
    elif kind == "link":
        (own / "url").symlink_to(planted / "url")
    elif kind == "fifo":
        os.mkfifo(own / "url")
    assert DEFAULT in run("healthcheck", environment={RUN_DIRECTORY_VARIABLE: str(shared)}).out


@as_root
def test_health_check_ignores_the_directory_of_another_user(shared: Path) -> None:
    own = own_directory(shared)
    own.mkdir()
    (own / "url").write_text("http://127.0.0.1:1\n")
    os.chown(own, OTHER_USER, OTHER_USER)
    assert DEFAULT in run("healthcheck", environment={RUN_DIRECTORY_VARIABLE: str(shared)}).out
