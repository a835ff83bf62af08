"""The live page in a real browser, on machines that are well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import looked_at, low_contrasts, overflow
from tests.support.clients import get
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.odd_monitor import NASTY, odd_monitor
from tests.support.paths import PACKAGE

LARGEST = 60_000
PHONE = 360
FOREIGN = "https://elsewhere.invalid/x.png"
NOTHING = "\N{EN DASH}"
OFFLINE = {"imds": False, "ecs": False}


@pytest.fixture(scope="module")
def largest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """A trn2.48xlarge whose logical cores are physical ones: 128 of them, all in use."""
    source = odd_monitor(
        "single-cores", "--instance-type", "trn2.48xlarge", "--scenario", "inference"
    )
    folder = tmp_path_factory.mktemp("largest")
    with running_exporter(folder, {"source": source, "identity": OFFLINE}) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        yield exporter


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """A machine of two cores whose runtimes have tags that nobody should have."""
    source = odd_monitor("nasty-tags", "--instance-type", "inf2.xlarge")
    folder = tmp_path_factory.mktemp("nasty")
    with running_exporter(folder, {"source": source, "identity": OFFLINE}) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        yield exporter


def busy(page: Page) -> list[str]:
    """The number in each cell of the heat map."""
    return page.locator(".cell b").all_inner_texts()


def test_all_cores_are_shown_and_move(browser: Browser, largest: RunningExporter) -> None:
    """128 cores stand by their devices, each with its number, and change with every report."""
    with looked_at(browser, largest.url) as page:
        expect(page.locator(".cell")).to_have_count(128)
        expect(page.locator(".device")).to_have_count(16)
        assert page.locator("[data-core]").evaluate_all(
            "nodes => nodes.map(node => Number(node.dataset.core))"
        ) == list(range(128))
        expect(page.locator("h1")).to_have_text("trn2.48xlarge")
        expect(page.locator("#cores-about")).to_have_text("128 cores on 16 devices")
        before = busy(page)
        assert all(0 <= int(each) <= 100 for each in before)
        page.wait_for_function(
            "before => JSON.stringify([...document.querySelectorAll('.cell b')]"
            ".map(node => node.textContent)) !== before",
            arg=str(before).replace("'", '"').replace(", ", ","),
            timeout=5000,
        )


def test_the_page_agrees_with_the_metrics(browser: Browser, largest: RunningExporter) -> None:
    """A core's number is the rounded utilization that a scrape of the same report shows."""
    with looked_at(browser, largest.url) as page:

        def agrees() -> bool:
            scraped = {
                sample.labels["neuroncore"]: sample.value
                for sample in largest.families()["neuroncore_utilization_ratio"].samples
            }
            shown = busy(page)
            return len(scraped) == len(shown) and all(
                abs(100 * scraped[str(core)] - int(number)) <= 0.5001
                for core, number in enumerate(shown)
            )

        assert any(agrees() or page.wait_for_timeout(300) for _ in range(20))


def test_a_core_is_told_in_full(browser: Browser, largest: RunningExporter) -> None:
    """A click on a core shows its memory by category and who holds it."""
    with looked_at(browser, largest.url) as page:
        page.locator("[data-core='77']").click()
        expect(page.locator("#core-title")).to_have_text("Core 77")
        expect(page.locator("#core-memory li")).to_have_count(5)
        assert "GiB" in page.locator("#core-memory").inner_text()
        facts = page.locator("#core-facts").inner_text()
        assert "resnet50" in facts or "llama" in facts or "bert" in facts or "diffusion" in facts


def test_runtimes_show_speed_and_latency(browser: Browser, nasty: RunningExporter) -> None:
    """Each runtime has its process, cores, executions per second, percentiles and memory."""
    with looked_at(browser, nasty.url) as page:
        rows = page.locator("#runtimes-table tbody tr")
        expect(rows).to_have_count(len(NASTY))
        expect(rows.first.locator("[data-name='Executions/s']")).not_to_have_text(NOTHING)
        for name in ("Process", "Cores", "Latency p50", "p99", "On device p99", "Device memory"):
            assert rows.first.locator(f"[data-name='{name}']").inner_text() not in (NOTHING, "")


@pytest.mark.parametrize("width", [PHONE, 768, 1280])
def test_nasty_tags_stay_text(browser: Browser, nasty: RunningExporter, width: int) -> None:
    """A tag with markup is shown as it was written, a huge one breaks no layout, and none runs."""
    with looked_at(browser, nasty.url, width=width) as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        shown = page.locator("#runtimes-table tbody th").all_text_contents()
        assert "<script>alert(1)</script>" in shown
        assert max(map(len, shown)) == 255
        page.locator("#all summary").click()
        assert page.locator("main script, main img").count() == 0
        assert overflow(page) == []
        assert dialogs == []


