"""The page in a real browser, with a healthy exporter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import low_contrast_texts, opened_page, overflowing
from tests.support.clients import get
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.modified_simulator import MALICIOUS_TAGS, modified_simulator
from tests.support.paths import PACKAGE

MAX_BYTES = 64_000
PHONE = 360
FOREIGN = "https://elsewhere.invalid/x.png"
NOTHING = "\N{EN DASH}"
OFFLINE = {"imds": False, "ecs": False}


@pytest.fixture(scope="module")
def largest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """A trn2.48xlarge whose logical cores are physical cores: 128 of them, all in use."""
    source = modified_simulator(
        "single-cores", "--instance-type", "trn2.48xlarge", "--scenario", "inference"
    )
    folder = tmp_path_factory.mktemp("largest")
    with running_exporter(folder, {"source": source, "identity": OFFLINE}) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        yield exporter


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """A machine with two cores whose runtimes have hostile tags."""
    source = modified_simulator("malicious-tags", "--instance-type", "inf2.xlarge")
    folder = tmp_path_factory.mktemp("nasty")
    with running_exporter(folder, {"source": source, "identity": OFFLINE}) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        yield exporter


def shown_utilization(page: Page) -> list[str]:
    """Return the number in each cell of the heat map."""
    return page.locator(".cell b").all_inner_texts()


def test_heat_map(browser: Browser, largest: RunningExporter) -> None:
    """It shows 128 cores by device, and new values with every report."""
    with opened_page(browser, largest.url) as page:
        expect(page.locator(".cell")).to_have_count(128)
        expect(page.locator(".device")).to_have_count(16)
        assert page.locator("[data-core]").evaluate_all(
            "nodes => nodes.map(node => Number(node.dataset.core))"
        ) == list(range(128))
        expect(page.locator("h1")).to_have_text("trn2.48xlarge")
        expect(page.locator("#cores-about")).to_have_text("128 cores on 16 devices")
        before = shown_utilization(page)
        assert all(0 <= int(each) <= 100 for each in before)
        page.wait_for_function(
            "before => JSON.stringify([...document.querySelectorAll('.cell b')]"
            ".map(node => node.textContent)) !== before",
            arg=str(before).replace("'", '"').replace(", ", ","),
            timeout=60_000,
        )


def test_page_matches_metrics(browser: Browser, largest: RunningExporter) -> None:
    """The heat map shows the rounded values of a scrape of the same report."""
    with opened_page(browser, largest.url) as page:

        def agrees() -> bool:
            scraped = {
                sample.labels["neuroncore"]: sample.value
                for sample in largest.families()["neuroncore_utilization_ratio"].samples
            }
            shown = shown_utilization(page)
            return len(scraped) == len(shown) and all(
                abs(100 * scraped[str(core)] - int(number)) <= 0.5001
                for core, number in enumerate(shown)
            )

        assert any(agrees() or page.wait_for_timeout(300) for _ in range(20))


def test_selected_core(browser: Browser, largest: RunningExporter) -> None:
    with opened_page(browser, largest.url) as page:
        page.locator("[data-core='77']").click()
        expect(page.locator("#core-title")).to_have_text("Core 77")
        expect(page.locator("#core-memory li")).to_have_count(5)
        assert "GiB" in page.locator("#core-memory").inner_text()
        facts = page.locator("#core-facts").inner_text()
        assert "resnet50" in facts or "llama" in facts or "bert" in facts or "diffusion" in facts


def test_runtimes(browser: Browser, hostile: RunningExporter) -> None:
    with opened_page(browser, hostile.url) as page:
        rows = page.locator("#runtimes-table tbody tr")
        expect(rows).to_have_count(len(MALICIOUS_TAGS))
        expect(rows.first.locator("[data-name='Executions/s']")).not_to_have_text(NOTHING)
        for name in ("Process", "Cores", "Latency p50", "Latency max", "Device latency p99"):
            assert rows.first.locator(f"[data-name='{name}']").inner_text() not in (NOTHING, "")


@pytest.mark.parametrize("width", [PHONE, 768, 1280])
def test_hostile_tags(browser: Browser, hostile: RunningExporter, width: int) -> None:
    """Markup in a tag is shown as text, and a long tag does not break the layout."""
    with opened_page(browser, hostile.url, width=width) as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        shown = page.locator("#runtimes-table tbody th").all_text_contents()
        assert "<script>alert(1)</script>" in shown
        assert max(map(len, shown)) == 255
        page.locator("#all summary").click()
        assert page.locator("main script, main img").count() == 0
        assert overflowing(page) == []
        assert dialogs == []


@pytest.mark.parametrize("width", [PHONE, 600, 900, 1100, 1600])
def test_layout_widths(browser: Browser, largest: RunningExporter, width: int) -> None:
    with opened_page(browser, largest.url, width=width) as page:
        expect(page.locator(".cell")).to_have_count(128)
        page.locator("#all summary").click()
        assert overflowing(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: Browser, hostile: RunningExporter, scheme: str) -> None:
    """Every text has the contrast of WCAG level AA, at every level of the heat map."""
    with opened_page(browser, hostile.url, color_scheme=scheme) as page:
        page.locator("#all summary").click()
        page.locator("#published summary").evaluate("node => node.parentElement.open = true")
        assert low_contrast_texts(page) == []
        cell = page.locator(".cell").first
        for level in ("none", *map(str, range(11))):
            cell.evaluate("(node, level) => node.setAttribute('data-level', level)", level)
            assert low_contrast_texts(page) == []


def test_keyboard(browser: Browser, largest: RunningExporter) -> None:
    """Every core is reachable by keyboard, with visible focus, and the table has the same
    values."""
    with opened_page(browser, largest.url) as page:
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        reached = set()
        for _ in range(128):
            reached.add(page.evaluate("document.activeElement.dataset.core"))
            page.keyboard.press("ArrowRight")
        assert reached == {str(core) for core in range(128)}
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) != "none"
        page.keyboard.press("Home")
        page.keyboard.press("ArrowDown")
        below = page.evaluate("Number(document.activeElement.dataset.core)")
        assert below > 1
        page.keyboard.press("ArrowUp")
        assert page.evaluate("document.activeElement.dataset.core") == "0"
        expect(page.locator("#core-title")).to_have_text("Core 0")
        page.keyboard.press("Tab")
        expect(page.locator("#all summary")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#all-table tbody tr")).to_have_count(128)


def test_accessible_names(browser: Browser, largest: RunningExporter) -> None:
    """Cells have names; state changes are announced, and the ticking age is not."""
    with opened_page(browser, largest.url) as page:
        cell = page.get_by_role("button", name="Core 9 of device 1: ")
        expect(cell).to_have_count(1)
        assert (cell.get_attribute("aria-label") or "").endswith("busy")
        expect(page.get_by_role("status")).to_have_text("Live")
        assert page.locator("[role=status] #age, [role=alert] #age").count() == 0
        for level, name in ((1, "trn2.48xlarge"), (2, "Runtimes"), (2, "Publishing")):
            expect(page.get_by_role("heading", level=level, name=name)).to_be_visible()


def test_reduced_motion(browser: Browser, largest: RunningExporter) -> None:
    duration = "getComputedStyle(document.querySelector('.cell')).transitionDuration"
    with opened_page(browser, largest.url) as page:
        assert page.evaluate(duration) == "0s"
    with opened_page(browser, largest.url, reduced_motion="no-preference") as page:
        assert page.evaluate(duration) != "0s"


def test_page_size(largest: RunningExporter, browser: Browser) -> None:
    with opened_page(browser, largest.url) as page:
        loaded = page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
    paths = {each.removeprefix(largest.url) for each in loaded if "/page/" in each}
    assert {"/page/page.css", "/page/main.js", "/page/cores.js"} <= paths
    sizes = {path: len(get(largest.port, path).body) for path in {"/", "/page/icon.svg", *paths}}
    print(sizes)
    assert sum(sizes.values()) < MAX_BYTES


def test_content_security_policy(browser: Browser, largest: RunningExporter) -> None:
    """Inline scripts, handlers and styles, and foreign images are blocked."""
    errors = ("Content Security Policy",)
    with opened_page(browser, largest.url, errors=errors, blocked=(FOREIGN,)) as page:
        blocked = page.evaluate(
            """async (foreign) => {
              const seen = [];
              document.addEventListener("securitypolicyviolation", (event) =>
                seen.push(event.effectiveDirective));
              const script = document.createElement("script");
              script.textContent = "window.injected = 1";
              document.body.append(script);
              const box = document.createElement("div");
              box.innerHTML = '<p style="color: red" onclick="window.injected = 2">x</p>';
              document.body.append(box);
              box.firstChild.click();
              const image = new Image();
              const failed = new Promise((done) => { image.onerror = done; });
              image.src = foreign;
              await failed;
              await new Promise((done) => setTimeout(done, 50));
              box.remove();
              return seen.sort();
            }""",
            FOREIGN,
        )
        assert page.evaluate("window.injected") is None
        assert blocked == ["img-src", "script-src-attr", "script-src-elem", "style-src-attr"]


def test_security_headers(largest: RunningExporter) -> None:
    for path in ("/", "/page/main.js", "/api/v1/snapshot", "/metrics"):
        headers = get(largest.port, path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


def test_relative_urls() -> None:
    """The page works below a path of a reverse proxy, and loads nothing from other hosts."""
    folder = PACKAGE / "web" / "page"
    for file in folder.glob("*.*"):
        if file.suffix in (".html", ".js", ".css"):
            text = file.read_text()
            assert not any(f'{name}="/' in text for name in ("href", "src")), file.name
            assert "http:" not in text.replace("http://www.w3.org/", ""), file.name
            assert "https:" not in text, file.name


def test_without_prometheus(browser: Browser, tmp_path: Path) -> None:
    config = {
        "source": simulated("--instance-type", "inf2.xlarge"),
        "identity": OFFLINE,
        "prometheus": {"enabled": False},
        "cloudwatch": {
            "enabled": True,
            "transport": "emf",
            "preset": "minimal",
            "flush_interval": "1s",
        },
    }
    with (
        (tmp_path / "metrics.ndjson").open("wb") as output,
        running_exporter(tmp_path, config, stdout=output) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        expect(page.locator(".cell")).to_have_count(2)
        expect(page.locator("#prometheus-state")).to_contain_text("Off")
        expect(page.locator("#missing")).to_contain_text("Memory used is missing", ignore_case=True)
        expect(page.locator("#figures")).to_contain_text("USD")
        expect(page.locator("#links a")).not_to_contain_text(["/metrics"])
