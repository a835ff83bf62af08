"""Classification of responses as OTLP/HTTP specifies it, and as AWS differs from it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from neuron_exporter.sinks.delivery import aws_errors
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.sinks.otlp.connection import Response
from neuron_exporter.text import safe_message

MAX_PAUSE = 3600.0
"""Maximum pause in seconds that a receiver may ask for."""

MAX_TEXT = 200
"""Maximum length of an error's text that is not in a known form, in characters."""

PARTIAL_SUCCESS = "PartialSuccess"
REDIRECT = "Redirect"
UNEXPECTED_ANSWER = "UnexpectedAnswer"

_CREDENTIALS = (401, 403, 407)
"""Statuses of rejected credentials, which may be replaced: of the receiver or of a proxy."""

_BUSY = (429, 502, 503, 504)
"""Statuses for which the specification demands a retry."""

_UNCERTAIN = (500, 502, 504)
"""Statuses of a service or gateway that may have processed the request."""

_AWS_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_XML_CODE = re.compile(rb"<Code>([A-Za-z0-9._-]{1,64})</Code>")

_SAME_TIME = 300.0
"""Seconds by which the clocks may differ, as in signatures of AWS."""

Mask = Callable[[str], str]
"""Hides secrets in a text."""


class Classified(NamedTuple):
    """An outcome, and the number of data points that a receiver rejected of a delivered request."""

    outcome: Outcome
    rejected_points: int = 0


def classify(response: Response, mask: Mask = lambda text: text) -> Classified:
    """Return what becomes of the request. `mask` hides secrets in texts of the receiver."""
    status = response.status
    if 200 <= status < 300:
        return _classify_success(response, mask)
    if 300 <= status < 400:
        return Classified(_retry(REDIRECT, _redirect_message(response, mask)))
    if not 400 <= status < 600:
        return unexpected(f"status {status} is not one of HTTP")
    return Classified(_classify_error(response, mask))


def has_same_time(response: Response) -> bool:
    """Return whether the response shows that the receiver's clock agrees with ours."""
    now = _unix_time(response.headers.get("date", ""))
    return now is not None and abs(now - time.time()) <= _SAME_TIME


def unexpected(message: str) -> Classified:
    """Return the outcome of a response that is not a receiver's. The request may have arrived."""
    message = safe_message(message)
    return Classified(Outcome(Verdict.RETRY, UNEXPECTED_ANSWER, message, ambiguous=True))


def _classify_success(response: Response, mask: Mask) -> Classified:
    """Check that the response is a receiver's: a proxy's page may have status 200 as well."""
    if not response.body.strip():
        return Classified(Outcome(Verdict.DELIVERED))
    parsed = _parse_success(response)
    if parsed is None:
        start = mask(response.body.decode("utf-8", "replace"))[:60]
        return unexpected(f"not a response of OTLP: {start!r}")
    rejected, text = parsed
    message = safe_message(mask(text))
    if rejected <= 0:  # a message is a warning then
        return Classified(Outcome(Verdict.DELIVERED, message=message))
    noun = "data point was" if rejected == 1 else "data points were"
    message = f"{rejected} {noun} rejected: {message or 'without a reason'}"
    return Classified(Outcome(Verdict.DELIVERED, PARTIAL_SUCCESS, message), rejected)


def _parse_success(response: Response) -> tuple[int, str] | None:
    """Return the number of rejected points and a message; None for another kind of response."""
    kind = _media_type(response.headers)
    if kind.startswith("text/"):
        return None
    if kind == "application/json" or (not kind and response.body.lstrip().startswith(b"{")):
        return _parse_json_success(response.body)
    if not response.body:
        return 0, ""
    # Imported by the first response with content: protobuf costs memory.
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceResponse,
    )

    try:
        partial = ExportMetricsServiceResponse.FromString(response.body).partial_success
    except DecodeError:
        return None
    return partial.rejected_data_points, partial.error_message


def _parse_json_success(body: bytes) -> tuple[int, str] | None:
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
        if document.keys() - {"partialSuccess"}:  # a gateway's
            return None
        partial = msgspec.convert(document.get("partialSuccess"), dict[str, Any] | None) or {}
        # 64-bit integers are strings in the JSON form of protobuf.
        rejected = msgspec.convert(partial.get("rejectedDataPoints", 0), int, strict=False)
    except msgspec.MsgspecError:
        return None
    return rejected, str(partial.get("errorMessage", ""))


def _classify_error(response: Response, mask: Mask) -> Outcome:
    status, headers = response.status, response.headers
    code, text = _describe(response, mask)
    message = f"HTTP {status}: {safe_message(text)}" if text else f"HTTP {status}"
    pause = _pause(headers)
    if status in _CREDENTIALS or code in aws_errors.CREDENTIALS | aws_errors.TRANSIENT:
        return _retry(code, message, pause)
    if status in _BUSY:
        return _retry(code, message, pause, ambiguous=status in _UNCERTAIN)
    if status == 500:  # the specification demands no retry: the request may be the cause
        return Outcome(Verdict.RETRY, code, message, ambiguous=True, retry_after=pause)
    return Outcome(Verdict.REJECTED, code, message)


def _retry(code: str, message: str, pause: float = 0.0, *, ambiguous: bool = False) -> Outcome:
    return Outcome(
        Verdict.RETRY, code, message, ambiguous=ambiguous, of_request=False, retry_after=pause
    )


def _describe(response: Response, mask: Mask) -> tuple[str, str]:
    """Return the code of an error and its message, which is google.rpc.Status, an error of AWS as
    JSON or XML, or text."""
    kind, body = _media_type(response.headers), response.body
    code = response.headers.get("x-amzn-errortype", "")
    text = ""
    if kind in ("application/x-protobuf", "application/protobuf"):
        text = _status_message(body)
    elif (document := _json_object(body)) is not None:
        code = code or str(document.get("__type") or document.get("code") or "")
        texts = [document.get(name) for name in ("message", "Message", "error")]
        text = next((each for each in texts if isinstance(each, str)), "")
    else:
        text = " ".join(mask(body.decode("utf-8", "replace")).split())[:MAX_TEXT]
        if found := _XML_CODE.search(body):
            code = code or found[1].decode()
    # A type can have a namespace before, and a URL after.
    name = code.partition(":")[0].rpartition("#")[2]
    return name if _AWS_CODE.fullmatch(name) else f"HTTP{response.status}", mask(text)


def _status_message(body: bytes) -> str:
    """Return the message of a google.rpc.Status. Its fields 1 and 2 have the types of those of
    ExportMetricsPartialSuccess."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsPartialSuccess,
    )

    try:
        return ExportMetricsPartialSuccess.FromString(body).error_message
    except DecodeError:
        return ""


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _redirect_message(response: Response, mask: Mask) -> str:
    target = mask(response.headers.get("location", ""))
    try:
        parts = urlsplit(target)
    except ValueError:
        parts = urlsplit("")
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
    return f"HTTP {response.status}: redirects are not followed{place and f': to {place}'}"


def _pause(headers: Mapping[str, str]) -> float:
    """Return the seconds of Retry-After: a number, or a date by the receiver's clock."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), MAX_PAUSE)
    until = _unix_time(text)
    now = _unix_time(headers.get("date", "")) or time.time()
    return 0.0 if until is None else min(max(until - now, 0.0), MAX_PAUSE)


def _unix_time(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
