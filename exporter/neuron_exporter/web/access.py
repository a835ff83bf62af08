"""Who may come in, and how: what the server asks for, and the web configuration gives."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Tls(Protocol):
    """How connections are encrypted."""

    @property
    def verifies_clients(self) -> bool:
        """Whether nobody comes in without a certificate that is verified."""
        ...

    def wrap(self, sock: socket.socket) -> socket.socket:
        """The socket to speak through, before a byte is exchanged. Never blocks.

        Raises:
            OSError: the connection has gone.
        """
        ...

    def shake_hands(self, sock: socket.socket) -> None:
        """Agree on keys and see who it is. Blocks on the client.

        Raises:
            OSError: there is no agreement.
        """
        ...

    def take_leave(self, sock: socket.socket) -> None:
        """Say that nothing more comes, so that nobody takes the end for an attack. Never blocks."""
        ...


class Passwords(Protocol):
    """Who is known by name and password."""

    def admit(self, authorization: str) -> bool:
        """Whether the value of an Authorization header is that of a user."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that a web configuration decides. A header with an empty value is left out."""

    tls: Tls | None = None
    passwords: Passwords | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def asks_who(self) -> bool:
        """Whether only those come in who are known, by password or certificate."""
        return self.passwords is not None or (self.tls is not None and self.tls.verifies_clients)


OPEN = Access()
"""Everybody may come in, in the clear."""


def taken_away(before: Access, now: Access) -> list[str]:
    """What is protected no more. A file that is cut off in its middle must not let everybody in."""
    return [
        f"{key}: cannot be taken away while running: restart for that"
        for key, old, new in (
            ("tls_server_config", before.tls, now.tls),
            ("basic_auth_users", before.passwords, now.passwords),
        )
        if old is not None and new is None
    ]
