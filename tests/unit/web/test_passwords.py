"""Basic authentication: who is let in, and what it costs."""

from __future__ import annotations

import statistics
import threading
import time
from base64 import b64encode

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.web import passwords
from neuron_exporter.web.passwords import BcryptUsers
from tests.support.clients import basic
from tests.support.web_config import hashed

USERS = BcryptUsers({"me": hashed("secret"), "ümläut": hashed("pässwört: with colons:")})


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that bcrypt had to look at."""
    seen: list[bytes] = []
    real = bcrypt.checkpw

    def check(password: bytes, wanted: bytes) -> bool:
        seen.append(password)
        return real(password, wanted)

    monkeypatch.setattr(passwords.bcrypt, "checkpw", check)
    return seen


@pytest.mark.parametrize(
    ("authorization", "right"),
    [
        (basic("me", "secret"), True),
        (basic("me", "secret").replace("Basic ", "bASIC  "), True),
        (basic("ümläut", "pässwört: with colons:"), True),
        (basic("me", "Secret"), False),
        (basic("me", ""), False),
        (basic("Me", "secret"), False),
        (basic("", "secret"), False),
        (basic("you", "secret"), False),
        (basic("me", "secret\0"), False),
        ("", False),
        ("Basic", False),
        ("Basic !!!", False),
        ("Basic bWU=", False),
        ("Basic é", False),
        ("Bearer " + basic("me", "secret").split()[1], False),
    ],
)
def test_only_users_are_admitted(authorization: str, right: bool) -> None:
    """Name and password have to be right to the letter, the second time as the first."""
    assert USERS.admit(authorization) is right
    assert USERS.admit(authorization) is right


@given(st.one_of(st.text(), st.binary().map(lambda raw: "Basic " + b64encode(raw).decode())))
def test_no_header_is_an_error(authorization: str) -> None:
    """Whatever is sent is a refusal and no traceback."""
    assert USERS.admit(authorization) is False


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_every_tool_work(prefix: str) -> None:
    """htpasswd writes $2y$, other tools $2a$ and $2b$: all three are the same."""
    assert BcryptUsers({"me": prefix + hashed("secret")[4:]}).admit(basic("me", "secret"))


def test_a_long_password_is_cut_as_htpasswd_cuts_it() -> None:
    """bcrypt looks at 72 bytes; a longer password still opens what was made of it."""
    users = BcryptUsers({"me": hashed("x" * 72)})
    assert users.admit(basic("me", "x" * 100))
    assert not users.admit(basic("me", "x" * 71))


def test_right_credentials_are_compared_once(compared: list[bytes]) -> None:
    """A scraper that comes back costs no bcrypt; one that is wrong pays every time."""
    users = BcryptUsers({"me": hashed("secret")})
    for _ in range(5):
        assert users.admit(basic("me", "secret"))
        assert not users.admit(basic("me", "wrong"))
    assert compared.count(b"secret") == 1
    assert compared.count(b"wrong") == 5


def test_a_crowd_with_the_same_credentials_is_compared_once(compared: list[bytes]) -> None:
    """After a restart a hundred scrapers do not queue up for a hundred comparisons."""
    users = BcryptUsers({"me": hashed("secret", 8)})
    crowd = [threading.Thread(target=users.admit, args=(basic("me", "secret"),)) for _ in range(20)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    assert compared == [b"secret"]


def test_what_is_remembered_is_bounded_and_not_in_clear_text(
    monkeypatch: pytest.MonkeyPatch, compared: list[bytes]
) -> None:
    """Memory holds digests of a few credentials; the one that was longest unused is forgotten."""
    assert passwords._MOST_REMEMBERED == 128
    monkeypatch.setattr(passwords, "_MOST_REMEMBERED", 3)
    word = "".join(["hun", "ter", "2"])
    users = BcryptUsers({str(n): hashed(word) for n in range(5)})
    for n in (0, 1, 2, 0, 3, 4, 0):
        assert users.admit(basic(str(n), word))
    assert len(compared) == 5
    assert {len(digest) for digest in users._right} == {32}
    assert len(users._right) == 3
    assert word not in repr(vars(users))


def test_an_unknown_user_takes_as_long_as_a_known_one() -> None:
    """Nobody learns from the time of a refusal which names there are."""
    users = BcryptUsers({"me": hashed("secret", 8), "other": hashed("secret", 8)})

    def refusal(user: str) -> float:
        before = time.thread_time()
        assert not users.admit(basic(user, "wrong"))
        return time.thread_time() - before

    known, unknown = (
        statistics.median(refusal(user) for _ in range(9)) for user in ("me", "nobody")
    )
    assert 0.5 < unknown / known < 2


def test_a_decoy_opens_nothing() -> None:
    """An unknown user with the password of a known one is not let in."""
    users = BcryptUsers({"me": hashed("secret")})
    assert not any(users.admit(basic(f"user{n}", "secret")) for n in range(20))
