"""Basic authentication: who is known by name and password.

Comparing with bcrypt takes 60 ms and more by design. Credentials that were right are remembered,
as keyed digests, so that a scraper pays once.
"""

from __future__ import annotations

import binascii
import secrets
import threading
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b

import bcrypt

_MOST_REMEMBERED = 128
_LONGEST_PASSWORD = 72


class BcryptUsers:
    """Users and the bcrypt hashes of their passwords. There is at least one."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._hashes = {
            user.encode(errors="surrogatepass"): hashed.encode() for user, hashed in users.items()
        }
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._remembering = threading.Lock()
        self._comparing = threading.Lock()

    def admit(self, authorization: str) -> bool:
        """Whether the value of an Authorization header is that of a user."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, colon, password = b64decode(token.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        if not colon:
            return False
        hashed = self._hashes.get(user) or self._decoy(user)
        digest = self._digest(user, hashed, password)
        if self._remembers(digest):
            return True
        # One comparison at a time: guessing passwords must not take every core of the machine.
        with self._comparing:
            if self._remembers(digest):  # somebody else has compared the same meanwhile
                return True
            right = _is_right(password, hashed) and user in self._hashes
            if right:
                self._remember(digest)
            return right

    def _decoy(self, user: bytes) -> bytes:
        """A hash to compare with for a user who is not known, so that it takes as long."""
        hashes = list(self._hashes.values())
        return hashes[int.from_bytes(self._digest(user)[:8]) % len(hashes)]

    def _digest(self, *parts: bytes) -> bytes:
        digest = blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        return digest.digest()

    def _remembers(self, digest: bytes) -> bool:
        with self._remembering:
            if digest not in self._right:
                return False
            self._right.move_to_end(digest)
            return True

    def _remember(self, digest: bytes) -> None:
        with self._remembering:
            self._right[digest] = None
            while len(self._right) > _MOST_REMEMBERED:
                self._right.popitem(last=False)


def _is_right(password: bytes, hashed: bytes) -> bool:
    try:
        # More is not looked at by any bcrypt, and refused by this one.
        return bcrypt.checkpw(password[:_LONGEST_PASSWORD], hashed)
    except ValueError:
        return False
