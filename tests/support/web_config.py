"""Web configurations for tests: files, users and client settings."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from typing import Any

import bcrypt
import yaml

from tests.support.certificates import CertificateAuthority


@cache
def bcrypt_hash(password: str, cost: int = 4) -> str:
    """Return a bcrypt hash with the lowest cost; the same in every process."""
    return bcrypt.hashpw(password.encode(), f"$2b${cost:02}${'salt.' * 4}Oe".encode()).decode()


class WebConfigFolder:
    """A folder with a certificate authority, a server certificate and a web configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "web.yml"
        self.authority = CertificateAuthority(folder)
        self.authority.sign("server")

    @property
    def tls(self) -> dict[str, Any]:
        """The section that enables TLS."""
        return {"cert_file": "server.pem", "key_file": "server.key"}

    @property
    def mutual_tls(self) -> dict[str, Any]:
        """The section that also requires client certificates."""
        return {
            **self.tls,
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "authority.pem",
        }

    def write(self, **sections: Any) -> str:
        """Write the configuration; return its path."""
        self.path.write_text(yaml.safe_dump(sections))
        return str(self.path)

    def client_context(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Return TLS settings of a client that trusts the authority."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context
