"""TLS connections with Python's ssl module."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, cast

from neuron_exporter.log import get_logger
from neuron_exporter.web.certificate import certificates, first_expiry
from neuron_exporter.web.config_schema import (
    CIPHERS,
    CLIENT_CERTIFICATES,
    CURVES,
    VERSIONS,
    TlsServerConfig,
)
from neuron_exporter.web.protection import Protection

_log = get_logger(part="http")


class ServerTls:
    """TLS of a server with one certificate."""

    def __init__(
        self, config: TlsServerConfig, certificate: bytes, key: bytes, client_ca: bytes
    ) -> None:
        """Build the TLS context from the settings and the content of their PEM files.

        Raises:
            ssl.SSLError: OpenSSL rejects a setting.
        """
        self._allowed_sans = frozenset(map(_normalize, config.client_allowed_sans or ()))
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[config.min_version]
        context.maximum_version = VERSIONS[config.max_version]
        chosen = [CIPHERS[name] for name in config.cipher_suites if name in CIPHERS]
        if chosen:
            context.set_ciphers(":".join(chosen))
        elif config.cipher_suites:  # only suites of TLS 1.3, hence no TLS 1.2
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        if not config.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        for curve in config.curve_preferences:
            context.set_ecdh_curve(CURVES[curve])
        # Otherwise a client could request one handshake after another.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        with _as_file(certificate) as certificate_path, _as_file(key) as key_path:
            # Without a password argument, OpenSSL would prompt for one on the terminal.
            context.load_cert_chain(certificate_path, key_path, password="")
        if client_ca:
            # `cadata` must be ASCII, but text between the certificates may be anything.
            text = client_ca.decode("latin-1").encode("ascii", "replace")
            context.load_verify_locations(cadata=text.decode())
        context.verify_mode = CLIENT_CERTIFICATES[config.client_auth_type]
        self.protections = dict(_protections(config, context, client_ca))
        """The settings that protect from clients, by key."""
        self.expires_at = first_expiry(certificate)
        """Unix time at which the first certificate of the chain expires; NaN if unreadable."""

    @property
    def verifies_clients(self) -> bool:
        """Whether every client must present a certificate that is verified."""
        return self._context.verify_mode is ssl.CERT_REQUIRED

    def wrap(self, sock: socket.socket) -> socket.socket:
        """Return a TLS socket, before the handshake. Raises OSError if the client has left."""
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def handshake(self, sock: socket.socket) -> None:
        """Perform the handshake and check the names of the client's certificate.

        Raises:
            OSError: the handshake failed, or no name is allowed.
        """
        tls_socket = cast(ssl.SSLSocket, sock)
        try:
            tls_socket.do_handshake()
        except ssl.SSLError as error:
            _log.debug("tls_handshake_failed", reason=error.reason or str(error))
            if error.reason == "HTTP_REQUEST":
                with suppress(OSError):
                    socket.socket.sendall(sock, _HTTPS_REQUIRED)
            raise
        if self._allowed_sans:
            names = _names(tls_socket)
            if not names & self._allowed_sans:
                _log.debug(
                    "tls_handshake_failed",
                    reason="no certificate name is allowed",
                    names=sorted(names),
                )
                raise ConnectionAbortedError("no name of the client certificate is allowed")

    def close_notify(self, sock: socket.socket) -> None:
        """Send close_notify, so that the client sees no truncation. Never blocks."""
        tls_socket = cast(ssl.SSLSocket, sock)
        with suppress(OSError, ValueError):
            tls_socket.setblocking(False)
            tls_socket.unwrap()


def _protections(
    config: TlsServerConfig, context: ssl.SSLContext, client_ca: bytes
) -> Iterator[tuple[str, Protection]]:
    """Yield what each setting admits, after defaults and what settings imply."""
    policy = Protection(config.client_auth_type, _CLIENTS[context.verify_mode])
    yield "tls_server_config.client_auth_type", policy
    if client_ca:
        authorities = map(_fingerprint, certificates(client_ca))
        yield "tls_server_config.client_ca_file", _one_of(authorities, "every authority")
    names = map(_normalize, config.client_allowed_sans or ())
    yield "tls_server_config.client_allowed_sans", _one_of(names, "every name")
    has_tls12 = context.minimum_version is ssl.TLSVersion.TLSv1_2
    versions = ("TLS12", "TLS13") if has_tls12 else ("TLS13",)
    yield "tls_server_config.min_version", Protection(versions[0], frozenset(versions))
    if has_tls12:
        ciphers = {str(each["name"]) for each in context.get_ciphers()}
        chosen = ", ".join(config.cipher_suites) or "the default"
        yield "tls_server_config.cipher_suites", Protection(chosen, frozenset(ciphers))
    yield "tls_server_config.curve_preferences", _one_of(config.curve_preferences, "every curve")


_CLIENTS: dict[ssl.VerifyMode, frozenset[str] | None] = {
    ssl.CERT_NONE: None,
    ssl.CERT_OPTIONAL: frozenset({"verified", "without certificate"}),
    ssl.CERT_REQUIRED: frozenset({"verified"}),
}
"""The clients that a verification mode admits."""


def _one_of(names: Iterable[str], otherwise: str) -> Protection:
    """Return a setting that admits only these, or everything if there are none."""
    chosen = frozenset(names)
    return Protection(", ".join(sorted(chosen)) or otherwise, chosen or None)


def _fingerprint(certificate: bytes) -> str:
    """Return what `openssl x509 -fingerprint -sha256` prints."""
    digest = sha256(certificate).hexdigest().upper()
    return ":".join(digest[each : each + 2] for each in range(0, len(digest), 2))


_HTTPS_REQUIRED = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: 24\r\n\r\nthis port speaks HTTPS\r\n"
)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Provide content as a path that OpenSSL can read, without writing it to disk."""
    descriptor = os.memfd_create("neuron-exporter")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _names(sock: ssl.SSLSocket) -> set[str]:
    """Return the subject alternative names of the client's certificate."""
    alternative_names: Any = (sock.getpeercert() or {}).get("subjectAltName", ())
    return {_normalize(str(name)) for _, name in alternative_names}


def _normalize(name: str) -> str:
    """Return a name in canonical form; an IPv6 address can be written in several ways."""
    try:
        return str(ip_address(name.strip()))
    except ValueError:
        return name
