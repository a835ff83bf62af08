"""A directory with the driver's files, read while it changes."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from neuron_exporter.simulator.sysfs import Tree


def test_a_reader_sees_whole_values(tmp_path: Path) -> None:
    """While values change in length and their device vanishes and returns, none is seen in part."""
    values = ["1\n", "22222\n", f"{'3' * 300}\n"]
    seen: set[str] = set()
    is_done = threading.Event()

    def look() -> None:
        while not is_done.is_set():
            with suppress(FileNotFoundError):
                seen.add((tmp_path / "neuron0" / "stats" / "a").read_text())

    tree = Tree(tmp_path)
    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(600):
            text = values[number % len(values)]
            tree.write({} if number % 10 == 9 else {0: {"stats/a": text}})
    finally:
        is_done.set()
        reader.join()
    assert seen
    assert seen <= {*values}
