"""Basic authentication with bcrypt hashes.

A bcrypt comparison takes 60 ms and more by design. Verified credentials are cached as keyed
digests, so that a scraper pays for the comparison once.
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

_MAX_CACHED = 128
_MAX_PASSWORD_BYTES = 72


class BcryptUsers:
    """Users with the bcrypt hashes of their passwords. Needs at least one user."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._hashes = {
            user.encode(errors="surrogatepass"): hashed.encode() for user, hashed in users.items()
        }
        self._key = secrets.token_bytes(32)
        self._cache: OrderedDict[bytes, None] = OrderedDict()
        self._cache_lock = threading.Lock()
        self._compare_lock = threading.Lock()

    def verify(self, authorization: str) -> bool:
        """Return whether the value of an Authorization header belongs to a user."""
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
        if self._is_cached(digest):
            return True
        # One comparison at a time: guessed passwords must not keep every CPU of the machine busy.
        with self._compare_lock:
            if self._is_cached(digest):  # another request has verified the same meanwhile
                return True
            is_valid = _matches(password, hashed) and user in self._hashes
            if is_valid:
                self._add_to_cache(digest)
            return is_valid

    def _decoy(self, user: bytes) -> bytes:
        """Return a hash to compare with for an unknown user, so that it takes as long."""
        hashes = list(self._hashes.values())
        return hashes[int.from_bytes(self._digest(user)[:8]) % len(hashes)]

    def _digest(self, *parts: bytes) -> bytes:
        digest = blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        return digest.digest()

    def _is_cached(self, digest: bytes) -> bool:
        with self._cache_lock:
            if digest not in self._cache:
                return False
            self._cache.move_to_end(digest)
            return True

    def _add_to_cache(self, digest: bytes) -> None:
        with self._cache_lock:
            self._cache[digest] = None
            while len(self._cache) > _MAX_CACHED:
                self._cache.popitem(last=False)


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        # bcrypt ignores further bytes; this implementation rejects them.
        return bcrypt.checkpw(password[:_MAX_PASSWORD_BYTES], hashed)
    except ValueError:
        return False
