"""The top line of the page, and `problems` of the document: what is wrong, the worst first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from neuron_exporter.facts.problems import BY_REASON, STALLED_SECONDS
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.support import exporter as exporter_process
from tests.support.browser import low_contrast_texts, opened_page, overflowing
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.modified_simulator import modified_simulator
from tests.support.patched import patched
from tests.support.waiting import wait_for

OFFLINE = {"imds": False, "ecs": False}
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "no_proxy": "127.0.0.1"}
UNREACHABLE = {
    "enabled": True,
    "region": "us-east-1",
    "endpoint_url": "http://127.0.0.1:9",
    "flush_interval": "1s",
}
SMALL = ("--instance-type", "inf2.xlarge")
LARGE = ("--instance-type", "trn1.32xlarge")


class Case(NamedTuple):
    """A fault of the simulator, the problem that it is, and the word beside the page's title."""

    reason: str
    flags: tuple[str, ...]
    word: str
    tone: str = "warn"
    detail: str = ""
    cloudwatch: dict[str, Any] | None = None
    change: str = ""


CASES = (
    Case("hung", (*SMALL, "--faults", "hang"), "Hung", "bad", "resnet50", change="short-hangs"),
    Case("uncorrected_ecc", (*LARGE, "--faults", "ecc-level"), "Memory errors", "bad", "device"),
    Case("uncorrected_ecc", (*LARGE, "--faults", "ecc-tally"), "Memory errors", "bad", "device"),
    Case(
        "device_missing", (*LARGE, "--faults", "lost-device"), "Device missing", "bad", "15 of 16"
    ),
    Case("failing", (*SMALL, "--faults", "execution-errors"), "Failing", detail="%"),
    Case(
        "memory_full",
        (*SMALL, "--faults", "memory-filling", "--speed", "60"),
        "Memory full",
        detail="device 0",
    ),
    Case("crash_loop", (*SMALL, "--faults", "crash@3"), "Crash loop", detail="exited"),
    Case(
        "sink_failing",
        SMALL,
        "Not published",
        detail="cloudwatch: ",
        cloudwatch=UNREACHABLE,
        change="short-failures",
    ),
)


def problems(exporter: RunningExporter) -> list[dict[str, Any]]:
    """Return `problems` of the document."""
    found: list[dict[str, Any]] = json.loads(exporter.get("/api/v1/snapshot")[1])["problems"]
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reason}-{case.flags[-1]}")
def test_fault(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    """It is the first problem of the document, the first line of the page, and in its title."""
    if case.change:
        monkeypatch.setattr(exporter_process, "EXPORTER", patched(case.change))
    config: dict[str, Any] = {"source": simulated(*case.flags), "identity": OFFLINE}
    if case.cloudwatch:
        config["cloudwatch"] = case.cloudwatch
    with (
        running_exporter(tmp_path, config, environment=KEYS) as exporter,
        opened_page(browser, exporter.url, state=case.word) as page,
    ):
        first = page.locator("#problems li").first
        expect(first).to_have_attribute("data-tone", case.tone)
        expect(first).to_contain_text(BY_REASON[case.reason].text, ignore_case=True)
        expect(first).to_contain_text(case.detail)
        expect(first).to_contain_text(" for ")
        expect(page).to_have_title(f"{case.word}: Simulated: {page.title().split(': ')[-1]}")
        expect(page.locator("#state")).to_have_attribute("data-tone", case.tone)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert low_contrast_texts(page) == []
        page.set_viewport_size({"width": 390, "height": 844})
        assert overflowing(page) == []
        worst, *others = problems(exporter)
        assert worst["reason"] == case.reason
        assert case.detail in worst["detail"]
        assert {each["reason"] for each in others} <= {"simulated", "corrected_ecc", "stalled"}


def test_stalled(browser: Browser, tmp_path: Path) -> None:
    """Busy cores without completed executions are marked, not red, before they are judged."""
    source = simulated(*SMALL, "--runtimes", "2", "--faults", "hang@3")
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        first = page.locator("#problems li").first
        expect(first).to_contain_text(BY_REASON["stalled"].text, ignore_case=True)
        expect(first).to_contain_text("runtimes resnet50, bert-base")
        expect(first).to_have_attribute("data-tone", "wait")
        expect(page.locator("#state-word")).to_have_text("Live")
        expect(page.locator(".mark").first).to_contain_text("no execution has ended for")
        expect(page.locator(".cell[data-stalled=true]")).to_have_count(2)
        expect(page.locator("#core-facts")).to_contain_text("Without an ended execution")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert low_contrast_texts(page) == []
        document = json.loads(exporter.get("/api/v1/snapshot")[1])
        assert document["problems"][0]["reason"] == "stalled"
        assert all(
            each["execution_gap_seconds"] >= STALLED_SECONDS and each["is_stalled"]
            for each in document["reading"]["runtimes"]
        )


@pytest.mark.parametrize("scenario", sorted(set(SCENARIOS) - {"long-executions"}))
def test_well_machine(browser: Browser, tmp_path: Path, scenario: str) -> None:
    """It is calm, and only says that it is simulated."""
    source = simulated(*SMALL, "--scenario", scenario, "--speed", "20")
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) > 200)
        expect(page.locator("#source-facts")).not_to_contain_text("none yet")
        expect(page.locator("#problems")).to_be_hidden()
        expect(page.locator("#simulated")).to_be_visible()
        expect(page.locator("#degraded")).to_be_hidden()
        assert page.title().startswith("Simulated: inf2.xlarge")
        assert [each["reason"] for each in problems(exporter)] == ["simulated"]


