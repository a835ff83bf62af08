"""The live page in a real browser, when something is not as it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Error, Page, expect

from tests.support import exporter as exporter_process
from tests.support.altered import altered
from tests.support.browser import looked_at, low_contrasts, overflow
from tests.support.clients import basic, get
from tests.support.exporter import running_exporter, simulated
from tests.support.odd_monitor import odd_monitor
from tests.support.web_config import hashed

OFFLINE = {"imds": False, "ecs": False}
SCHEMES = ("light", "dark")


def machine(*flags: str) -> dict[str, Any]:
    """The configuration of an exporter on a simulated machine with two cores."""
    return {"source": simulated("--instance-type", "inf2.xlarge", *flags), "identity": OFFLINE}


def readable(page: Page) -> None:
    """What the page says in this state has contrast in both schemes, and fits on a phone."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert low_contrasts(page) == []
    page.set_viewport_size({"width": 360, "height": 640})
    assert overflow(page) == []


def test_stale_data_is_said_and_not_shown(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When neuron-monitor stops to speak, the readings vanish and the page says that they are old;
    rates and latencies with them."""
    monkeypatch.setattr(exporter_process, "EXPORTER", altered("short-lived"))
    with (
        running_exporter(tmp_path, machine("--faults", "stall@4")) as exporter,
        looked_at(browser, exporter.url) as page,
    ):
        expect(page.locator(".cell")).to_have_count(2)
        expect(page.locator("#state-word")).to_have_text("Stale")
        expect(page.locator("#notice")).to_contain_text("The data is stale.")
        expect(page.locator("#cores-none")).to_contain_text("too old to be shown")
        expect(page.locator(".cell:visible")).to_have_count(0)
        expect(page.locator("#runtimes-table")).to_be_hidden()
        expect(page.locator("#age")).to_contain_text("last report")
        assert "neuroncore_utilization_ratio{" not in exporter.get("/metrics")[1]
        readable(page)


def test_late_data_is_said_before_it_is_stale(browser: Browser, tmp_path: Path) -> None:
    """Readings that are shown still, though the next report should have come, are marked as old."""
    with (
        running_exporter(tmp_path, machine("--faults", "stall@3")) as exporter,
        looked_at(browser, exporter.url, state="Late") as page,
    ):
        expect(page.locator(".cell:visible")).to_have_count(2)
        expect(page.locator("#notice")).to_contain_text("when the last is 15 s old")
        readable(page)


def test_no_data_at_all_is_said(browser: Browser, tmp_path: Path) -> None:
    """A source that never had anything to say: its state, its last words, and no empty tables."""
    source = {"command": ["sh", "-c", "echo 'no <b>driver</b>' >&2; exit 1"], "period": "1s"}
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        looked_at(browser, exporter.url, state="No data") as page,
    ):
        expect(page.locator("#notice")).to_contain_text("no <b>driver</b>")
        expect(page.locator("#cores-none")).to_have_text("No cores: there has been no report yet.")
        expect(page.locator("#runtimes-none")).to_be_visible()
        expect(page.locator("#memory-none")).to_be_visible()
        expect(page.locator("#errors-none")).to_be_visible()
        expect(page.locator("#source-facts")).to_contain_text("exited")
        readable(page)


def test_a_missing_program_is_said(browser: Browser, tmp_path: Path) -> None:
    """Without neuron-monitor the page says that it was not found, and which program it is."""
    source = {"command": ["/nonexistent/neuron-monitor"], "period": "1s"}
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        looked_at(browser, exporter.url, state="No data") as page,
    ):
        expect(page.locator("#notice")).to_contain_text("program was not found")
        expect(page.locator("#notice")).to_contain_text("/nonexistent/neuron-monitor")


def test_groups_that_fail_are_said(browser: Browser, tmp_path: Path) -> None:
    """Where the cores' group carries an error and memory is not there, the page says so in its
    place, and the rest goes on."""
    source = odd_monitor("no-groups", "--instance-type", "inf2.xlarge")
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        looked_at(browser, exporter.url) as page,
    ):
        expect(page.locator("#missing")).to_contain_text("no <counters> today")
        expect(page.locator("#runtimes-table tbody tr")).to_have_count(4)
        expect(page.locator("#figures")).not_to_contain_text("NaN")
        expect(page.locator("main")).not_to_contain_text("undefined")
        expect(page.locator("#memory-bars")).not_to_contain_text("Devices")
        readable(page)


def test_owners_are_named(browser: Browser, tmp_path: Path) -> None:
    """Where a runtime's pod is known, it stands by the runtime, and by the core it has."""
    with (
        running_exporter(tmp_path, machine("--kubernetes", "--runtimes", "2")) as exporter,
        looked_at(browser, exporter.url) as page,
    ):
        expect(page.locator("td[data-name='Owner']").first).to_contain_text("simulated / workload")
        expect(page.locator("#core-facts")).to_contain_text("namespace simulated")
        readable(page)


def test_an_idle_machine_is_no_broken_one(browser: Browser, tmp_path: Path) -> None:
    """Nothing runs: the cores are there with 0, and the page says that nobody uses them."""
    with (
        running_exporter(tmp_path, machine("--scenario", "idle")) as exporter,
        looked_at(browser, exporter.url) as page,
    ):
        expect(page.locator(".cell b")).to_have_text(["0", "0"])
        expect(page.locator("#runtimes-none")).to_have_text(
            "No process uses the Neuron devices now."
        )
        expect(page.locator("#figures")).to_contain_text("0.0 %")


def test_a_lost_connection_is_said_and_mended(browser: Browser, tmp_path: Path) -> None:
    """When the exporter goes, the page says that what it shows is old; when it is back, the page
    goes on by itself."""
    with (
        running_exporter(tmp_path, machine()) as first,
        looked_at(browser, first.url, errors=("ERR_CONNECTION_REFUSED",)) as page,
    ):
        shown = page.locator(".cell b").all_inner_texts()
        assert first.stop() == 0
        expect(page.locator("#state-word")).to_have_text("Connection lost")
        expect(page.locator("#notice")).to_contain_text("What is below is old.")
        expect(page.locator("#age")).to_contain_text("no answer for")
        assert len(page.locator(".cell b").all_inner_texts()) == len(shown)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert low_contrasts(page) == []
        again = {**machine(), "prometheus": {"listen": f"127.0.0.1:{first.port}"}}
        with running_exporter(tmp_path, again):
            expect(page.locator("#state-word")).to_have_text("Live", timeout=15_000)
            expect(page.locator("#notice")).to_be_hidden()


@pytest.fixture
def protected(tmp_path: Path) -> dict[str, Any]:
    """A configuration that asks for a password, whose source ends again and again."""
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"basic_auth_users": {"me": hashed("secret")}}))
    return {
        **machine("--faults", "crash@3"),
        "prometheus": {"web_config_file": str(web)},
    }


