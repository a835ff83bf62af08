"""A real browser that opens the exporter's page."""

from __future__ import annotations

import re
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

expect.set_options(timeout=60_000)

_CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Debian's Chromium, headless."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*FLAGS]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened_page(
    browser: Browser,
    url: str,
    *,
    state: str | re.Pattern[str] = "Live",
    width: int = 1280,
    height: int = 800,
    errors: tuple[str, ...] = (),
    blocked: tuple[str, ...] = (),
    **context: Any,
) -> Iterator[Page]:
    """Open the page and wait until it shows this state. Afterwards, check that it requested nothing
    from other hosts except `blocked`, and that the console has no messages except those with one of
    `errors` in them."""
    messages: list[str] = []
    requested: list[str] = []
    browser_context = browser.new_context(
        viewport={"width": width, "height": height}, **{"reduced_motion": "reduce", **context}
    )
    try:
        browser_context.set_default_timeout(60_000)
        page = browser_context.new_page()
        page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: messages.append(f"exception: {error}"))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(f"{url}/")
        expect(page.locator("#state-word")).to_have_text(state)
        yield page
        assert [line for line in messages if not any(each in line for each in errors)] == []
        other_hosts = [each for each in requested if not each.startswith(f"{url}/")]
        assert [each for each in other_hosts if each not in blocked] == []
    finally:
        browser_context.close()


def overflowing(page: Page) -> list[str]:
    """Return the elements that exceed the window's width, except in scrollable boxes."""
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


def low_contrast_texts(page: Page) -> list[str]:
    """Return the texts whose contrast is below level AA of WCAG 2.2 (1.4.3)."""
    found: list[str] = page.evaluate(_CONTRAST)
    return found
