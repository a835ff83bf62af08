"""Reloads of the web configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.web.config_file import WebConfigFile
from tests.support.certificates import CertificateAuthority
from tests.support.clients import basic_auth
from tests.support.web_config import WebConfigFolder, bcrypt_hash


class ReloadedFile:
    """A web configuration that is refreshed as by the daemon, once a second."""

    def __init__(self, folder: WebConfigFolder, **sections: Any) -> None:
        self.folder = folder
        self.file = WebConfigFile(folder.write(**sections))
        self.reloads: list[bool] = []
        self.file.on_reload = self.reloads.append

    def refresh(self, count: int = 5) -> list[bool]:
        """Refresh several times; return the outcomes of the reloads."""
        self.reloads.clear()
        for _ in range(count):
            self.file.refresh()
        return list(self.reloads)

    def accepts(self, user: str, password: str) -> bool:
        """Return whether these credentials are valid now."""
        users = self.file.access().passwords
        return users is not None and users.verify(basic_auth(user, password))


@pytest.fixture
def folder(tmp_path: Path) -> WebConfigFolder:
    """A folder of the test's own."""
    return WebConfigFolder(tmp_path)


def test_new_password(folder: WebConfigFolder) -> None:
    reloaded = ReloadedFile(folder, basic_auth_users={"me": bcrypt_hash("old")})
    assert reloaded.refresh() == []
    assert reloaded.accepts("me", "old")

    folder.write(basic_auth_users={"me": bcrypt_hash("new")})
    assert reloaded.refresh() == [True]
    assert reloaded.accepts("me", "new")
    assert not reloaded.accepts("me", "old")


def test_file_must_be_stable(folder: WebConfigFolder) -> None:
    reloaded = ReloadedFile(folder, basic_auth_users={"me": bcrypt_hash("old")})
    for number in range(5):
        folder.path.write_text("x" * number)
        assert reloaded.refresh(1) == []
    folder.write(basic_auth_users={"me": bcrypt_hash("new")})
    assert reloaded.refresh() == [True]


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
def test_new_certificate(folder: WebConfigFolder, name: str) -> None:
    """A certificate without its key is rejected once; both together are loaded."""
    reloaded = ReloadedFile(folder, tls_server_config=folder.tls)
    before = reloaded.file.access().tls
    folder.authority.sign("new")
    other = ({"server.pem", "server.key"} - {name}).pop()
    (folder.folder / name.replace("server", "new")).rename(folder.folder / name)
    assert reloaded.refresh() == [False]
    assert reloaded.file.access().tls is before

    (folder.folder / other.replace("server", "new")).rename(folder.folder / other)
    assert reloaded.refresh() == [True]
    assert reloaded.file.access().tls not in (None, before)


def test_changed_symlink(folder: WebConfigFolder) -> None:
    """Kubernetes swaps a link to a folder; the names of the files stay the same."""
    for name in ("first", "second"):
        (folder.folder / name).mkdir()
        folder.authority.sign("server")
        for file in ("server.pem", "server.key"):
            (folder.folder / file).rename(folder.folder / name / file)
    link = folder.folder / "..data"
    link.symlink_to("first")
    for file in ("server.pem", "server.key"):
        (folder.folder / file).symlink_to(Path("..data") / file)
    reloaded = ReloadedFile(folder, tls_server_config=folder.tls)

    (folder.folder / "..tmp").symlink_to("second")
    (folder.folder / "..tmp").rename(link)
    assert reloaded.refresh() == [True]


def invalidate(folder: WebConfigFolder) -> None:
    """Write invalid YAML."""
    folder.path.write_text("tls_server_config: [")


def remove(folder: WebConfigFolder) -> None:
    """Remove the file."""
    folder.path.unlink()


def truncate(folder: WebConfigFolder) -> None:
    """Truncate the file, which leaves a valid one."""
    folder.path.write_text("")


def name_missing_certificate(folder: WebConfigFolder) -> None:
    """Name a certificate that does not exist."""
    tls = {**folder.tls, "cert_file": "gone.pem"}
    folder.write(tls_server_config=tls, basic_auth_users={"me": bcrypt_hash("new")})


def drop_passwords(folder: WebConfigFolder) -> None:
    """Configure TLS only."""
    folder.write(tls_server_config=folder.tls)


def drop_tls(folder: WebConfigFolder) -> None:
    """Configure passwords only."""
    folder.write(basic_auth_users={"me": bcrypt_hash("new")})


@pytest.mark.parametrize(
    "change", [invalidate, remove, truncate, name_missing_certificate, drop_passwords, drop_tls]
)
def test_rejected_reload(
    folder: WebConfigFolder,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[WebConfigFolder], None],
) -> None:
    """An invalid file, or one that removes a protection, is logged once and changes nothing."""
    valid = {"tls_server_config": folder.tls, "basic_auth_users": {"me": bcrypt_hash("old")}}
    reloaded = ReloadedFile(folder, **valid)
    before = reloaded.file.access()
    change(folder)
    assert reloaded.refresh(10) == [False]
    problems = 2 if change is truncate else 1
    assert capsys.readouterr().out.count("web_config_reload_rejected") == problems
    assert reloaded.file.access() is before

    folder.write(**{**valid, "basic_auth_users": {"me": bcrypt_hash("newer")}})
    assert reloaded.refresh() == [True]
    assert reloaded.accepts("me", "newer")


