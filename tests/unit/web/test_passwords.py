"""Basic authentication: which credentials are accepted, and at what cost."""

from __future__ import annotations

import threading
from base64 import b64encode

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.web import passwords
from neuron_exporter.web.passwords import BcryptUsers
from neuron_exporter.web.protection import BusyError
from tests.support.clients import basic_auth
from tests.support.waiting import wait_for
from tests.support.web_config import bcrypt_hash

USERS = BcryptUsers({"me": bcrypt_hash("secret"), "ümläut": bcrypt_hash("pässwört: with colons:")})


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record the passwords that bcrypt compares."""
    recorded: list[bytes] = []
    real = bcrypt.checkpw

    def check(password: bytes, hashed: bytes) -> bool:
        recorded.append(password)
        return real(password, hashed)

    monkeypatch.setattr(passwords.bcrypt, "checkpw", check)
    return recorded


@pytest.mark.parametrize(
    ("authorization", "is_valid"),
    [
        (basic_auth("me", "secret"), True),
        (basic_auth("me", "secret").replace("Basic ", "bASIC  "), True),
        (basic_auth("ümläut", "pässwört: with colons:"), True),
        (basic_auth("me", "Secret"), False),
        (basic_auth("me", ""), False),
        (basic_auth("Me", "secret"), False),
        (basic_auth("", "secret"), False),
        (basic_auth("you", "secret"), False),
        (basic_auth("me", "secret\0"), False),
        ("", False),
        ("Basic", False),
        ("Basic !!!", False),
        ("Basic bWU=", False),
        ("Basic é", False),
        ("Bearer " + basic_auth("me", "secret").split()[1], False),
    ],
)
def test_verify(authorization: str, is_valid: bool) -> None:
    assert USERS.verify(authorization) is is_valid
    assert USERS.verify(authorization) is is_valid


@given(st.one_of(st.text(), st.binary().map(lambda raw: "Basic " + b64encode(raw).decode())))
def test_any_header_is_handled(authorization: str) -> None:
    assert USERS.verify(authorization) is False


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hash_prefixes(prefix: str) -> None:
    """htpasswd writes $2y$, other tools $2a$ and $2b$."""
    assert BcryptUsers({"me": prefix + bcrypt_hash("secret")[4:]}).verify(
        basic_auth("me", "secret")
    )


def test_long_password() -> None:
    """bcrypt uses 72 bytes of a password, and so does htpasswd."""
    users = BcryptUsers({"me": bcrypt_hash("x" * 72)})
    assert users.verify(basic_auth("me", "x" * 100))
    assert not users.verify(basic_auth("me", "x" * 71))


def test_valid_credentials_are_cached(compared: list[bytes]) -> None:
    users = BcryptUsers({"me": bcrypt_hash("secret")})
    for _ in range(5):
        assert users.verify(basic_auth("me", "secret"))
        assert not users.verify(basic_auth("me", "wrong"))
    assert compared.count(b"secret") == 1
    assert compared.count(b"wrong") == 5


def test_parallel_requests_compare_once(compared: list[bytes]) -> None:
    users = BcryptUsers({"me": bcrypt_hash("secret", 8)})
    workers = [
        threading.Thread(target=users.verify, args=(basic_auth("me", "secret"), client))
        for client in "abcd"
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert compared == [b"secret"]


def test_comparisons_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client occupies two of four places at most; known credentials need none."""
    users = BcryptUsers({"me": bcrypt_hash("secret")})
    assert users.verify(basic_auth("me", "secret"), "a")
    release = threading.Event()
    monkeypatch.setattr(passwords.bcrypt, "checkpw", lambda *_: not release.wait(60))
    results: list[bool] = []

    def guess(client: str) -> None:
        results.append(users.verify(basic_auth("me", "wrong"), client))

    workers = [threading.Thread(target=guess, args=(client,)) for client in "aabc"]
    for number, each in enumerate(workers, 1):
        each.start()
        wait_for(lambda number=number: len(users._comparer._clients) == number)
        if number == 2:
            with pytest.raises(BusyError):
                guess("a")
    for client in "bd":
        with pytest.raises(BusyError):
            guess(client)
    assert users.verify(basic_auth("me", "secret"), "a")
    release.set()
    for each in workers:
        each.join()
    assert results == [False] * 4
    guess("a")


def test_reload_keeps_what_was_verified(compared: list[bytes]) -> None:
    """But for users with the same hash only."""
    hashed = bcrypt_hash("secret")
    users = BcryptUsers({"me": hashed, "you": hashed, "other": hashed})
    for user in ("me", "you", "other"):
        assert users.verify(basic_auth(user, "secret"))
    compared.clear()
    reloaded = BcryptUsers({"me": hashed, "other": bcrypt_hash("new")}, users)
    assert reloaded.verify(basic_auth("me", "secret"))
    assert compared == []
    for user in ("you", "other"):
        assert not reloaded.verify(basic_auth(user, "secret"))


def test_cache(monkeypatch: pytest.MonkeyPatch, compared: list[bytes]) -> None:
    """The cache contains digests only, and evicts the least recently used one."""
    assert passwords._MAX_CACHED == 128
    monkeypatch.setattr(passwords, "_MAX_CACHED", 3)
    word = "".join(["hun", "ter", "2"])
    users = BcryptUsers({str(n): bcrypt_hash(word) for n in range(5)})
    for n in (0, 1, 2, 0, 3, 4, 0):
        assert users.verify(basic_auth(str(n), word))
    assert len(compared) == 5
    assert {len(digest) for digest in users._comparer._matched} == {32}
    assert len(users._comparer._matched) == 3
    assert word not in repr(vars(users)) + repr(vars(users._comparer))


def test_cost_of_unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown user costs as much as a known one, so that the time does not reveal users."""
    calls: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(passwords.bcrypt, "checkpw", lambda *call: calls.append(call))
    users = BcryptUsers({"me": bcrypt_hash("secret", 8), "other": bcrypt_hash("secret", 8)})
    for user in ("me", "unknown"):
        assert not users.verify(basic_auth(user, "wrong"))
    assert [password for password, _ in calls] == [b"wrong"] * 2
    assert all(hashed.startswith(b"$2b$08$") for _, hashed in calls)


def test_decoy_hash() -> None:
    """An unknown user with the password of a known one is rejected."""
    users = BcryptUsers({"me": bcrypt_hash("secret")})
    assert not any(users.verify(basic_auth(f"user{n}", "secret")) for n in range(20))