def test_failing_sink(browser: Browser, tmp_path: Path) -> None:
    """Its tile has a red note at once, and no price."""
    config = {"source": simulated(*SMALL), "identity": OFFLINE, "cloudwatch": UNREACHABLE}
    with (
        running_exporter(tmp_path, config, environment=KEYS) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        tile = page.locator(".figure", has_text="CloudWatch")
        expect(tile).to_contain_text("Failing")
        expect(tile).to_contain_text("nothing delivered for")
        expect(tile).to_have_attribute("data-tone", "bad")
        expect(tile).not_to_contain_text("USD")


def test_missing_program(browser: Browser, tmp_path: Path) -> None:
    """The page says what to install, and how to check the machine."""
    source = {"command": ["/nonexistent/neuron-monitor"], "period": "1s"}
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        opened_page(browser, exporter.url, state="No data") as page,
    ):
        notice = page.locator("#notice")
        expect(notice).to_contain_text("Install aws-neuronx-tools or set source.command")
        expect(notice).to_contain_text("`neuron-exporter doctor`")
        expect(notice).to_contain_text("Details: /nonexistent/neuron-monitor: no such program")
        expect(page.locator("#problems")).to_be_hidden()
        wait_for(
            lambda: (
                (
                    exporter.value(
                        "neuron_exporter_source_restarts_total", reason="missing_program"
                    )
                    or 0
                )
                > 3
            )
        )
        (problem,) = problems(exporter)
        assert problem["reason"] == "source_down"
        assert "install aws-neuronx-tools" in problem["detail"]


def test_ecc_by_device(browser: Browser, tmp_path: Path) -> None:
    source = simulated(*LARGE, "--faults", "ecc-level")
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        opened_page(browser, exporter.url, state="Memory errors") as page,
    ):
        number = problems(exporter)[0]["detail"].split()[-1]
        card = page.get_by_role("group", name=f"Device {number}", exact=True)
        expect(card.locator(".ecc")).to_contain_text("uncorrected ECC")
        expect(card.locator(".ecc")).to_have_attribute("data-tone", "bad")
        card.locator(".cell").first.click()
        expect(page.locator("#core-facts")).to_contain_text("ECC of device")
        page.set_viewport_size({"width": 390, "height": 844})
        assert overflowing(page) == []


def test_degraded(browser: Browser, tmp_path: Path) -> None:
    """Groups with an error have a badge; groups that no sink needs have none."""
    source = modified_simulator("no-groups", *SMALL)
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        expect(page.locator("#degraded")).to_have_text("Degraded: 1 group unreadable")
        missing = json.loads(exporter.get("/api/v1/snapshot")[1])["missing"]
        failing = [each["group"] for each in missing if each["is_failing"]]
        assert failing == ["neuroncore_counters"]