def test_file_created_later(folder: WebConfigFolder) -> None:
    reloaded = ReloadedFile(folder, tls_server_config=folder.tls)
    folder.write(tls_server_config={"cert_file": "late.pem", "key_file": "late.key"})
    assert reloaded.refresh() == [False]
    folder.authority.sign("late")
    assert reloaded.refresh() == [True]


def test_changed_permissions(folder: WebConfigFolder) -> None:
    reloaded = ReloadedFile(folder, basic_auth_users={"me": bcrypt_hash("old")})
    os.chmod(folder.path, 0o640)
    assert reloaded.refresh() == [True]


def test_protection_can_be_added(folder: WebConfigFolder) -> None:
    reloaded = ReloadedFile(folder)
    folder.write(tls_server_config=folder.tls, basic_auth_users={"me": bcrypt_hash("x")})
    assert reloaded.refresh() == [True]
    assert reloaded.file.access().tls is not None
    assert reloaded.accepts("me", "x")


CBC, GCM = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
IF_GIVEN = {"client_auth_type": "VerifyClientCertIfGiven", "client_ca_file": "authority.pem"}
REQUIRED = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "authority.pem"}


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({}, IF_GIVEN, None),
        (IF_GIVEN, REQUIRED, None),
        (REQUIRED, {**REQUIRED, "client_allowed_sans": ["a"]}, None),
        ({**REQUIRED, "client_allowed_sans": ["a", "b"]},
         {**REQUIRED, "client_allowed_sans": ["b"]}, None),
        ({**REQUIRED, "client_allowed_sans": ["fd00::1"]},
         {**REQUIRED, "client_allowed_sans": ["fd00:0::1"]}, None),
        ({**REQUIRED, "client_ca_file": "both.pem"}, REQUIRED, None),
        (REQUIRED, {**REQUIRED, "client_ca_file": "copy.pem"}, None),
        ({}, {"min_version": "TLS13"}, None),
        ({"cipher_suites": [GCM]}, {"min_version": "TLS13"}, None),
        ({}, {"cipher_suites": [GCM]}, None),
        ({"cipher_suites": [GCM, CBC]}, {"cipher_suites": [GCM]}, None),
        ({}, {"curve_preferences": ["X25519"]}, None),
        (IF_GIVEN, {}, "client_auth_type: VerifyClientCertIfGiven -> NoClientCert"),
        (REQUIRED, IF_GIVEN,
         "client_auth_type: RequireAndVerifyClientCert -> VerifyClientCertIfGiven"),
        (IF_GIVEN, {**REQUIRED, "client_ca_file": "both.pem"}, "client_ca_file: "),
        ({**REQUIRED, "client_allowed_sans": ["a"]}, {**REQUIRED, "client_allowed_sans": ["b"]},
         "client_allowed_sans: a -> b"),
        ({"min_version": "TLS13"}, {}, "min_version: TLS13 -> TLS12"),
        ({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, {}, "min_version: TLS13 -> TLS12"),
        ({}, {"cipher_suites": [CBC]}, f"cipher_suites: the default -> {CBC}"),
        ({"cipher_suites": [GCM]}, {}, f"cipher_suites: {GCM} -> the default"),
        ({"curve_preferences": ["X25519"]}, {"curve_preferences": ["CurveP256"]},
         "curve_preferences: X25519 -> CurveP256"),
    ],
)  # fmt: skip
def test_reload_may_only_strengthen(
    folder: WebConfigFolder,
    capsys: pytest.CaptureFixture[str],
    before: dict[str, Any],
    after: dict[str, Any],
    change: str | None,
) -> None:
    own = folder.authority.file.read_text()
    other = CertificateAuthority(folder.folder, "other").file.read_text()
    (folder.folder / "both.pem").write_text(other + own)
    (folder.folder / "copy.pem").write_text(f"# the same\n{own}{own}")
    reloaded = ReloadedFile(folder, tls_server_config={**folder.tls, **before})
    folder.write(tls_server_config={**folder.tls, **after})
    assert reloaded.refresh() == [change is None]
    if change is not None:
        assert f"tls_server_config.{change}" in capsys.readouterr().out


def test_reload_logs_new_warnings(folder: WebConfigFolder) -> None:
    """A doubtful setting is logged when it becomes doubtful, not with every reload."""
    reloaded = ReloadedFile(folder, tls_server_config=folder.tls)
    key = folder.folder / "server.key"
    for mode, logged in ((0o644, 1), (0o604, 1), (0o600, 0), (0o604, 1)):
        key.chmod(mode)
        with capture_logs() as events:
            assert reloaded.refresh() == [True]
        assert len([each for each in events if each["event"] == "setting_doubtful"]) == logged
    folder.authority.sign("server")
    key.chmod(0o604)
    with capture_logs() as events:
        assert reloaded.refresh() == [True]
    assert [each["event"] for each in events] == ["web_config_reloaded"]


def test_reload_keeps_headers(folder: WebConfigFolder) -> None:
    """A header may get another value, but must not vanish; a default one is sent without being
    set."""
    headers = {"X-Frame-Options": "deny", "Content-Security-Policy": "default-src 'self'"}
    reloaded = ReloadedFile(folder, http_server_config={"headers": headers})
    for now, is_taken in (
        ({}, False),
        ({"X-Frame-Options": "sameorigin"}, True),
        ({"X-Frame-Options": "deny", "Content-Security-Policy": ""}, False),
    ):
        folder.write(http_server_config={"headers": now})
        assert reloaded.refresh() == [is_taken]
