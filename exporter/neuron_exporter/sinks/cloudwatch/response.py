"""Verification of CloudWatch's responses: botocore accepts any success status as delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from botocore.awsrequest import AWSResponse
from urllib3.exceptions import HTTPError

from neuron_exporter.sinks.delivery.transport import MAX_RESPONSE_SIZE, UnexpectedAnswer


def verify_responses(client: Any, operation: str, on_send: Callable[[], None]) -> None:
    """Limit the size of the responses to an operation of this client, and verify them.

    `on_send` is called when a request has been signed, before it is given a connection.
    """

    def send(request: Any, **_: object) -> AWSResponse | None:
        on_send()
        session = _session_of(client)
        return None if session is None else _send(session, request)

    client.meta.events.register(f"before-send.cloudwatch.{operation}", send)
    client.meta.events.register(f"after-call.cloudwatch.{operation}", verify)


def verify(http_response: Any, **_: object) -> None:
    """Check that a successful response is CloudWatch's: a proxy's page may have status 200 as well.

    botocore does not parse the response to an operation without output. CloudWatch's is empty or
    an empty JSON object.

    Raises:
        UnexpectedAnswer: the response is not CloudWatch's, or is truncated.
    """
    if http_response.status_code >= 300:
        return  # botocore raises the error
    content = http_response.content
    length = http_response.headers.get("Content-Length")
    received = http_response.raw.tell()  # before decoding, like the length
    if length is not None and length != str(received):
        raise UnexpectedAnswer(f"the response ended after {received} of {length} bytes")
    try:
        if content.strip():
            msgspec.json.decode(content, type=dict)
    except msgspec.MsgspecError as error:
        start = content[:60].decode("utf-8", "replace")
        raise UnexpectedAnswer(f"not a response of CloudWatch: {start!r}") from error


def _session_of(client: Any) -> Any:
    """Return the client's HTTP session, which is private; None if this botocore has none."""
    return getattr(getattr(client, "_endpoint", None), "http_session", None)


def _send(session: Any, request: Any) -> AWSResponse:
    """Send as botocore does, but limit the response, which may be endless."""
    request.stream_output = True  # the response is read here
    response = session.send(request)
    try:
        # CloudWatch does not compress, but a proxy may, and error codes must be readable.
        content = response.raw.read(MAX_RESPONSE_SIZE + 1, decode_content=True)
    except HTTPError as error:  # botocore translates only errors of its own reads
        raise UnexpectedAnswer(f"the response was lost: {error}") from error
    if len(content) > MAX_RESPONSE_SIZE:
        response.raw.close()
        raise UnexpectedAnswer(f"the response is longer than {MAX_RESPONSE_SIZE} bytes")
    body = _ReadBody(content, response.raw.tell())
    return AWSResponse(response.url, response.status_code, response.headers, body)


class _ReadBody:
    """A body that has been read, with the part of urllib3's interface that botocore uses."""

    def __init__(self, content: bytes, received: int) -> None:
        self._content = content
        self._received = received

    def tell(self) -> int:
        """Return the number of received bytes."""
        return self._received

    def stream(self, *_: object) -> Iterator[bytes]:
        """Yield the content."""
        yield self._content
