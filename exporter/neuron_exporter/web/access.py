"""Access control: what the web configuration sets and the server enforces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from neuron_exporter.web.protection import Protection

if TYPE_CHECKING:
    from neuron_exporter.web.passwords import BcryptUsers
    from neuron_exporter.web.tls import ServerTls

_DEFAULT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept, Accept-Encoding",
}


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

    def sent_headers(self) -> dict[str, str]:
        """Return the headers of every response."""
        every = {**_DEFAULT_HEADERS, **self.headers}
        return {name: value for name, value in every.items() if value}

    def protections(self) -> dict[str, Protection]:
        """Return the settings that protect from clients, by key."""
        return {
            "tls_server_config": _switch(self.tls),
            **({} if self.tls is None else self.tls.protections),
            "basic_auth_users": _switch(self.passwords),
        }


UNPROTECTED = Access()
"""Plain HTTP without authentication."""


def removed_protections(before: Access, now: Access) -> list[str]:
    """Return an error for each protection that a new configuration removes or weakens.

    A truncated file must not open what the whole one protects.
    """
    old, new = before.protections(), now.protections()
    changes = [
        f"{key}: {was.text} -> {new[key].text}"
        for key, was in old.items()
        if key in new and _admits_more(new[key], was)
    ]
    lost = before.sent_headers().keys() - now.sent_headers().keys()
    changes += [f"http_server_config.headers.{name}: sent -> not sent" for name in sorted(lost)]
    return [f"{each}: cannot be weakened at run time; restart the exporter" for each in changes]


def _admits_more(new: Protection, old: Protection) -> bool:
    if old.admits is None:
        return False
    return new.admits is None or not new.admits <= old.admits


def _switch(part: object | None) -> Protection:
    return Protection("not set", None) if part is None else Protection("set", frozenset())
