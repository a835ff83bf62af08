"""Expiry of certificates. Python's ssl module returns it only for those of a peer."""

from __future__ import annotations

import math
import re
from binascii import a2b_base64
from collections.abc import Iterator
from datetime import UTC, datetime

_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----(.*?)-----END", re.DOTALL)
_VERSION, _UTC_TIME = 0xA0, 0x17
_FIELDS_BEFORE_VALIDITY = 3  # serial number, signature algorithm, issuer


def certificates(pem: bytes) -> Iterator[bytes]:
    """Yield the certificates of PEM text, in DER."""
    return (a2b_base64(each[1]) for each in _PEM.finditer(pem))


def first_expiry(pem: bytes) -> float:
    """Return the Unix time at which the first of the certificates expires.

    NaN if a date is unreadable: OpenSSL accepts more formats than RFC 5280, and some nonsense.
    """
    try:
        return min(map(expiry, certificates(pem)))
    except (IndexError, ValueError):
        return math.nan


def expiry(certificate: bytes) -> float:
    """Return the Unix time at which a certificate (in DER, RFC 5280) expires."""
    _, outer, _ = _element(certificate, 0)
    _, at, _ = _element(certificate, outer)
    tag, _, end = _element(certificate, at)
    if tag == _VERSION:
        at = end
    for _ in range(_FIELDS_BEFORE_VALIDITY):
        _, _, at = _element(certificate, at)
    _, not_before, _ = _element(certificate, at)
    _, _, not_after = _element(certificate, not_before)
    tag, begin, end = _element(certificate, not_after)
    text = certificate[begin:end].decode("ascii")
    if tag == _UTC_TIME:  # its year has two digits
        text = ("19" if text >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return the tag of the element at this position, and where its content begins and ends."""
    tag, length, begin = der[at], der[at + 1], at + 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin], "big")
    return tag, begin, begin + length
