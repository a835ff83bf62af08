"""The page of an exporter whose values are not measured, and whose metrics are not sent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.end_to_end.test_demo import demo, introduction
from tests.support.browser import low_contrast_texts, opened_page, overflowing
from tests.support.clients import get
from tests.support.commands import run
from tests.support.exporter import running_exporter, simulated
from tests.support.reports import report

OFFLINE = {"imds": False, "ecs": False}


def value_of(page: Page, term: str, facts: str) -> str:
    """Return the value beside a term in a list of facts."""
    row = page.locator(f"{facts} > div", has=page.get_by_text(term, exact=True))
    return row.locator("dd").inner_text()


def test_demo(browser: Browser) -> None:
    """Page and JSON document of a demonstration call its values simulated from the start, and its
    metrics printed, not delivered."""
    with demo("--instance-type", "inf2.xlarge") as process:
        (url,) = re.findall(r"(http://\S+)/\n", introduction(process))
        for scheme in ("light", "dark"):
            with opened_page(browser, url, color_scheme=scheme) as page:
                expect(page.locator("#simulated")).to_have_text("Simulated")
                assert page.title().startswith("Simulated: inf2.xlarge ")
                assert value_of(page, "Kind", "#source-facts") == "simulator"
                values = value_of(page, "Values", "#source-facts")
                assert (
                    values == "simulated: computed by the simulator, not measured on this machine"
                )
                expect(page.locator("#cloudwatch-state")).to_contain_text("Dry run")
                transport = value_of(page, "Transport", "#cloudwatch-facts")
                assert transport == "none: requests are printed, nothing is sent"
                expect(page.locator("#figures")).to_contain_text("per month if sent")
                expect(page.locator("#cloudwatch-facts")).to_contain_text("Last printed")
                assert "elivering" not in page.inner_text("body")
                assert "neuron-monitor" not in page.inner_text("body")
                assert low_contrast_texts(page) == []
                page.set_viewport_size({"width": 360, "height": 740})
                assert overflowing(page) == []
        document = json.loads(get(urlsplit(url).port or 0, "/api/v1/snapshot").body)
    assert (document["source"]["kind"], document["source"]["is_simulated"]) == ("simulator", True)
    cloudwatch = document["sinks"]["cloudwatch"]
    assert cloudwatch["transport"] == "print"
    assert cloudwatch["state"] == "dry run: requests are printed, nothing is sent"


def test_replayed_file(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "reports.ndjson"
    path.write_text(run("simulate", "--reports", "3", "--speed", "0").out)
    source = {"kind": "file", "path": str(path), "replay": {"at_end": "repeat"}}
    with (
        running_exporter(tmp_path, {"source": source}) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        expect(page.locator("#simulated")).to_have_text("Simulated")
        values = value_of(page, "Values", "#source-facts")
        assert values == "simulated: replayed from a file, not measured on this machine"


@pytest.fixture
def measured(tmp_path: Path) -> dict[str, Any]:
    """Return a source with reports of an instance."""
    document = report(instance_info={"instance_id": "i-0123456789abcdef0", "error": ""})
    (tmp_path / "report").write_text(f"{json.dumps(document)}\n")
    script = f"while cat {tmp_path}/report; do sleep 1; done"
    return {"command": ["sh", "-c", script], "period": "1s"}


def test_measured_values(browser: Browser, tmp_path: Path, measured: dict[str, Any]) -> None:
    """Nothing on the page of a measuring exporter says that it is simulated."""
    config = {"source": measured, "identity": OFFLINE}
    with running_exporter(tmp_path, config) as exporter, opened_page(browser, exporter.url) as page:
        expect(page.locator("#source-facts")).to_contain_text("neuron-monitor")
        expect(page.locator("#simulated")).to_be_hidden()
        assert "imulated" not in page.title() + page.inner_text("body")
        assert json.loads(exporter.get("/api/v1/snapshot")[1])["source"]["is_simulated"] is False
        assert exporter.value("neuron_exporter_source_simulated") == 0
        assert exporter.events("started")[0]["simulated"] is False


def test_piped_simulator(browser: Browser, tmp_path: Path) -> None:
    """A source that only runs the simulator somewhere in a script is recognized by its reports."""
    command = ["sh", "-c", f'exec {" ".join(simulated("--kubernetes")["command"])} "$@"', "sh"]
    source = {"command": command, "period": "1s"}
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        opened_page(browser, exporter.url) as page,
    ):
        expect(page.locator("#simulated")).to_have_text("Simulated")
