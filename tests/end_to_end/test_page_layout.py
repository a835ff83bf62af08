"""What a reader of the page sees: history, colors, whole words, and the cores on a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import opened_page
from tests.support.exporter import RunningExporter, running_exporter, simulated

PHONE = (390, 844)
BROKEN_WORDS = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    for (const word of node.textContent.matchAll(/[^\\s\\-\\u2013]+/g)) {
      if (word[0].includes("/")) continue;
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const tops = [...range.getClientRects()].filter((box) => box.width).map((box) => box.top);
      if (Math.max(...tops) - Math.min(...tops) > 4) found.push(word[0]);
    }
  }
  return found;
}"""
LEVELS = """() => [...Array(11).keys()].map((level) => {
  const cell = document.querySelector(".cell");
  cell.dataset.level = String(level);
  const linear = getComputedStyle(cell).backgroundColor.match(/[\\d.]+/g).slice(0, 3)
    .map((part) => part / 255)
    .map((part) => part <= .04 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
  return .2126 * linear[0] + .7152 * linear[1] + .0722 * linear[2];
})"""


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """A simulated trn1.32xlarge with all names that CloudWatch can have."""
    folder = tmp_path_factory.mktemp("layout")
    config = {
        "source": simulated("--instance-type", "trn1.32xlarge", "--scenario", "mixed"),
        "identity": {"imds": False, "ecs": False},
        "cloudwatch": {
            "enabled": True,
            "transport": "emf",
            "preset": "full",
            "flush_interval": "1s",
        },
    }
    with (
        (folder / "metrics.ndjson").open("wb") as output,
        running_exporter(folder, config, stdout=output) as started,
    ):
        started.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        yield started


@pytest.mark.parametrize("width", [360, 390, 768, 1280, 1600])
def test_words_are_whole(browser: Browser, exporter: RunningExporter, width: int) -> None:
    with opened_page(browser, exporter.url, width=width) as page:
        for summary in ("#published", "#errors-never", "#all"):
            page.locator(f"{summary} summary").click()
        expect(page.locator("#published-names")).to_contain_text("NeuronDeviceMemoryUtilization")
        assert page.evaluate(BROKEN_WORDS) == []


def test_history(browser: Browser, exporter: RunningExporter) -> None:
    """Three lines grow with every report, and begin again with the next visit."""
    with opened_page(browser, exporter.url) as page:
        expect(page.locator(".chart strong")).to_have_text(
            ["Utilization", "Executions/s", "Latency p99"]
        )
        page.wait_for_function(
            "() => [...document.querySelectorAll('.chart path')]"
            ".every(path => path.getAttribute('d').split('L').length > 3)"
        )
        boxes = page.locator(".chart").evaluate_all(
            "cards => cards.map("
            "card => [...card.children].map(node => node.getBoundingClientRect()))"
        )
        assert all(text["bottom"] <= line["top"] for text, line in boxes)
    with opened_page(browser, exporter.url) as page:
        expect(page.locator("#history-about")).to_contain_text("since this page was opened")
        assert len(page.locator(".chart path").first.get_attribute("d") or "") < 40


def test_history_begins_anew_when_the_clock_is_set_back(
    browser: Browser, exporter: RunningExporter
) -> None:
    """Otherwise it would show the points of an hour that is still to come."""
    with opened_page(browser, exporter.url) as page:
        line = page.locator(".chart path").first
        page.wait_for_function(
            "() => document.querySelector('.chart path').getAttribute('d').split('L').length > 2"
        )

        earlier = json.loads(exporter.get("/api/v1/snapshot")[1])
        earlier["source"]["last_report_at"] -= 3600
        page.route("**/api/v1/snapshot", lambda route: route.fulfill(json=earlier))
        expect(line).to_have_attribute("d", re.compile(r"^M240\.0 [\d.]+h\.01$"))
        page.unroute_all(behavior="wait")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scale_has_even_steps(browser: Browser, exporter: RunningExporter, scheme: str) -> None:
    """Half busy is not almost busy: the contrast of two neighbors is everywhere about the same."""
    with opened_page(browser, exporter.url, color_scheme=scheme) as page:
        levels = page.evaluate(LEVELS)
        contrasts = [(max(pair) + 0.05) / (min(pair) + 0.05) for pair in pairwise(levels)]
        assert levels in (sorted(levels), sorted(levels, reverse=True))
        assert max(contrasts) < 1.35
        assert min(contrasts) > 1.1


def test_phone(browser: Browser, exporter: RunningExporter) -> None:
    """32 cores end within three screens, and each latency is called latency."""
    width, height = PHONE
    with opened_page(browser, exporter.url, width=width, height=height) as page:
        expect(page.locator(".cell")).to_have_count(32)
        box = page.locator(".device").last.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 3 * height
        names = (
            page.locator("#runtimes-table tr")
            .last.locator("td")
            .evaluate_all("cells => cells.map(cell => cell.dataset.name)")
        )
        assert [each for each in names if "50" in each or "99" in each or "max" in each] == [
            *(f"Latency {each}" for each in ("p50", "p99", "max")),
            *(f"Device latency {each}" for each in ("p50", "p99")),
        ]
