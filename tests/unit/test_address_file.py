from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuron_exporter.address_file import AddressFile, read_address
from neuron_exporter.run_directory import RUN_DIRECTORY_VARIABLE


def test_failed_write_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that was full."""
    monkeypatch.setenv(RUN_DIRECTORY_VARIABLE, str(tmp_path))
    file = AddressFile()
    (folder,) = tmp_path.iterdir()
    (folder / "url").mkdir()
    file.write("http://127.0.0.1:9415")
    assert read_address() == ""
    os.rmdir(folder / "url")
    file.write("http://127.0.0.1:9415")
    assert read_address() == "http://127.0.0.1:9415"
