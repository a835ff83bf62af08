"""`neuron-exporter healthcheck`: asks the exporter of this container whether it lives.

An engine starts it once a minute, beside the exporter and within its memory: it imports argparse
and http.client, and nothing else that starting does not.
"""

from __future__ import annotations

import argparse
import os
import signal
import ssl
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from neuron_exporter.address_file import whereabouts

SECONDS = 5.0
"""For all of it, whatever hangs."""

_DEFAULT = "http://127.0.0.1:9415"
_LISTEN = "NEURON_EXPORTER__PROMETHEUS__LISTEN"
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared)
_WELL = "neuron_exporter_up", "neuron_exporter_sink_up"
_STATE = "neuron_exporter_source_state"


_ENDED = (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)
"""How a connection ends that is not closed in order: RemoteDisconnected, which is, is another."""


class Unwell(Exception):
    """Why the exporter is not well, for people."""


class _WantsCertificate(Exception):
    """The server speaks TLS, and only with those who have a certificate."""


def main(arguments: Sequence[str]) -> int:
    """Print one line; gives the exit status: 0 it is well, 1 it is not, 2 wrong use."""
    parser = argparse.ArgumentParser(
        prog="neuron-exporter healthcheck",
        description="Ask the exporter of this container whether it lives.",
        # Else the width of the terminal is asked for, which imports all that compresses.
        formatter_class=partial(argparse.HelpFormatter, width=100),
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        type=_url,
        help="where it listens, as in https://user:password@127.0.0.1:9415",
    )
    parser.add_argument(
        "--deep", action="store_true", help="ask for readiness, source and sinks as well"
    )
    parsed = parser.parse_args(arguments)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        url = parsed.url or _url(whereabouts() or _configured() or _DEFAULT)
        print(_deep(url) if parsed.deep else _alive(url))
    except Unwell as problem:
        print(f"not well: {problem}")
        return 1
    except argparse.ArgumentTypeError as error:
        print(f"not well: where it listens is not known: {error}")
        return 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def _out_of_time(*_: object) -> NoReturn:
    raise Unwell(f"no answer within {SECONDS:g} s")


def _url(text: str) -> str:
    """A URL of ours.

    Raises:
        ArgumentTypeError: it is none.
    """
    shown = text.rpartition("@")[2]  # without a password
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be a URL as http://127.0.0.1:9415 (got {shown!r})")


def _configured() -> str:
    """The URL of the first address that the environment gives, at which it can be reached here."""
    text = os.environ.get(_LISTEN, "").strip()
    if text[:1] + text[-1:] == "[]":  # a list, and no address: "[::]:9415" ends with a port
        text = text[1:-1].split(",")[0].strip().strip("\"'")
    if not text:
        return ""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    host = _EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _alive(url: str) -> str:
    """What /healthz says, in a line.

    Raises:
        Unwell: it says something bad, or nothing.
    """
    try:
        with _Client(url) as client:
            status, said = client.ask("/healthz")
    except _WantsCertificate:
        which = "those who have a certificate; nothing more was asked"
        return f"well: {_bare(url)} speaks TLS with {which}"
    if status == 200:
        return f"well: {_bare(url)}"
    if status == 401:
        return f"well: {_bare(url)} asks for a password; nothing more was asked"
    raise Unwell(f"{_bare(url)}/healthz: {said or status}")


def _deep(url: str) -> str:
    """What /healthz, /readyz and /metrics say, in a line.

    Raises:
        Unwell: one of them says something bad, or may not be asked.
    """
    try:
        with _Client(url) as client:
            for path in ("/healthz", "/readyz"):
                status, said = client.ask(path)
                if status == 401:
                    raise Unwell(f"{_bare(url)} asks for a password: give it with --url")
                if status != 200:
                    raise Unwell(f"{_bare(url)}{path}: {said or status}")
            bad = list(_unwell(client.lines("/metrics")))
    except _WantsCertificate:
        raise Unwell(f"{_bare(url)} wants a certificate, which a check has not") from None
    if bad:
        raise Unwell(", ".join(bad))
    return f"well: {_bare(url)}, its source and its sinks"


def _unwell(lines: Iterator[str]) -> Iterator[str]:
    """What an exposition names as not well."""
    states, up = [], None
    for line in lines:
        name = line.partition("{")[0].partition(" ")[0]
        label = line.partition('"')[2].partition('"')[0]
        value = line.rpartition(" ")[2].strip()
        if name == _WELL[0]:
            up = float(value) == 1
        elif name == _WELL[1] and float(value) != 1:
            yield f"sink {label} is not up"
        elif name == _STATE and float(value) == 1:
            states.append(label)
    if not up:
        yield f"the source is not up ({', '.join(states) or 'unknown'})"


class _Client:
    """One connection to the exporter."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = _bare(url)
        self._headers = {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            credentials = b2a_base64(pair.encode(), newline=False).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            # A certificate names the host for those outside; nobody is between us and loopback.
            trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            self._connection: HTTPConnection = HTTPSConnection(host, port, context=trusting)
        else:
            self._connection = HTTPConnection(host, port)

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, path: str) -> tuple[int, str]:
        """Status and first line of the answer.

        Raises:
            Unwell: there is none.
        """
        answer = self._get(path)
        return answer.status, answer.read(10_000).decode("utf-8", "replace").partition("\n")[0]

    def lines(self, path: str) -> Iterator[str]:
        """The lines of the answer.

        Raises:
            Unwell: there is none, or it is an error.
        """
        answer = self._get(path)
        if answer.status == 404:
            raise Unwell(f"{self._url}{path} is not served (prometheus.enabled)")
        if answer.status != 200:
            raise Unwell(f"{self._url}{path}: {answer.status}")
        try:
            for line in answer:
                yield line.decode("utf-8", "replace")
        except (OSError, HTTPException) as error:
            raise Unwell(f"{self._url}{path}: {_reason(error)}") from None

    def _get(self, path: str) -> HTTPResponse:
        is_shaken = False
        try:
            if self._connection.sock is None:
                self._connection.connect()
            is_shaken = isinstance(self._connection, HTTPSConnection)
            self._connection.request("GET", path, headers=self._headers)
            return self._connection.getresponse()
        except (OSError, HTTPException, ValueError) as error:
            # In TLS 1.2 it is asked for within the handshake. In 1.3 after it: with an alert, or
            # where the connection ends before that is read, with this end.
            asked = "CERTIFICATE_REQUIRED" in str(error) or "HANDSHAKE_FAILURE" in str(error)
            if asked or (
                is_shaken and isinstance(error, _ENDED) and not isinstance(error, HTTPException)
            ):
                raise _WantsCertificate from None
            raise Unwell(f"{self._url}: {_reason(error)}") from None


def _bare(url: str) -> str:
    """The URL without a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
