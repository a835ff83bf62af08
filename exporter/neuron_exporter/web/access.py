"""Access control: what the web configuration sets and the server enforces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuron_exporter.web.passwords import BcryptUsers
    from neuron_exporter.web.tls import ServerTls


@dataclass(frozen=True, slots=True)
class Access:
    """The settings of a web configuration. A header with an empty value is not sent."""

    tls: ServerTls | None = None
    passwords: BcryptUsers | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def requires_authentication(self) -> bool:
        """Whether every client must authenticate, by password or certificate."""
        return self.passwords is not None or (self.tls is not None and self.tls.verifies_clients)


UNPROTECTED = Access()
"""Plain HTTP without authentication."""


def removed_protections(before: Access, now: Access) -> list[str]:
    """Return an error for each protection that a new configuration removes.

    A truncated file must not disable authentication.
    """
    return [
        f"{key}: cannot be removed at run time; restart the exporter"
        for key, old, new in (
            ("tls_server_config", before.tls, now.tls),
            ("basic_auth_users", before.passwords, now.passwords),
        )
        if old is not None and new is None
    ]
