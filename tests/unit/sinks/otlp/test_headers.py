"""Values of additional headers are read from files, checked, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuron_exporter.sinks.otlp.headers import (
    MAX_LENGTH,
    HeaderError,
    mask_values,
    read_headers,
)
from neuron_exporter.sinks.otlp.settings import HeaderFile, TransportSettings


def test_values_are_read(tmp_path: Path) -> None:
    token, link = tmp_path / "token", tmp_path / "link"
    token.write_text("  Bearer x\r\n\n")
    link.symlink_to(token)  # as in a volume of Kubernetes
    headers = {"A": HeaderFile(str(link)), "B": "plain"}
    assert read_headers(headers) == {"A": "Bearer x", "B": "plain"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hidden\nX: hidden", "must be one line of printable ASCII characters"),
        (b"hidden\0", "must be one line of printable ASCII characters"),
        ("hidden\N{SNOWMAN}".encode(), "must be one line of printable ASCII characters"),
        (b"x" * (MAX_LENGTH + 1), f"is longer than {MAX_LENGTH} bytes"),
    ],
)
def test_illegal_values_are_named_and_not_shown(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(HeaderError) as raised:
        read_headers({"A": HeaderFile(str(path))})
    assert str(raised.value) == f"header A: file {path}: {problem}"
    if len(content) <= MAX_LENGTH:
        with pytest.raises(HeaderError, match=f"^header A: {problem}$"):
            read_headers({"A": content.decode().strip()})


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, problem in (
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path, "is not a regular file"),
        (pipe, "is not a regular file"),  # nothing waits for its writer
        (pipe / "below", "Not a directory"),
    ):
        with pytest.raises(HeaderError, match=f"^header A: file {path}: {problem}$"):
            read_headers({"A": HeaderFile(str(path))})


def test_words_of_values_are_masked() -> None:
    text = "no tenant 7: Bearer abcdef is not abcdefg"
    assert mask_values(text, ["Bearer abcdef", "7"]) == "no tenant 7: *** is not ***g"
    assert mask_values(text, []) == text


def test_short_values_are_masked_as_a_whole() -> None:
    assert mask_values("key a1b2 is wrong", ["a1b2"]) == "key *** is wrong"


def test_settings_do_not_show_headers() -> None:
    settings = TransportSettings(endpoint="http://collector", headers={"A": "hidden"})
    assert "hidden" not in repr(settings)