def test_the_page_is_behind_the_password(
    browser: Browser, tmp_path: Path, protected: dict[str, Any]
) -> None:
    """Without the password there is neither page nor file nor data; with it everything works, and
    the log's last warnings are shown, as text."""
    with running_exporter(tmp_path, protected) as exporter:
        for path in ("/", "/page/main.js", "/api/v1/snapshot"):
            assert get(exporter.port, path).status == 401
            assert get(exporter.port, path, Authorization=basic("me", "wrong")).status == 401
        page = browser.new_page()
        with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):  # nobody types one here
            page.goto(f"{exporter.url}/")
        page.close()
        known = {"username": "me", "password": "secret"}
        exporter.wait_for_event("source_state", state="exited")
        with looked_at(browser, exporter.url, http_credentials=known) as page:
            expect(page.locator(".cell")).to_have_count(2)
            expect(page.locator("#log-lines")).to_contain_text("exited")
            expect(page.locator("#log-none")).to_be_hidden()


def test_an_address_with_a_password_works(
    browser: Browser, tmp_path: Path, protected: dict[str, Any]
) -> None:
    """Name and password in the address are no reason for the page not to get its data."""
    with running_exporter(tmp_path, protected) as exporter:
        page = browser.new_page()
        page.goto(exporter.url.replace("://", "://me:secret@"))
        expect(page.locator("#state-word")).to_have_text("Live", timeout=15_000)
        page.close()


def test_the_log_is_for_those_who_are_known(browser: Browser, tmp_path: Path) -> None:
    """Where everybody may come in, no line of the log is shown or sent, and the page says why."""
    with (
        running_exporter(tmp_path, machine("--faults", "crash@3")) as exporter,
        looked_at(browser, exporter.url) as page,
    ):
        exporter.wait_for_event("source_state", state="exited")
        expect(page.locator("#log-none")).to_contain_text("only where everybody who comes in is")
        expect(page.locator("#log-lines")).to_be_hidden()
        assert '"lines":null' in exporter.get("/api/v1/snapshot")[1]
