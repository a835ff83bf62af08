"""Basic authentication with bcrypt hashes.

A bcrypt comparison takes 60 ms and more by design. Verified credentials are cached as keyed
digests, so that a scraper pays for the comparison once. Comparisons have few places, of which one
client cannot occupy all: guesses must not hold up others.
"""

from __future__ import annotations

import binascii
import secrets
import threading
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b

import bcrypt

from neuron_exporter.web.protection import BusyError

_MAX_CACHED = 128
_MAX_COMPARISONS = 4
_MAX_COMPARISONS_OF_CLIENT = 2
_MAX_PASSWORD_BYTES = 72


class BcryptUsers:
    """Users with the bcrypt hashes of their passwords. Needs at least one user."""

    def __init__(self, users: Mapping[str, str], before: BcryptUsers | None = None) -> None:
        """Create users that remember what those before a reload had verified."""
        self._hashes = {
            user.encode(errors="surrogatepass"): hashed.encode() for user, hashed in users.items()
        }
        self._comparer: _Comparer = _Comparer() if before is None else before._comparer

    def verify(self, authorization: str, client: str = "") -> bool:
        """Return whether the value of an Authorization header belongs to a user.

        Args:
            client: the address of the client, which may have few comparisons at once.

        Raises:
            BusyError: the credentials are unknown, and cannot be compared now.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, colon, password = b64decode(token.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        if not colon:
            return False
        known = self._hashes.get(user)
        # It takes as long for an unknown user, so that the time does not reveal users.
        hashed = known or self._decoy(user)
        return self._comparer.matches(user, password, hashed, client, is_user=known is not None)

    def _decoy(self, user: bytes) -> bytes:
        """Return the hash to compare with for an unknown user."""
        hashes = list(self._hashes.values())
        return hashes[int.from_bytes(self._comparer.digest(user)[:8]) % len(hashes)]


class _Comparer:
    """Compares few passwords at once, and remembers those that matched."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._matched: OrderedDict[bytes, None] = OrderedDict()
        self._clients: list[str] = []
        self._lock = threading.Lock()
        self._compare_lock = threading.Lock()

    def matches(
        self, user: bytes, password: bytes, hashed: bytes, client: str, *, is_user: bool
    ) -> bool:
        """Return whether a user has this password. What has matched before never waits."""
        digest = self.digest(user, hashed, password)
        if is_user and self._has_matched(digest):
            return True
        # One at a time: guessed passwords must not keep every CPU of the machine busy.
        with self._place(client), self._compare_lock:
            if is_user and self._has_matched(digest):
                return True  # another request has verified the same meanwhile
            if not _matches(password, hashed) or not is_user:
                return False
            self._remember(digest)
            return True

    def digest(self, *parts: bytes) -> bytes:
        """Return a keyed digest."""
        digest = blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        return digest.digest()

    @contextmanager
    def _place(self, client: str) -> Iterator[None]:
        """Occupy one of the few places for comparisons."""
        with self._lock:
            if (
                len(self._clients) >= _MAX_COMPARISONS
                or self._clients.count(client) >= _MAX_COMPARISONS_OF_CLIENT
            ):
                raise BusyError
            self._clients.append(client)
        try:
            yield
        finally:
            with self._lock:
                self._clients.remove(client)

    def _has_matched(self, digest: bytes) -> bool:
        with self._lock:
            if digest not in self._matched:
                return False
            self._matched.move_to_end(digest)
            return True

    def _remember(self, digest: bytes) -> None:
        with self._lock:
            self._matched[digest] = None
            while len(self._matched) > _MAX_CACHED:
                self._matched.popitem(last=False)


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        # bcrypt ignores further bytes; this implementation rejects them.
        return bcrypt.checkpw(password[:_MAX_PASSWORD_BYTES], hashed)
    except ValueError:
        return False
