"""HTTP connections: TLS, proxies, and the limits of a response."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import PoolManager, ProxyManager, Timeout
from urllib3.exceptions import HTTPError, LocationParseError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse
from urllib3.util import make_headers

from neuron_exporter.proxies import is_local
from neuron_exporter.sinks.delivery.deadline import CONNECT_TIMEOUT, READ_TIMEOUT
from neuron_exporter.sinks.delivery.transport import MAX_RESPONSE_SIZE, UnexpectedAnswer

MAX_IDLE = 30.0
"""Seconds after which a kept connection is not used again. Many servers close it after a minute,
which is the default interval, and the request would be lost on the way. A new connection also
follows a name that has moved."""


class TlsFileError(Exception):
    """A PEM file cannot be used. The message names it."""


class Response(NamedTuple):
    """A response. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TlsFiles(NamedTuple):
    """PEM files: the trusted authorities (None: the system's), and the client's certificate and
    key."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def state(self) -> tuple[object, ...]:
        """Return what changes when a file is replaced."""
        return tuple(_state(path) for path in self if path)

    def context(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            TlsFileError: a file is missing or invalid.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ValueError) as error:
            raise TlsFileError(f"CA file {self.ca}: {_reason(error)}") from None
        if self.certificate:
            try:
                # Without a password argument, OpenSSL would prompt for one on the terminal.
                context.load_cert_chain(self.certificate, self.key, password="")
            except (OSError, ValueError) as error:
                names = " and ".join(filter(None, (self.certificate, self.key)))
                raise TlsFileError(f"client certificate {names}: {_reason(error)}") from None
        return context


class Connection:
    """A connection to one URL, which is kept between requests. For one thread at a time."""

    def __init__(self, url: str, files: TlsFiles) -> None:
        """Raises TlsFileError. The proxy is the one that the environment names."""
        self._url = url
        self._files = files
        self._state = files.state()
        context = files.context() if urlsplit(url).scheme == "https" else None
        self._pool = _open_pool(url, context)
        self._used_at = 0.0

    @property
    def is_outdated(self) -> bool:
        """Whether a PEM file has been replaced."""
        return self._files.state() != self._state

    def post(self, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a request, once, and read the response. Redirects are not followed.

        Raises:
            UnexpectedAnswer: the response was lost, or is too long.
            HTTPError: for all other failures (urllib3's).
        """
        if time.monotonic() - self._used_at > MAX_IDLE:
            self._pool.clear()
        response = self._pool.request(
            "POST",
            self._url,
            body=body,
            headers=headers,
            redirect=False,
            retries=False,
            preload_content=False,
        )
        try:
            content = _read(response)
        except BaseException:
            response.close()
            self._pool.clear()  # whatever has sent this response
            raise
        response.close()  # keeps the connection after a complete response
        self._used_at = time.monotonic()
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, lower, content)

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()


def proxy_of(url: str) -> str | None:
    """Return the URL of the proxy that the environment names for this URL; None without one, and
    for hosts that no proxy leads to."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if not proxy or is_local(parts.hostname or "") or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy.removeprefix('//')}"


def _open_pool(url: str, context: ssl.SSLContext | None) -> PoolManager:
    timeout = Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
    proxy = proxy_of(url)
    if proxy is None:
        return PoolManager(1, timeout=timeout, ssl_context=context)
    parts = urlsplit(proxy)
    basic = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    try:
        return ProxyManager(
            parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
            1,
            proxy_headers=make_headers(proxy_basic_auth=basic),
            timeout=timeout,
            ssl_context=context,
            proxy_ssl_context=context,
        )
    except LocationParseError:  # its message would show a part of the password
        raise LocationParseError("the proxy's URL in the environment") from None


def _read(response: BaseHTTPResponse) -> bytes:
    """Read the body. Of an error's, only a part may be read: its status is enough."""
    is_error = response.status >= 300
    try:
        # A receiver does not compress, but a proxy may, and messages must be readable.
        content = response.read(MAX_RESPONSE_SIZE + 1, decode_content=True)
    except ReadTimeoutError:
        raise
    except HTTPError as error:
        if is_error:
            return b""
        raise UnexpectedAnswer(f"the response was lost: {error}") from error
    if len(content) > MAX_RESPONSE_SIZE and not is_error:
        raise UnexpectedAnswer(f"the response is longer than {MAX_RESPONSE_SIZE} bytes")
    return content[:MAX_RESPONSE_SIZE]


def _state(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
