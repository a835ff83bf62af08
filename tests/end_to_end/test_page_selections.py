"""The page says nothing wrong about what no sink publishes or no report has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import low_contrast_texts, opened_page, overflowing
from tests.support.exporter import running_exporter, simulated
from tests.support.reports import cores, ecc, report, runtime

OFFLINE = {"imds": False, "ecs": False}
STATES = re.compile("Live|Failing|Memory errors")
UNPUBLISHED = re.compile("No runtimes: .*(no sink publishes it|none that a sink publishes)")


def test_memory_errors_are_shown_at_their_device_with_cloudwatch_alone(
    browser: Browser, tmp_path: Path
) -> None:
    config = {
        "source": simulated("--instance-type", "trn1.32xlarge", "--faults", "ecc-level"),
        "identity": OFFLINE,
        "prometheus": {"enabled": False},
        "cloudwatch": {"enabled": True, "transport": "emf", "flush_interval": "1s"},
    }
    with (
        (tmp_path / "metrics.ndjson").open("wb") as output,
        running_exporter(tmp_path, config, stdout=output) as exporter,
        opened_page(browser, exporter.url, state="Memory errors") as page,
    ):
        expect(page.locator("#cores-about")).to_have_text("32 cores on 16 devices")
        expect(page.locator(".device")).to_have_count(16)
        document = json.loads(exporter.get("/api/v1/snapshot")[1])
        bad = {
            f"Device {each['device']}"
            for each in document["reading"]["devices"]
            if any(each["ecc_events"].values())
        }
        assert len(bad) in range(1, 16)
        for card in page.locator(".device").all():
            is_bad = card.get_attribute("aria-label") in bad
            expect(card.locator(".ecc")).to_have_text(re.compile("ECC$" if is_bad else "^$"))
        expect(page.locator("#core-facts")).to_contain_text("Utilization")
        expect(page.locator("#core-facts")).not_to_contain_text("Runtimes")


def test_cores_of_unknown_devices(browser: Browser, tmp_path: Path) -> None:
    """They are in one group without the values of a device, and the devices are beside it."""
    busy = runtime(7, "a", neuroncore_counters=cores(_0=50, _1=0))
    for name, errors in (("before", 0), ("now", 2)):
        counters = ecc({}, {"mem_ecc_uncorrected": errors})
        document = report(
            busy,
            neuron_hardware_info=None,
            instance_info={},
            system_data={"neuron_hw_counters": counters},
        )
        (tmp_path / name).write_text(f"{json.dumps(document)}\n")
    script = f"cat {tmp_path}/before; while sleep 1; do cat {tmp_path}/now; done"
    source = {"command": ["sh", "-c", script], "period": "1s"}
    with (
        running_exporter(tmp_path, {"source": source, "identity": OFFLINE}) as exporter,
        opened_page(browser, exporter.url, state="Memory errors") as page,
    ):
        expect(page.locator(".device strong")).to_have_text(["Cores", "Device 1"])
        expect(page.locator(".device .ecc")).to_have_text(["", "2 uncorrected ECC"])
        expect(page.locator("#cores-about")).to_have_text("2 cores")
        page.get_by_role("button", name="Core 0: 50 % busy").click()
        expect(page.locator("#core-facts dt")).to_have_text(
            ["Utilization", "Runtimes", "Device memory"]
        )
        assert low_contrast_texts(page) == []
        page.set_viewport_size({"width": 360, "height": 640})
        assert overflowing(page) == []


@pytest.mark.parametrize(
    ("metric", "fault", "kind"),
    [
        ("neuron_execution_errors_total", "execution-errors", "of executions since start"),
        ("neuron_executions_total", "execution-errors", "of executions since start"),
        ("hardware_ecc_events_total", "ecc-level", "of memory since start"),
    ],
)
def test_only_published_errors_are_counted(
    browser: Browser, tmp_path: Path, metric: str, fault: str, kind: str
) -> None:
    """The tile says which errors are counted, and nothing says that no process is running."""
    source = simulated("--instance-type", "trn1.32xlarge", "--faults", fault)
    selected = {"preset": "none", "include": [metric, "neuroncore_utilization_ratio"]}
    with (
        running_exporter(
            tmp_path, {"source": source, "identity": OFFLINE, "prometheus": selected}
        ) as exporter,
        opened_page(browser, exporter.url, state=STATES) as page,
    ):
        tile = page.locator(".figure", has_text="Errors")
        expect(tile).to_have_attribute("data-tone", "bad")
        expect(tile.locator("dd").first).to_have_text(re.compile(r"^[1-9]"))
        expect(tile.locator("dd").last).to_have_text(kind)
        expect(page.locator("#runtimes-none")).to_have_text(UNPUBLISHED)
