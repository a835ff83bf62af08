"""Durations, sizes, truncated values and sanitized text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.text import (
    MAX_LENGTH,
    format_duration,
    mask_credentials,
    mask_secrets,
    parse_duration,
    parse_size,
    sanitize_text,
    shown_value,
    truncated_repr,
)

# Durations and sizes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("14d", 14 * 86400),
        ("1d2h3m4s5ms", 93784.005),
        ("0s", 0),
    ],
)
def test_parse_duration(text: str, seconds: float) -> None:
    """A duration is one or more numbers with units."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "s",
        "5 s",
        "5S",
        "-5s",
        "+5s",
        "1e3s",
        ".5s",
        "5.s",
        "5s ",
        "5s\n",
        "5µs",
        "\N{ARABIC-INDIC DIGIT FIVE}s",
    ],
)
def test_invalid_durations(text: str) -> None:
    """The error contains examples."""
    with pytest.raises(ValueError, match=r'must be a duration such as "5s", "500ms", "1m30s"'):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_format_and_parse_duration(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.005, "5ms"),
        (0.1 + 0.2, "300ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (60, "1m"),
        (90, "90s"),
        (5400, "90m"),
        (86400, "1d"),
        (1234567.5, "1234567.5s"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    """The largest unit without a fraction is used, and never an exponent."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("16MiB", 16 * 2**20),
        ("16 MiB", 16 * 2**20),
        ("64kB", 64_000),
        ("1.5GiB", 3 * 2**29),
        ("0.1kB", 100),
        ("10B", 10),
        ("65536", 65536),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_parse_size(text: str, count: int) -> None:
    """kB is 1,000 bytes, KiB is 1,024, and a number alone is in bytes."""
    assert parse_size(text) == count


def test_parse_huge_size() -> None:
    assert parse_size("9" * 400 + "GiB") > 10**400


@pytest.mark.parametrize(
    "text", ["", "MiB", "16mib", "16 M", "-1B", "1e3B", "1.5", "16MiB ", "\N{SUPERSCRIPT TWO}B"]
)
def test_invalid_sizes(text: str) -> None:
    """The error contains examples."""
    with pytest.raises(ValueError, match='must be a size such as "16MiB"'):
        parse_size(text)


# Values and untrusted text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("a\nb", r"'a\nb'"),
        ([1, None], "[1, None]"),
        ("x" * 18, f"'{'x' * 18}'"),
        ("x" * 19, f"'{'x' * 18}…"),
        ("x" * 2**20, f"'{'x' * 18}…"),
        ([[[[[[[[1]]]]]]]], "[[[[[[[...]]]]]]]"),
        (10**5000, "a number with thous…"),
    ],
    ids=lambda value: str(value)[:12] if isinstance(value, str) else type(value).__name__,
)
def test_truncated_repr(value: Any, text: str) -> None:
    """Long and deep values are shortened to the given length."""
    assert truncated_repr(value, 20) == text


@given(st.text())
def test_sanitized_text_is_one_short_printable_line(text: str) -> None:
    assert sanitize_text(text).isprintable()
    assert len(sanitize_text(text)) <= MAX_LENGTH
    assert sanitize_text(sanitize_text(text)) == sanitize_text(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=MAX_LENGTH))
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert sanitize_text(text) == text


# Secrets


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://user:secret@host/x, https://token@b", "http://***@host/x, https://***@b"),
        ("mail to user@host, or http://host/a@b", "mail to user@host, or http://host/a@b"),
    ],
)
def test_mask_credentials(text: str, masked: str) -> None:
    """Only the part before the host of a URL is replaced."""
    assert mask_credentials(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "curl -H 'Authorization: Bearer §' host",
        "Authorization=Basic §",
        '"proxy-authorization": "§"',
        "X-aws-ec2-metadata-token: §",
        "--auth §",
        "--AUTH=§",
        "-auth §",
        "['--token', '§']",
        '["--api-key", "§"]',
        "https://host/?sig=§",
        "https://host/?a=1&X-Amz-Signature=§",
        "http://me:§@host/",
        '{"password": "§"}',
        "password: §",
        "password='two §'",
        '--password "two §"',
        "--pass §",
        "pwd=§",
        "passphrase=§",
        "password=a,§",
        r'"command: --password \"§\""',
        r'"command: password=\"two §\""',
        r'"{\"token\": \"§\"}"',
        "X-Api-Key: §",
        "api_key: 1234§",
        "token: §1234",
        "AWS_SECRET_ACCESS_KEY=§",
        "AWS4-HMAC-SHA256 Signature=§",
    ],
)
def test_named_secrets_are_masked(text: str) -> None:
    masked = mask_secrets(f"before {text.replace('§', 'geheim')} after")
    assert "geheim" not in masked
    assert masked.startswith("before ")


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "eyJhbGciOiJI.eyJzdWIi.c2ln",
        "bearer 4f3c2b1a",
    ],
)
def test_keys_are_masked(secret: str) -> None:
    assert mask_secrets(f'"{secret}" after').endswith('***" after')


@pytest.mark.parametrize(
    "text",
    [
        "no token: no answer within 1 s",
        "it requires a password, which the configuration does not have",
        "basic authentication, bearer tokens",
        "author=me design=x signal=9",
        "passed=3 bypass=1 compass=n",
        "token: HTTP 403",
        "/sys/devices/virtual/neuron_device/neuron0/core_count",
        "the secret does not belong to the access key, or the clock is wrong",
        "7f3a9c0d1e2b4f5a6978808182838485868788898a8b8c8d8e8f909192939495",
    ],
)
def test_harmless_text_is_not_masked(text: str) -> None:
    assert mask_secrets(text) == text


@given(st.text())
def test_masking_twice_changes_nothing(text: str) -> None:
    assert mask_secrets(mask_secrets(text)) == mask_secrets(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("us east", "'us east'"),
        ("${STAGE:-geheim}", "a text of 16 characters"),
        (5, "5"),
        (None, "null"),
        ([], "[]"),
        (["me:geheim@host"], "a list"),
        ({"geheim": 1}, "a mapping"),
        ("https://me:geheim@host", "a text of 22 characters"),
        ("neuron-monitor --token=geheim", "a text of 29 characters"),
        ("neuron-monitor -pgeheim", "a text of 23 characters"),
        ("token geheim", "a text of 12 characters"),
        ("AKIAIOSFODNN7EXAMPLE", "a text of 20 characters"),
        ("https://host/?sig=geheim", "a text of 24 characters"),
    ],
)
def test_shown_value(value: Any, shown: str) -> None:
    """Numbers and plain texts are shown, of other values only the type."""
    assert shown_value(value) == shown
