"""Compression of responses with gzip."""

from __future__ import annotations

from collections.abc import Iterable

try:
    from isal import isal_zlib as zlib
except ImportError:  # isal is installed on amd64 only
    import zlib  # type: ignore[no-redef]

_LEVEL = 1
_GZIP = 31  # zlib's `wbits` for the format of gzip with the largest window


def compress(parts: Iterable[bytes]) -> bytes:
    """Return the concatenation of the parts, compressed."""
    compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
    return b"".join((*map(compressor.compress, parts), compressor.flush()))


def accepts_gzip(header: str) -> bool:
    """Return whether an Accept-Encoding header allows gzip. A named coding overrides "*"."""
    allowed = {}
    for part in header.lower().split(","):
        coding, _, quality = part.partition(";")
        is_zero = quality.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        allowed[coding.strip()] = not is_zero
    return allowed.get("gzip", allowed.get("*", False))
