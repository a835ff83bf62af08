"""The page in a real browser, in states of failure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Error, Page, expect

from tests.support import exporter as exporter_process
from tests.support.browser import low_contrast_texts, opened_page, overflowing
from tests.support.clients import basic_auth, get
from tests.support.exporter import running_exporter, simulated
from tests.support.modified_simulator import modified_simulator
from tests.support.patched import patched
from tests.support.piped import piped_exporter
from tests.support.reports import group, report
from tests.support.web_config import bcrypt_hash

OFFLINE = {"imds": False, "ecs": False}
CRASHING = re.compile("Live|Crash loop")
SCHEMES = ("light", "dark")
NOTHING = "\N{EN DASH}"


def machine(*flags: str) -> dict[str, Any]:
    """Return the configuration of an exporter on a simulated machine with two cores."""
    return {"source": simulated("--instance-type", "inf2.xlarge", *flags), "identity": OFFLINE}


def assert_readable(page: Page) -> None:
    """Check contrast in both schemes, and the layout on a phone."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert low_contrast_texts(page) == []
    page.set_viewport_size({"width": 360, "height": 640})
    assert overflowing(page) == []


def test_stale(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stale values are hidden."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("short-lived"))
    with (
        running_exporter(tmp_path, machine("--faults", "stall@4")) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        expect(page.locator(".cell")).to_have_count(2)
        expect(page.locator("#state-word")).to_have_text("Stale")
        expect(page.locator("#notice")).to_contain_text("The data is stale.")
        expect(page.locator("#cores-none")).to_contain_text("the last report is stale")
        expect(page.locator(".cell:visible")).to_have_count(0)
        expect(page.locator("#runtimes-table")).to_be_hidden()
        expect(page.locator(".chart b")).to_have_text([NOTHING] * 3)
        expect(page.locator("#age")).to_contain_text("last report")
        assert "neuroncore_utilization_ratio{" not in exporter.get("/metrics")[1]
        assert_readable(page)


def test_late(browser: Browser, tmp_path: Path) -> None:
    """Values that are overdue but not stale are still shown."""
    with (
        running_exporter(tmp_path, machine("--faults", "stall@3")) as exporter,
        opened_page(browser, exporter.url, state="Late") as page,
    ):
        expect(page.locator(".cell:visible")).to_have_count(2)
        expect(page.locator("#notice")).to_contain_text("when the last report is 15 s old")
        assert_readable(page)


def test_start_of_a_pipe(browser: Browser, tmp_path: Path) -> None:
    """No report is late before a report has shown the period."""
    usage = group(period=0.05, memory_used_bytes=1)
    with piped_exporter(tmp_path) as piped:
        piped.send(report(system_data={"memory_info": usage}, instance_info={}))
        with opened_page(browser, piped.exporter.url) as page:
            expect(page.locator("#age")).to_contain_text(
                re.compile(r"report ([4-9]|[1-5]\d) s ago")
            )
            expect(page.locator("#state-word")).to_have_text("Live", timeout=1)
            expect(page.locator("#source-facts")).to_contain_text("unknown")


def test_no_data(browser: Browser, tmp_path: Path) -> None:
    """The page shows the state of the source and its last stderr line, and no empty tables."""
    source = {"command": ["sh", "-c", "echo 'no <b>driver</b>' >&2; exit 1"], "period": "1s"}
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        opened_page(browser, exporter.url, state="No data") as page,
    ):
        expect(page.locator("#notice")).to_contain_text("no <b>driver</b>")
        expect(page.locator("#cores-none")).to_have_text("No cores: no report yet.")
        expect(page.locator("#runtimes-none")).to_be_visible()
        expect(page.locator("#memory-none")).to_be_visible()
        expect(page.locator("#errors-none")).to_be_visible()
        expect(page.locator("#source-facts")).to_contain_text("exited")
        assert_readable(page)


def test_failing_groups(browser: Browser, tmp_path: Path) -> None:
    """A group with an error is reported where its values would be; the others are shown."""
    source = modified_simulator("no-groups", "--instance-type", "inf2.xlarge")
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        expect(page.locator("#missing")).to_contain_text("no <counters> today")
        expect(page.locator("#runtimes-table tbody tr")).to_have_count(4)
        expect(page.locator("#figures")).not_to_contain_text("NaN")
        expect(page.locator("main")).not_to_contain_text("undefined")
        expect(page.locator("#memory-bars")).not_to_contain_text("Devices")
        assert_readable(page)


def test_owners(browser: Browser, tmp_path: Path) -> None:
    with (
        running_exporter(tmp_path, machine("--kubernetes", "--runtimes", "2")) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        expect(page.locator("td[data-name='Owner']").first).to_contain_text("simulated / workload")
        expect(page.locator("#core-facts")).to_contain_text("namespace simulated")
        assert_readable(page)


def test_idle_machine(browser: Browser, tmp_path: Path) -> None:
    with (
        running_exporter(tmp_path, machine("--scenario", "idle")) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        expect(page.locator(".cell b")).to_have_text(["0", "0"])
        expect(page.locator("#runtimes-none")).to_have_text(
            "No process is using the Neuron devices."
        )
        expect(page.locator("#figures")).to_contain_text("0.0 %")


def test_connection_lost(browser: Browser, tmp_path: Path) -> None:
    """The page marks its values as old, and recovers when the exporter is back."""
    with (
        running_exporter(tmp_path, machine()) as first,
        opened_page(browser, first.url, errors=("ERR_CONNECTION_REFUSED",)) as page,
    ):
        shown = page.locator(".cell b").all_inner_texts()
        assert first.stop() == 0
        expect(page.locator("#state-word")).to_have_text("Connection lost")
        expect(page.locator("#notice")).to_contain_text("The values below are old.")
        expect(page.locator("#age")).to_contain_text("no response for")
        assert len(page.locator(".cell b").all_inner_texts()) == len(shown)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert low_contrast_texts(page) == []
        again = {**machine(), "prometheus": {"listen": f"127.0.0.1:{first.port}"}}
        with running_exporter(tmp_path, again):
            expect(page.locator("#state-word")).to_have_text("Live")
            expect(page.locator("#notice")).to_be_hidden()


def test_history_after_a_restart(browser: Browser, tmp_path: Path) -> None:
    """Until the first report, the line ends with the last point, which is no current value."""
    with (
        running_exporter(tmp_path, machine()) as first,
        opened_page(browser, first.url, errors=("ERR_CONNECTION_REFUSED",)) as page,
    ):
        expect(page.locator(".chart b").first).to_have_text(re.compile("%$"))
        assert first.stop() == 0
        silent = {"command": ["sleep", "3600"], "period": "1s"}
        listen = {"listen": f"127.0.0.1:{first.port}"}
        again = {"source": silent, "identity": OFFLINE, "prometheus": listen}
        with running_exporter(tmp_path, again):
            expect(page.locator("#state-word")).to_have_text("No data")
            expect(page.locator(".chart b")).to_have_text([NOTHING] * 3)
            line = page.locator(".chart path").first
            expect(line).to_have_attribute("d", re.compile(r"[ML]240\.0 [\d.]+(h\.01)?$"))


@pytest.fixture
def protected(tmp_path: Path) -> dict[str, Any]:
    """A configuration with a password, whose source exits again and again."""
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"basic_auth_users": {"me": bcrypt_hash("secret")}}))
    return {
        **machine("--faults", "crash@3"),
        "prometheus": {"web_config_file": str(web)},
    }


