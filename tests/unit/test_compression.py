"""isal and zlib compress to the same text."""

from __future__ import annotations

import gzip
import platform
import subprocess
import sys

import pytest

from neuron_exporter.compression import FAST, SMALL, compress

LINES = [f'metric{{label="{number % 7}"}} {number / 3!r}\n'.encode() for number in range(20_000)]
PARTS = [b"".join(LINES[start : start + 700]) for start in range(0, len(LINES), 700)]

WITHOUT_ISAL = """
import sys
sys.modules["isal"] = None
from neuron_exporter.compression import FAST, compress, zlib
assert zlib.__name__ == "zlib"
sys.stdout.buffer.write(compress(sys.stdin.buffer.readlines(), FAST))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="isal is required on amd64 only")
def test_isal_is_used_where_it_is_required() -> None:
    from neuron_exporter.compression import zlib

    assert zlib.__name__ == "isal.isal_zlib"


@pytest.mark.parametrize("parts", [[], [b""], [b"one"], [b"", b"one", b"", b"two"], PARTS])
@pytest.mark.parametrize("level", [FAST, SMALL])
def test_parts_are_one_text(parts: list[bytes], level: int) -> None:
    assert gzip.decompress(compress(parts, level)) == b"".join(parts)


def test_same_text_without_isal() -> None:
    """Where isal is not installed, zlib writes the same text, and about as many bytes."""
    text = b"".join(PARTS)
    packed = subprocess.run(
        [sys.executable, "-c", WITHOUT_ISAL], input=text, stdout=subprocess.PIPE, check=True
    ).stdout
    assert gzip.decompress(packed) == gzip.decompress(compress(PARTS, FAST)) == text
    assert len(compress(PARTS, FAST)) < 2 * len(packed) < len(text)
