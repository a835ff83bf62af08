"""The pictures of the page in README: made by these tests, and small."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import looked_at
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.readme import TEXT

FOLDER = Path(__file__).parent / "files" / "page"
LARGEST = 120_000
WARM = 5
"""Reports after which there is a line to see."""


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """A simulated trn1.32xlarge on which different things go on."""
    config = {
        "source": simulated("--instance-type", "trn1.32xlarge", "--scenario", "mixed"),
        "identity": {"imds": False, "ecs": False, "cluster": "training-east"},
        "cloudwatch": {"enabled": True, "transport": "emf", "flush_interval": "1s"},
    }
    folder = tmp_path_factory.mktemp("pictures")
    with (
        (folder / "metrics.ndjson").open("wb") as output,
        running_exporter(folder, config, stdout=output) as started,
    ):
        started.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        yield started


def packed(png: bytes) -> bytes:
    """The same picture, its data compressed as well as zlib can: Chromium is in a hurry."""
    chunks, data, at = [], b"", 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            data += content
        else:
            chunks.append((kind, content))
        at += 12 + length
    chunks.insert(-1, (b"IDAT", zlib.compress(zlib.decompress(data), 9)))
    return png[:8] + b"".join(
        len(content).to_bytes(4, "big") + kind + content + crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    )


@pytest.mark.parametrize(
    ("name", "scheme", "width", "height"),
    [("light", "light", 1180, 790), ("dark", "dark", 1180, 790), ("phone", "light", 360, 740)],
)
def test_a_picture(
    browser: Browser,
    exporter: RunningExporter,
    request: pytest.FixtureRequest,
    name: str,
    scheme: str,
    width: int,
    height: int,
) -> None:
    """README shows the page of today in light, dark and on a phone, each below 120 kB, with what it
    shows in words beside it; `--update-golden` makes the pictures anew."""
    size = {"width": width, "height": height, "color_scheme": scheme}
    with looked_at(browser, exporter.url, **size) as page:  # type: ignore[arg-type]
        expect(page.locator(".cell")).to_have_count(32)
        expect(page.locator("#cloudwatch-state")).to_contain_text("Delivering")
        page.wait_for_function(
            "least => document.querySelector('polyline').points.length >= least", arg=WARM
        )
        picture = packed(page.screenshot())
    assert len(picture) < LARGEST
    path = FOLDER / f"{name}.png"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    kept = path.read_bytes()
    assert len(kept) < LARGEST
    shape = int.from_bytes(kept[16:20], "big"), int.from_bytes(kept[20:24], "big")
    assert shape == (width, height)
    assert f"](tests/end_to_end/files/page/{name}.png)" in TEXT
