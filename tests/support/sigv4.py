"""Verification of AWS's signatures (SigV4), by computing them again."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from email.message import Message
from typing import NamedTuple

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

MAX_SKEW = 300
"""Seconds by which the time of a signature may differ from the service's."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)
_FORMAT = "%Y%m%dT%H%M%SZ"


class Credentials(NamedTuple):
    """Credentials of AWS that a test knows."""

    access_key: str = "test"
    secret_key: str = "test"  # noqa: S105
    token: str = ""


class BadSignature(Exception):
    """A rejected signature: AWS's error code, and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def verify_signature(
    method: str,
    path: str,
    headers: Message,
    body: bytes,
    *,
    credentials: Credentials,
    service: str,
    region: str,
    now: float,
) -> None:
    """Verify the signature of a request at a time (Unix seconds).

    Raises:
        BadSignature: it is missing, or AWS would reject it.
    """
    text = headers.get("Authorization", "")
    if not text:
        raise BadSignature("MissingAuthenticationToken", "the request is not signed")
    match = _AUTHORIZATION.fullmatch(text)
    if not match:
        raise BadSignature("IncompleteSignature", "Authorization has another form")
    key, day, signed_region, signed_service, names, signature = match.groups()
    signed = names.split(";")
    if key != credentials.access_key:
        raise BadSignature("UnrecognizedClientException", "unknown access key")
    if (signed_region, signed_service) != (region, service):
        scope = f"{signed_region}/{signed_service}"
        raise BadSignature("SignatureDoesNotMatch", f"scope: {scope}, not {region}/{service}")
    if (headers.get("X-Amz-Security-Token") or "") != credentials.token:
        raise BadSignature("UnrecognizedClientException", "the session token is another")
    required = {"host", "x-amz-date"} | ({"x-amz-security-token"} if credentials.token else set())
    unsigned = sorted(required - {*signed})
    if unsigned or signed != sorted(signed):
        raise BadSignature("SignatureDoesNotMatch", f"unsigned: {unsigned}, signed: {signed}")
    stamp = headers.get("X-Amz-Date", "")
    _verify_time(stamp, day, now)
    digest = headers.get("X-Amz-Content-SHA256")
    if digest is not None and digest != hashlib.sha256(body).hexdigest():
        raise BadSignature("SignatureDoesNotMatch", "the hash is not that of the body")
    request = AWSRequest(
        method,
        f"http://{headers['Host']}{path}",
        headers={name: headers.get(name, "") for name in signed},
        data=body,
    )
    request.context["timestamp"] = stamp
    auth = SigV4Auth(credentials, service, region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    if not hmac.compare_digest(auth.signature(text, request), signature):
        raise BadSignature("SignatureDoesNotMatch", "the calculated signature is another")


def _verify_time(stamp: str, day: str, now: float) -> None:
    try:
        time = datetime.strptime(stamp, _FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise BadSignature("IncompleteSignature", f"X-Amz-Date: {stamp!r}") from None
    if not stamp.startswith(day):
        raise BadSignature("SignatureDoesNotMatch", f"scope of {day} at {stamp}")
    if abs(time - now) > MAX_SKEW:
        raise BadSignature("InvalidSignatureException", f"signature expired: {stamp}")
