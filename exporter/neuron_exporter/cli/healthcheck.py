"""`neuron-exporter healthcheck`: check the health of the exporter in this container.

The container engine runs it once a minute, within the memory limit of the exporter. So it imports
argparse and http.client, and of the exporter only the command line and modules as small as
address_file.
"""

from __future__ import annotations

import argparse
import os
import signal
import ssl
from binascii import b2a_base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from neuron_exporter.address_file import local_address, read_address
from neuron_exporter.cli.common import FAILED, OK

SECONDS = 5.0
"""Time limit of the check."""

_DEFAULT = "http://127.0.0.1:9415"
_LISTEN = "NEURON_EXPORTER__PROMETHEUS__LISTEN"

_CONNECTION_LOST = (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)
"""Errors of a connection that broke. Their subclass `RemoteDisconnected` means that the server
closed it properly."""


class Unhealthy(Exception):
    """The reason why the exporter is unhealthy."""


class _CertificateRequired(Exception):
    """The server requires a client certificate."""


HELP_FORMATTER = partial(argparse.HelpFormatter, width=100)
"""A fixed width, since argparse would import all compression modules to get the terminal's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        metavar="URL",
        type=_url,
        help="URL of the exporter, such as https://user:password@127.0.0.1:9415",
    )
    parser.add_argument(
        "--deep", action="store_true", help="check readiness, source and sinks as well"
    )


def run(args: argparse.Namespace) -> int:
    """Print one line; return 0 if the exporter is healthy and 1 if it is not."""
    signal.signal(signal.SIGALRM, _on_timeout)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        url = args.url or _url(read_address() or _configured_url() or _DEFAULT)
        with _Client(url) as client:
            print(_check_deep(client) if args.deep else _check_liveness(client))
        return OK
    except Unhealthy as error:
        print(f"unhealthy: {error}")
    except argparse.ArgumentTypeError as error:
        print(f"unhealthy: the address of the exporter is unknown: {error}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return FAILED


def _on_timeout(*_: object) -> NoReturn:
    raise Unhealthy(f"no response within {SECONDS:g} s")


def _url(text: str) -> str:
    """Return the text; raise ArgumentTypeError unless it is a URL that can be checked."""
    shown = text.rpartition("@")[2]  # without a password
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be a URL such as http://127.0.0.1:9415 (got {shown!r})")


def _configured_url() -> str:
    """Return the local URL of the first listen address in the environment; empty if none is set."""
    text = os.environ.get(_LISTEN, "").strip()
    if text[:1] + text[-1:] == "[]":  # a list; the address "[::]:9415" ends with a digit
        text = text[1:-1].split(",")[0].strip().strip("\"'")
    if not text:
        return ""
    host, _, port = text.rpartition(":")
    return f"http://{local_address(host, port)}"


def _check_liveness(client: _Client) -> str:
    """Request /healthz and describe the response in a line; raise Unhealthy for an error."""
    try:
        status, message = client.get("/healthz")
    except _CertificateRequired:
        return f"healthy: {client.url} requires a client certificate; nothing else checked"
    if status == 200:
        return f"healthy: {client.url}"
    if status == 401:
        return f"healthy: {client.url} requires a password; nothing else checked"
    raise Unhealthy(f"{client.url}/healthz: {message or status}")


def _check_deep(client: _Client) -> str:
    """Request /healthz, /readyz and /metrics and describe the responses in a line; raise Unhealthy
    if one of them fails or reports a problem."""
    try:
        for path in ("/healthz", "/readyz"):
            status, message = client.get(path)
            if status == 401:
                raise Unhealthy(f"{client.url} requires a password: pass it in --url")
            if status != 200:
                raise Unhealthy(f"{client.url}{path}: {message or status}")
        problems = list(_find_problems(client.lines("/metrics")))
    except _CertificateRequired:
        reason = "requires a client certificate, which healthcheck cannot provide"
        raise Unhealthy(f"{client.url} {reason}") from None
    if problems:
        raise Unhealthy(", ".join(problems))
    return f"healthy: {client.url}, source and sinks"


def _find_problems(lines: Iterator[str]) -> Iterator[str]:
    """Yield the problems that the lines of an exposition show."""
    states, up = [], None
    for line in lines:
        name = line.partition("{")[0].partition(" ")[0]
        label = line.partition('"')[2].partition('"')[0]
        value = line.rpartition(" ")[2].strip()
        if name == "neuron_exporter_up":
            up = float(value) == 1
        elif name == "neuron_exporter_sink_up" and float(value) != 1:
            yield f"sink {label} is not up"
        elif name == "neuron_exporter_source_state" and float(value) == 1:
            states.append(label)
    if not up:
        yield f"the source is not up ({', '.join(states) or 'unknown'})"


class _Client:
    """Connection to the exporter. Requests raise Unhealthy if there is no response."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        """The URL without user and password."""
        self._headers = {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            credentials = b2a_base64(pair.encode(), newline=False).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            # Not verified: it names the host, not loopback, which cannot be intercepted.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._connection: HTTPConnection = HTTPSConnection(host, port, context=context)
        else:
            self._connection = HTTPConnection(host, port)

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str) -> tuple[int, str]:
        """Return status and first line of the response."""
        response = self._request(path)
        with self._reading(path):
            body = response.read(10_000).decode("utf-8", "replace")
        return response.status, body.partition("\n")[0]

    def lines(self, path: str) -> Iterator[str]:
        """Yield the lines of the response; raise Unhealthy if it is an error."""
        response = self._request(path)
        if response.status == 404:
            raise Unhealthy(f"{self.url}{path} is not served (prometheus.enabled)")
        if response.status != 200:
            raise Unhealthy(f"{self.url}{path}: {response.status}")
        with self._reading(path):
            for line in response:
                yield line.decode("utf-8", "replace")

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except (OSError, HTTPException) as error:
            raise Unhealthy(f"{self.url}{path}: {_reason(error)}") from None

    def _request(self, path: str) -> HTTPResponse:
        handshake_done = False
        try:
            if self._connection.sock is None:
                self._connection.connect()
            handshake_done = isinstance(self._connection, HTTPSConnection)
            self._connection.request("GET", path, headers=self._headers)
            return self._connection.getresponse()
        except (OSError, HTTPException, ValueError) as error:
            # TLS 1.2 requests the certificate in the handshake. TLS 1.3 sends an alert after it; if
            # the server closes before the alert was read, the connection is lost.
            alert = "CERTIFICATE_REQUIRED" in str(error) or "HANDSHAKE_FAILURE" in str(error)
            lost = isinstance(error, _CONNECTION_LOST) and not isinstance(error, HTTPException)
            if alert or (handshake_done and lost):
                raise _CertificateRequired from None
            raise Unhealthy(f"{self.url}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