def test_password(browser: Browser, tmp_path: Path, protected: dict[str, Any]) -> None:
    """Page, files and data need the password; with it, the page also shows log lines."""
    with running_exporter(tmp_path, protected) as exporter:
        for path in ("/", "/page/main.js", "/api/v1/snapshot"):
            assert get(exporter.port, path).status == 401
            assert get(exporter.port, path, Authorization=basic_auth("me", "wrong")).status == 401
        page = browser.new_page()
        with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
            page.goto(f"{exporter.url}/")
        page.close()
        known = {"username": "me", "password": "secret"}
        exporter.wait_for_event("source_state", state="exited")
        with opened_page(browser, exporter.url, state=CRASHING, http_credentials=known) as page:
            expect(page.locator(".cell")).to_have_count(2)
            expect(page.locator("#log-lines")).to_contain_text("exited")
            expect(page.locator("#log-none")).to_be_hidden()


def test_unknown_host(browser: Browser, tmp_path: Path) -> None:
    """Under the name of another site, the page says why it has no data, and which key helps."""
    config = {**machine(), "prometheus": {"listen": "127.0.0.1:0"}}
    with running_exporter(tmp_path, config) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        foreign = exporter.url.replace("127.0.0.1", "other.localhost")  # Chromium resolves it
        with opened_page(browser, foreign, state="No data", errors=("421",)) as page:
            expect(page.locator("#notice")).to_contain_text("host name 'other.localhost:")
            expect(page.locator("#notice")).to_contain_text("prometheus.allowed_hosts")
            expect(page.locator(".cell")).to_have_count(0)
            page.set_viewport_size({"width": 360, "height": 640})
            assert overflowing(page) == []


def test_password_in_url(browser: Browser, tmp_path: Path, protected: dict[str, Any]) -> None:
    with running_exporter(tmp_path, protected) as exporter:
        page = browser.new_page()
        page.goto(exporter.url.replace("://", "://me:secret@"))
        expect(page.locator("#state-word")).to_have_text(CRASHING)
        page.close()


def test_log_needs_authentication(browser: Browser, tmp_path: Path) -> None:
    with (
        running_exporter(tmp_path, machine("--faults", "crash@3")) as exporter,
        opened_page(browser, exporter.url, state=CRASHING) as page,
    ):
        exporter.wait_for_event("source_state", state="exited")
        expect(page.locator("#log-none")).to_contain_text("to authenticated clients only")
        expect(page.locator("#log-lines")).to_be_hidden()
        assert '"lines":null' in exporter.get("/api/v1/snapshot")[1]
