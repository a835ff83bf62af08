"""Encrypted connections, with OpenSSL as Python has it."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, cast

from neuron_exporter.log import get_logger

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

ALWAYS_IN_TLS13 = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
"""Cipher suites that nobody can choose among: TLS 1.3 has them all."""

CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""Cipher suites of TLS 1.2 by the names that Go has for them, and OpenSSL's."""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""Curves by the names that Go has for them, and OpenSSL's."""

CLIENT_CERTIFICATES = {
    "NoClientCert": ssl.CERT_NONE,
    # It would be asked for and not looked at.
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
"""Policies for certificates of clients, by the names that Go has for them."""

_log = get_logger(part="http")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """What a server's TLS is made of; names are those of the tables above."""

    certificate: bytes
    key: bytes
    client_authorities: bytes = b""
    client_auth_type: str = "NoClientCert"
    client_allowed_sans: Sequence[str] = ()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: Sequence[str] = ()
    prefer_server_cipher_suites: bool = True
    curve: str = ""


class OpenSsl:
    """TLS with one certificate."""

    def __init__(self, settings: TlsSettings) -> None:
        """Make ready what every handshake needs.

        Raises:
            ssl.SSLError: OpenSSL cannot use something of it.
        """
        self._allowed = frozenset(map(_normal, settings.client_allowed_sans))
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[settings.min_version]
        context.maximum_version = VERSIONS[settings.max_version]
        chosen = [CIPHERS[name] for name in settings.cipher_suites if name in CIPHERS]
        if chosen:
            context.set_ciphers(":".join(chosen))
        elif settings.cipher_suites:  # none of TLS 1.2, which therefore cannot be spoken
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        if not settings.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if settings.curve:
            context.set_ecdh_curve(CURVES[settings.curve])
        # A client could have one handshake after the other otherwise.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        with _as_file(settings.certificate) as certificate, _as_file(settings.key) as key:
            # Without a password, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certificate, key, password="")
        if settings.client_authorities:
            # What stands between certificates may be in any language, and must be in ASCII here.
            text = settings.client_authorities.decode("latin-1").encode("ascii", "replace")
            context.load_verify_locations(cadata=text.decode())
        context.verify_mode = CLIENT_CERTIFICATES[settings.client_auth_type]

    @property
    def verifies_clients(self) -> bool:
        """Whether nobody comes in without a certificate that is verified."""
        return self._context.verify_mode is ssl.CERT_REQUIRED

    def wrap(self, sock: socket.socket) -> socket.socket:
        """The socket to speak through, before a byte is exchanged."""
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def shake_hands(self, sock: socket.socket) -> None:
        """Agree on keys and see who it is."""
        encrypted = cast(ssl.SSLSocket, sock)
        try:
            encrypted.do_handshake()
        except ssl.SSLError as error:
            _log.debug("tls_refused", reason=error.reason or str(error))
            if error.reason == "HTTP_REQUEST":
                with suppress(OSError):
                    socket.socket.sendall(sock, _SPEAK_TLS)
            raise
        if self._allowed:
            names = _names(encrypted)
            if not names & self._allowed:
                _log.debug("tls_refused", reason="no name is allowed", names=sorted(names))
                raise ConnectionAbortedError("no name of the client's certificate is allowed")

    def take_leave(self, sock: socket.socket) -> None:
        """Say that nothing more comes, without waiting for the client to say the same."""
        encrypted = cast(ssl.SSLSocket, sock)
        with suppress(OSError, ValueError):
            encrypted.setblocking(False)
            encrypted.unwrap()


_SPEAK_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: 24\r\n\r\nthis port speaks HTTPS\r\n"
)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path at which OpenSSL can read this, which never reaches a disk."""
    descriptor = os.memfd_create("neuron-exporter")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _names(sock: ssl.SSLSocket) -> set[str]:
    """The alternative names of the client's certificate."""
    listed: Any = (sock.getpeercert() or {}).get("subjectAltName", ())
    return {_normal(str(name)) for _, name in listed}


def _normal(name: str) -> str:
    """A name as it is compared: IPv6 addresses have several ways of writing."""
    try:
        return str(ip_address(name.strip()))
    except ValueError:
        return name
