"""What counts as CloudWatch's answer: botocore reads whatever comes, and takes it for a success."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from botocore.awsrequest import AWSResponse
from urllib3.exceptions import HTTPError

LONGEST_ANSWER = 64 * 1024
"""Bytes that are read of an answer, decoded; CloudWatch's have less than one KiB."""


class UnexpectedAnswer(Exception):
    """It is not CloudWatch's, or was lost on the way: nobody knows whether it was delivered."""


def watch(client: Any, operation: str, begin: Callable[[], None]) -> None:
    """Have the answers to an operation of this client read with a bound, and verified.

    `begin` is called when a request is signed, before a connection for it is looked for.
    """

    def send(request: Any, **_: object) -> AWSResponse | None:
        begin()
        session = _session_of(client)
        return None if session is None else _send(session, request)

    client.meta.events.register(f"before-send.cloudwatch.{operation}", send)
    client.meta.events.register(f"after-call.cloudwatch.{operation}", verify)


def verify(http_response: Any, **_: object) -> None:
    """See whether a success is CloudWatch's: a proxy's page has status 200, too.

    botocore reads no answer of an operation that gives nothing back. CloudWatch's is an empty JSON
    object, or nothing.

    Raises:
        UnexpectedAnswer: it is another's, or broke off.
    """
    if http_response.status_code >= 300:
        return  # botocore raises what it tells
    content = http_response.content
    length = http_response.headers.get("Content-Length")
    received = http_response.raw.tell()  # before decoding, as the length is
    if length is not None and length != str(received):
        raise UnexpectedAnswer(f"the answer broke off after {received} of {length} bytes")
    try:
        if content.strip():
            msgspec.json.decode(content, type=dict)
    except msgspec.MsgspecError as error:
        beginning = content[:60].decode("utf-8", "replace")
        raise UnexpectedAnswer(f"this is no answer of CloudWatch: {beginning!r}") from error


def _session_of(client: Any) -> Any:
    """What the client sends with; None where botocore has changed, which then sends by itself."""
    return getattr(getattr(client, "_endpoint", None), "http_session", None)


def _send(session: Any, request: Any) -> AWSResponse:
    """Send as botocore does, and read no more than an answer can have: it may have no end."""
    request.stream_output = True  # it is read here
    response = session.send(request)
    try:
        # CloudWatch compresses nothing, but a proxy may, and a refusal's code is to be read, too.
        content = response.raw.read(LONGEST_ANSWER + 1, decode_content=True)
    except HTTPError as error:  # botocore translates those of its own reading only
        raise UnexpectedAnswer(f"the answer was lost: {error}") from error
    if len(content) > LONGEST_ANSWER:
        response.raw.close()
        raise UnexpectedAnswer(f"the answer is longer than {LONGEST_ANSWER} bytes")
    body = _Read(content, response.raw.tell())
    return AWSResponse(response.url, response.status_code, response.headers, body)


class _Read:
    """A body that has been read: as urllib3's, as far as it is used."""

    def __init__(self, content: bytes, received: int) -> None:
        self._content = content
        self._received = received

    def tell(self) -> int:
        """Bytes that came for it."""
        return self._received

    def stream(self, *_: object) -> Iterator[bytes]:
        """All of it."""
        yield self._content
