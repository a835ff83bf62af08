"""The pictures of the page in README: made by these tests, and small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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


@pytest.mark.parametrize(
    ("name", "scheme", "width", "height"),
    [("light", "light", 1180, 640), ("dark", "dark", 1180, 640), ("phone", "light", 360, 740)],
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
        picture = page.screenshot()
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