@pytest.mark.parametrize("width", [PHONE, 600, 900, 1100, 1600])
def test_nothing_overflows(browser: Browser, largest: RunningExporter, width: int) -> None:
    """128 cores and all else fit from a phone of 360 pixels up to a wide screen."""
    with looked_at(browser, largest.url, width=width) as page:
        expect(page.locator(".cell")).to_have_count(128)
        page.locator("#all summary").click()
        assert overflow(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(browser: Browser, nasty: RunningExporter, scheme: str) -> None:
    """Every text has the contrast of WCAG's level AA, in both schemes, at every step of the
    heat map's scale."""
    with looked_at(browser, nasty.url, color_scheme=scheme) as page:
        page.locator("#all summary").click()
        page.locator("#published summary").evaluate("node => node.parentElement.open = true")
        assert low_contrasts(page) == []
        cell = page.locator(".cell").first
        for level in ("none", *map(str, range(11))):
            cell.evaluate("(node, level) => node.setAttribute('data-level', level)", level)
            assert low_contrasts(page) == []


def test_every_core_is_reached_by_keyboard(browser: Browser, largest: RunningExporter) -> None:
    """Tab leads to the cores, arrows to each of them, and the focus can be seen; a table has the
    same."""
    with looked_at(browser, largest.url) as page:
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


def test_screen_readers_are_told(browser: Browser, largest: RunningExporter) -> None:
    """Every cell has a name with core, device and number; the state is announced when it changes,
    and what ticks is not."""
    with looked_at(browser, largest.url) as page:
        cell = page.get_by_role("button", name="Core 9 of device 1: ")
        expect(cell).to_have_count(1)
        assert (cell.get_attribute("aria-label") or "").endswith("busy")
        expect(page.get_by_role("status")).to_have_text("Live")
        assert page.locator("[role=status] #age, [role=alert] #age").count() == 0
        for level, name in ((1, "trn2.48xlarge"), (2, "Runtimes"), (2, "Publishing")):
            expect(page.get_by_role("heading", level=level, name=name)).to_be_visible()


def test_who_wants_no_motion_gets_none(browser: Browser, largest: RunningExporter) -> None:
    """Colours change softly, unless the system asks for less motion."""
    duration = "getComputedStyle(document.querySelector('.cell')).transitionDuration"
    with looked_at(browser, largest.url) as page:
        assert page.evaluate(duration) == "0s"
    with looked_at(browser, largest.url, reduced_motion="no-preference") as page:
        assert page.evaluate(duration) != "0s"


def test_the_page_is_small(largest: RunningExporter, browser: Browser) -> None:
    """All files of the page together are below 60 kB, not compressed."""
    with looked_at(browser, largest.url) as page:
        loaded = page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
    paths = {each.removeprefix(largest.url) for each in loaded if "/page/" in each}
    assert {"/page/page.css", "/page/main.js", "/page/cores.js"} <= paths
    sizes = {path: len(get(largest.port, path).body) for path in {"/", "/page/icon.svg", *paths}}
    print(sizes)
    assert sum(sizes.values()) < LARGEST


def test_the_first_paint_is_quick(browser: Browser, largest: RunningExporter) -> None:
    """A browser that runs paints the page within 100 ms of its request. Nothing is cached; what
    else runs on the machine only adds to it, so that the quickest quarter of the visits counts."""
    times = []
    with looked_at(browser, largest.url) as page:
        for _ in range(12):
            page.goto(f"{largest.url}/")
            expect(page.locator("#state-word")).to_have_text("Live")
            times += page.evaluate(
                "performance.getEntriesByName('first-paint').map(each => each.startTime)"
            )
    print(f"first paint: {sorted(round(each) for each in times)} ms")
    assert sorted(times)[len(times) // 4] < 100


def test_what_is_injected_does_not_run(browser: Browser, largest: RunningExporter) -> None:
    """The content security policy stops inline scripts, handlers, styles and foreign images."""
    errors = ("Content Security Policy",)
    with looked_at(browser, largest.url, errors=errors, blocked=(FOREIGN,)) as page:
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


def test_answers_protect_themselves(largest: RunningExporter) -> None:
    """Page, files and data come with the headers that keep others from framing or sniffing them."""
    for path in ("/", "/page/main.js", "/api/v1/snapshot", "/metrics"):
        headers = get(largest.port, path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


def test_a_proxy_may_put_it_below_a_path() -> None:
    """Page and files name each other relatively, and nothing of anywhere else."""
    folder = PACKAGE / "web" / "page"
    for file in folder.glob("*.*"):
        if file.suffix in (".html", ".js", ".css"):
            text = file.read_text()
            assert not any(f'{name}="/' in text for name in ("href", "src")), file.name
            assert "http:" not in text.replace("http://www.w3.org/", ""), file.name
            assert "https:" not in text, file.name


def test_without_prometheus_the_page_works(browser: Browser, tmp_path: Path) -> None:
    """Where only CloudWatch is published, what it needs is shown, and what is missing is said."""
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
    with running_exporter(tmp_path, config) as exporter, looked_at(browser, exporter.url) as page:
        expect(page.locator(".cell")).to_have_count(2)
        expect(page.locator("#prometheus-state")).to_contain_text("Off")
        expect(page.locator("#missing")).to_contain_text("Memory used is missing", ignore_case=True)
        expect(page.locator("#figures")).to_contain_text("USD")
        expect(page.locator("#links a")).not_to_contain_text(["/metrics"])
