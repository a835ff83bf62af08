"""The pictures of the page in the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import opened_page
from tests.support.documents import links
from tests.support.exporter import RunningExporter, running_exporter, simulated

FOLDER = Path(__file__).parent / "files" / "page"
MAX_BYTES = 120_000
MIN_POINTS = 5
"""Reports needed for a visible line."""


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """A simulated trn1.32xlarge with mixed load."""
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
    [("light", "light", 1180, 760), ("dark", "dark", 1180, 760), ("phone", "light", 360, 740)],
)
def test_picture(
    browser: Browser,
    exporter: RunningExporter,
    request: pytest.FixtureRequest,
    name: str,
    scheme: str,
    width: int,
    height: int,
) -> None:
    """The page fits the picture's size and file size limit; `--update-golden` writes the
    pictures."""
    size = {"width": width, "height": height, "color_scheme": scheme}
    with opened_page(browser, exporter.url, **size) as page:  # type: ignore[arg-type]
        expect(page.locator(".cell")).to_have_count(32)
        expect(page.locator("#cloudwatch-state")).to_contain_text("Delivering")
        page.wait_for_function(
            "minimum => document.querySelector('.chart path').getAttribute('d').split('L').length"
            " > minimum",
            arg=MIN_POINTS,
        )
        picture = page.screenshot()
    assert len(picture) < MAX_BYTES
    path = FOLDER / f"{name}.png"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    golden = path.read_bytes()
    assert len(golden) < MAX_BYTES
    shape = int.from_bytes(golden[16:20], "big"), int.from_bytes(golden[20:24], "big")
    assert shape == (width, height)
    assert f"../tests/end_to_end/files/page/{name}.png" in links("docs/page-and-api.md")
