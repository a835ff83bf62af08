"""A real browser, and what it sees of the exporter's page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)

expect.set_options(timeout=15_000)

_CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*FLAGS]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def looked_at(
    browser: Browser,
    url: str,
    *,
    state: str = "Live",
    width: int = 1280,
    height: int = 800,
    errors: tuple[str, ...] = (),
    blocked: tuple[str, ...] = (),
    **context: Any,
) -> Iterator[Page]:
    """The page, once it shows this state. At the end nothing was asked of another place but what
    was `blocked`, and nothing was complained of but what holds one of `errors`."""
    said: list[str] = []
    asked: list[str] = []
    own = browser.new_context(
        viewport={"width": width, "height": height}, **{"reduced_motion": "reduce", **context}
    )
    try:
        page = own.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"exception: {error}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{url}/")
        expect(page.locator("#state-word")).to_have_text(state, timeout=20_000)
        yield page
        assert [line for line in said if not any(each in line for each in errors)] == []
        elsewhere = [each for each in asked if not each.startswith(f"{url}/")]
        assert [each for each in elsewhere if each not in blocked] == []
    finally:
        own.close()


def overflow(page: Page) -> list[str]:
    """What stands out of the window at its right, scrolled boxes aside."""
    found: list[str] = page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          const wide = [...document.body.querySelectorAll("*")].filter((node) =>
            !node.closest(".scroll, .skip, thead, [hidden]")
              && node.getBoundingClientRect().right > width + 0.5);
          const body = document.documentElement.scrollWidth > width ? ["the page scrolls"] : [];
          return [...body, ...wide.map((node) => `${node.tagName}#${node.id}.${node.className}`)];
        }"""
    )
    return found


def low_contrasts(page: Page) -> list[str]:
    """Texts whose contrast with what is behind them is below AA of WCAG 2.2 (1.4.3)."""
    found: list[str] = page.evaluate(_CONTRAST)
    return found
