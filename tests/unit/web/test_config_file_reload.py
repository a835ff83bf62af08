"""The web configuration follows its files, and what cannot be used leaves the last in use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.web.config_file import WebConfigFile
from tests.support.clients import basic
from tests.support.web_config import WebFolder, hashed


class Followed:
    """A configuration that is looked at as the daemon does, once a second."""

    def __init__(self, folder: WebFolder, **sections: Any) -> None:
        self.folder = folder
        self.file = WebConfigFile(folder.write(**sections))
        self.reloads: list[bool] = []
        self.file.on_reload = self.reloads.append

    def seconds(self, count: int = 5) -> list[bool]:
        """The reloads of some seconds."""
        self.reloads.clear()
        for _ in range(count):
            self.file.refresh()
        return list(self.reloads)

    def admits(self, user: str, password: str) -> bool:
        """Whether a user is let in now."""
        users = self.file.access().passwords
        return users is not None and users.admit(basic(user, password))


@pytest.fixture
def fresh(tmp_path: Path) -> WebFolder:
    """A folder of the test's own."""
    return WebFolder(tmp_path)


def test_a_new_password_is_taken(fresh: WebFolder) -> None:
    """A changed file is read again, once; the old password opens nothing any more."""
    followed = Followed(fresh, basic_auth_users={"me": hashed("old")})
    assert followed.seconds() == []
    assert followed.admits("me", "old")

    fresh.write(basic_auth_users={"me": hashed("new")})
    assert followed.seconds() == [True]
    assert followed.admits("me", "new")
    assert not followed.admits("me", "old")


def test_a_file_that_is_being_written_is_not_read(fresh: WebFolder) -> None:
    """A change is taken when it has stood for a second, not in its middle."""
    followed = Followed(fresh, basic_auth_users={"me": hashed("old")})
    for number in range(5):
        fresh.path.write_text("x" * number)
        assert followed.seconds(1) == []
    fresh.write(basic_auth_users={"me": hashed("new")})
    assert followed.seconds() == [True]


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
def test_a_new_certificate_is_taken_when_both_files_fit(fresh: WebFolder, name: str) -> None:
    """One of two files that belong together is refused once; both together are taken."""
    followed = Followed(fresh, tls_server_config=fresh.tls)
    before = followed.file.access().tls
    fresh.authority.sign("new")
    other = ({"server.pem", "server.key"} - {name}).pop()
    (fresh.folder / name.replace("server", "new")).rename(fresh.folder / name)
    assert followed.seconds() == [False]
    assert followed.file.access().tls is before

    (fresh.folder / other.replace("server", "new")).rename(fresh.folder / other)
    assert followed.seconds() == [True]
    assert followed.file.access().tls not in (None, before)


def test_a_turned_link_is_a_change(fresh: WebFolder) -> None:
    """Kubernetes swaps a link to a folder; the names of the files stay as they were."""
    for name in ("first", "second"):
        (fresh.folder / name).mkdir()
        fresh.authority.sign("server")
        for file in ("server.pem", "server.key"):
            (fresh.folder / file).rename(fresh.folder / name / file)
    link = fresh.folder / "..data"
    link.symlink_to("first")
    for file in ("server.pem", "server.key"):
        (fresh.folder / file).symlink_to(Path("..data") / file)
    followed = Followed(fresh, tls_server_config=fresh.tls)

    (fresh.folder / "..tmp").symlink_to("second")
    (fresh.folder / "..tmp").rename(link)
    assert followed.seconds() == [True]


def spoil(folder: WebFolder) -> None:
    """Something that is no configuration."""
    folder.path.write_text("tls_server_config: [")


def remove(folder: WebFolder) -> None:
    """No file at all."""
    folder.path.unlink()


def cut(folder: WebFolder) -> None:
    """A file that was cut off, and is still legal."""
    folder.path.write_text("")


def name_nothing(folder: WebFolder) -> None:
    """A certificate that is not there."""
    tls = {**folder.tls, "cert_file": "gone.pem"}
    folder.write(tls_server_config=tls, basic_auth_users={"me": hashed("new")})


def drop_passwords(folder: WebFolder) -> None:
    """TLS alone."""
    folder.write(tls_server_config=folder.tls)


def drop_tls(folder: WebFolder) -> None:
    """Passwords alone."""
    folder.write(basic_auth_users={"me": hashed("new")})


@pytest.mark.parametrize("harm", [spoil, remove, cut, name_nothing, drop_passwords, drop_tls])
def test_what_cannot_be_used_leaves_the_last_in_use(
    fresh: WebFolder, capsys: pytest.CaptureFixture[str], harm: Callable[[WebFolder], None]
) -> None:
    """A bad file, and one that would let everybody in, is told once and changes nothing, until a
    good one is there."""
    good = {"tls_server_config": fresh.tls, "basic_auth_users": {"me": hashed("old")}}
    followed = Followed(fresh, **good)
    before = followed.file.access()
    harm(fresh)
    assert followed.seconds(10) == [False]
    assert capsys.readouterr().out.count("web_config_refused") == 1
    assert followed.file.access() is before

    fresh.write(**{**good, "basic_auth_users": {"me": hashed("newer")}})
    assert followed.seconds() == [True]
    assert followed.admits("me", "newer")


def test_a_file_that_comes_later_is_noticed(fresh: WebFolder) -> None:
    """A certificate that a new configuration names may come after it."""
    followed = Followed(fresh, tls_server_config=fresh.tls)
    fresh.write(tls_server_config={"cert_file": "late.pem", "key_file": "late.key"})
    assert followed.seconds() == [False]
    fresh.authority.sign("late")
    assert followed.seconds() == [True]


def test_a_permission_that_comes_later_is_noticed(fresh: WebFolder) -> None:
    """A change of who may read a file is a change of the file."""
    followed = Followed(fresh, basic_auth_users={"me": hashed("old")})
    os.chmod(fresh.path, 0o640)
    assert followed.seconds() == [True]


def test_protection_can_be_added_while_running(fresh: WebFolder) -> None:
    """A file that was empty at the start may begin to protect without a restart."""
    followed = Followed(fresh)
    fresh.write(tls_server_config=fresh.tls, basic_auth_users={"me": hashed("x")})
    assert followed.seconds() == [True]
    assert followed.file.access().tls is not None
    assert followed.admits("me", "x")
