"""Web configurations of a test: files, users, and what a client needs to speak to the server."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from typing import Any

import bcrypt
import yaml

from tests.support.certificates import Authority


@cache
def hashed(password: str, cost: int = 4) -> str:
    """A bcrypt hash, as cheap as there are; the same in every process."""
    return bcrypt.hashpw(password.encode(), f"$2b${cost:02}${'salt.' * 4}Oe".encode()).decode()


class WebFolder:
    """A folder with an authority, a server's certificate, and a web configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "web.yml"
        self.authority = Authority(folder)
        self.authority.sign("server")

    @property
    def tls(self) -> dict[str, Any]:
        """The section with which a server speaks TLS."""
        return {"cert_file": "server.pem", "key_file": "server.key"}

    @property
    def mutual(self) -> dict[str, Any]:
        """The section with which clients have to show who they are, too."""
        return {
            **self.tls,
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "authority.pem",
        }

    def write(self, **sections: Any) -> str:
        """Write the configuration; gives its path."""
        self.path.write_text(yaml.safe_dump(sections))
        return str(self.path)

    def client(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """How a client that trusts the authority speaks."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context
