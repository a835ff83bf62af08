"""Pictures of dashboards in Grafana's front end, and what went wrong while they were drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page

MAX_HEIGHT = 12_000
MARGIN = 40
PAUSE_MS = 500
EQUAL_PICTURES, MAX_PICTURES = 3, 12

_HEIGHT = """() => Math.max(...[document.documentElement, ...document.querySelectorAll("*")]
  .filter((node) => node === document.documentElement
    || ["auto", "scroll"].includes(getComputedStyle(node).overflowY)
      && node.clientHeight > window.innerHeight / 2)
  .map((node) => node.scrollHeight + node.getBoundingClientRect().top))"""

_DRAWN = """() => document.querySelector('[data-testid^="data-testid Panel header"]')
  && !document.querySelector('[aria-label="Panel loading bar"], .preloader')
  && document.querySelector('[data-testid*="RefreshPicker run button"]')?.innerText != "Cancel"
  && [...document.querySelectorAll(".uplot")].every((plot) => plot.querySelector("canvas"))"""

_FAILED_PANELS = """() => [...document.querySelectorAll('[data-testid*="Panel status"]')].map(
  (node) => node.closest("section")?.getAttribute("data-testid") ?? node.outerHTML)"""

_EMPTY_PANELS = """() => [...document.querySelectorAll('[data-testid*="Panel data error"]')]
  .filter((node) => node.innerText.trim() === "No data")
  .map((node) => node.closest('[data-testid^="data-testid Panel header"]').dataset.testid)"""
"""Panels without data that have no text of their own for it."""

_TABLES = (Path(__file__).parent / "tables.js").read_text()

Row = dict[str, str]
"""Texts of a table's row by column."""


class View(NamedTuple):
    """How a dashboard is opened."""

    uid: str
    theme: str
    width: int = 1600
    height: int = 1000
    start: str = "now-15m"
    variables: Mapping[str, str] = {}
    is_whole: bool = True
    """Whether the picture contains what one has to scroll to."""

    @property
    def path(self) -> str:
        """Path and parameters of the address."""
        parameters = {"theme": self.theme, "from": self.start, "to": "now", "kiosk": "true"}
        chosen = {f"var-{name}": value for name, value in self.variables.items()}
        return f"d/{self.uid}/x?{urlencode({**parameters, **chosen})}"


class Picture(NamedTuple):
    """A picture that was taken, the tables in it by title, empty panels, and errors meanwhile."""

    png: bytes
    tables: Mapping[str, list[Row]]
    empty: list[str]
    """Panels without data for which the dashboard does not say what that means."""
    errors: list[str]


def draw(browser: Browser, url: str, view: View, seconds: float = 120) -> Picture:
    """Open a dashboard and take its picture once every panel has been drawn."""
    context = browser.new_context(
        viewport={"width": view.width, "height": view.height},
        color_scheme="light" if view.theme == "light" else "dark",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    try:
        context.set_default_timeout(seconds * 1000)
        page = context.new_page()
        errors: list[str] = []
        page.on(
            "console",
            lambda message: errors.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: errors.append(f"exception: {error}"))
        page.on(
            "response",
            lambda response: (
                errors.append(f"{response.status}: {response.url}")
                if response.status >= 400
                else None
            ),
        )
        page.goto(url + view.path)
        _wait_until_drawn(page)
        if view.is_whole:
            height = min(int(page.evaluate(_HEIGHT)) + MARGIN, MAX_HEIGHT)
            page.set_viewport_size({"width": view.width, "height": max(height, view.height)})
            _wait_until_drawn(page)
        png = _stable_picture(page)
        failed = [f"panel: {each}" for each in page.evaluate(_FAILED_PANELS)]
        return Picture(png, page.evaluate(_TABLES), page.evaluate(_EMPTY_PANELS), errors + failed)
    finally:
        context.close()


def _wait_until_drawn(page: Page) -> None:
    page.wait_for_function(_DRAWN)
    page.wait_for_load_state("networkidle")
    page.wait_for_function(_DRAWN)


def _stable_picture(page: Page) -> bytes:
    """Return the picture that no longer changes: panels are drawn some time after their data came.
    After several attempts, the newest is returned, because times such as "a minute ago" change."""
    newest, equal = page.screenshot(), 1
    for _ in range(MAX_PICTURES):
        page.wait_for_timeout(PAUSE_MS)
        previous, newest = newest, page.screenshot()
        equal = equal + 1 if newest == previous else 1
        if equal == EQUAL_PICTURES:
            break
    return newest


def write(picture: Picture, folder: Path, name: str) -> Path:
    """Write a picture to a folder that is created if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    path.write_bytes(picture.png)
    return path
