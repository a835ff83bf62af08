"""Every dashboard in Grafana's own front end, over machines in every situation.

The pictures are written to `build/dashboards`. Look at them after each change of a dashboard.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from neuron_exporter.facts.problems import BY_REASON
from tests.preview.camera import Picture, View, draw, write
from tests.preview.fleet_of_fifty import fleet_of_fifty
from tests.preview.server import Preview, preview_server
from tests.preview.situations import (
    DOWN,
    IDLE_POD,
    INSTANCES,
    NO_PROGRAM,
    REASONS,
    SCRAPE,
    SITUATIONS,
    SLOW_POD,
    Fleet,
    situations,
    wait_for_reasons,
)
from tests.support import dashboards
from tests.support.documents import links
from tests.support.paths import ROOT
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.preview, pytest.mark.usefixtures("needs_prometheus")]

FOLDER = ROOT / "build" / "dashboards"
DOCUMENTED = ROOT / "docs" / "images"
MAX_BYTES, DOCUMENTED_HEIGHT = 200_000, 850
"""Size of a picture in the documentation, and its height in pixels."""

THEMES = ("light", "dark")
WIDTHS = (1600, 1280)
ALL_REASONS_SECONDS = 1800
"""A hang is judged after five minutes."""

HALF_AN_HOUR = "now-30m"
"""Time shown in pictures that contain the time before a hang, or what is usual for a slow pod."""

DASHBOARDS = [dashboards.load(path) for path in sorted(dashboards.FOLDER.glob("*.json"))]
UIDS = [str(each["uid"]) for each in DASHBOARDS]
FLEET, MACHINE, WORKLOAD, EXPORTER = (
    f"neuron-exporter-{name}" for name in ("fleet", "machine", "workload", "exporter")
)


@pytest.fixture(scope="session")
def front_end() -> Path:
    """Return the folder with Grafana's built front end."""
    folder = os.environ.get("GRAFANA_FRONT_END")
    if not folder:
        pytest.skip("GRAFANA_FRONT_END names no folder with Grafana's built front end (public/)")
    return Path(folder)


@pytest.fixture(scope="module")
def fleet(front_end: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Start the machines, and wait until the rules have found every problem."""
    with situations(tmp_path_factory.mktemp("situations")) as started:
        wait_for_reasons(started.rig, ALL_REASONS_SECONDS)
        yield started


@pytest.fixture(scope="module")
def preview(front_end: Path, fleet: Fleet) -> Iterator[Preview]:
    """Serve the dashboards over the machines in every situation."""
    with preview_server(front_end, fleet.rig.prometheus.url, SCRAPE, fleet.published) as started:
        yield started


@pytest.fixture(scope="module")
def preview_of_fifty(
    front_end: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Preview]:
    """Serve the dashboards over fifty machines with some minutes of history."""
    with fleet_of_fifty(tmp_path_factory.mktemp("fifty")) as prometheus:
        history = "count_over_time(neuron_exporter_up[1h]) >= 20"
        wait_for(lambda: len(prometheus.query(history)) == 50, 600, every=1)
        with preview_server(front_end, prometheus.url, 15) as started:
            yield started


def check(browser: Browser, preview: Preview, view: View, name: str) -> Picture:
    """Draw a dashboard, write its picture, and fail on every error."""
    preview.prometheus.refused.clear()
    picture = draw(browser, preview.url, view)
    write(picture, FOLDER, name)
    assert preview.prometheus.refused == []
    assert picture.errors == []
    return picture


@pytest.mark.parametrize(
    ("uid", "variables"),
    [(FLEET, {"type": SITUATIONS["slow"].instance_type}), (WORKLOAD, {"by": "pod"})],
    ids=["fleet", "workload"],
)
def test_slow_and_idle_pods_come_first(
    browser: Browser, preview: Preview, fleet: Fleet, uid: str, variables: dict[str, str]
) -> None:
    """Of the pods, the slow one is the first, and the one with idle cores is the next.

    Fleet is restricted to their type, so that both are on the first page of the table. This is the
    first test, because later the time shown would contain only what is slow.
    """
    latency = f'execution_latency_seconds{{percentile="p99", pod="{SLOW_POD}"}}'
    median = f"quantile_over_time(0.5, {latency}[5m])"
    slow = f"{median} > 4 * quantile_over_time(0.1, {latency}[30m])"
    wait_for(lambda: fleet.rig.prometheus.query(slow), ALL_REASONS_SECONDS, every=1)
    view = View(uid, "light", start=HALF_AN_HOUR, variables=variables)
    picture = check(browser, preview, view, f"{uid}-pods")
    pods = {SLOW_POD, IDLE_POD, "chat-0", "rerank-0", "embed-0"}
    rows = [row for row in picture.tables["Workloads, worst first"] if row["Workload"] in pods]
    assert [(row["Workload"], row["State"].partition(":")[0]) for row in rows[:2]] == [
        (SLOW_POD, "slow"),
        (IDLE_POD, "idle"),
    ]
    assert {row["State"] for row in rows[2:]} <= {"well"}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("uid", UIDS)
def test_dashboard(browser: Browser, preview: Preview, uid: str, theme: str, width: int) -> None:
    picture = check(browser, preview, View(uid, theme, width), f"{uid}-{theme}-{width}")
    assert picture.empty == []


def test_fleet_lists_the_machines_that_are_not_well_first(
    browser: Browser, preview: Preview
) -> None:
    """Each has the reason of its problem, the worst is the first, and no other has a reason."""
    picture = check(browser, preview, View(FLEET, "light"), f"{FLEET}-table")
    shown = [(row["Exporter"], row["State"]) for row in picture.tables["Machines, worst first"]]
    problems = [BY_REASON[reason] for reason in REASONS.values() if reason]
    instances = {reason: INSTANCES[name] for name, reason in REASONS.items()}
    expected = [
        (instances[each.reason], each.text)
        for each in sorted(problems, key=lambda problem: problem.rank, reverse=True)
    ]
    assert shown[: len(expected)] == expected[: len(shown)]
    assert {state for _, state in shown[len(expected) :]} <= {"well"}


def test_exporter_lists_the_exporters_that_do_not_report_first(
    browser: Browser, preview: Preview
) -> None:
    picture = check(browser, preview, View(EXPORTER, "light"), f"{EXPORTER}-table")
    shown = [row["Exporter"] for row in picture.tables["Exporters, worst first"]]
    assert shown[:2] == [INSTANCES[DOWN], INSTANCES[NO_PROGRAM]]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_machine(browser: Browser, preview: Preview, fleet: Fleet, situation: str) -> None:
    view = View(MACHINE, "dark", variables={"machine": machine_of(fleet, situation)})
    check(browser, preview, view, f"{MACHINE}-{situation}")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("uid", [FLEET, MACHINE])
def test_picture_in_the_documentation(
    browser: Browser,
    preview: Preview,
    fleet: Fleet,
    request: pytest.FixtureRequest,
    uid: str,
    theme: str,
) -> None:
    """The first screen of a dashboard is small enough; `--update-golden` writes the picture."""
    variables = {"machine": machine_of(fleet, "hung")} if uid == MACHINE else {}
    view = View(
        uid,
        theme,
        height=DOCUMENTED_HEIGHT,
        start=HALF_AN_HOUR,
        variables=variables,
        is_whole=False,
    )
    name = f"{uid.removeprefix('neuron-exporter-')}-{theme}.png"
    png = check(browser, preview, view, f"documented-{name.removesuffix('.png')}").png
    assert len(png) < MAX_BYTES
    if request.config.getoption("--update-golden"):
        DOCUMENTED.mkdir(exist_ok=True)
        (DOCUMENTED / name).write_bytes(png)
    assert f"../docs/images/{name}" in links("grafana/README.md")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("uid", [FLEET, WORKLOAD])
def test_fifty_machines(browser: Browser, preview_of_fifty: Preview, uid: str, theme: str) -> None:
    check(browser, preview_of_fifty, View(uid, theme), f"{uid}-fifty-{theme}")


def machine_of(fleet: Fleet, situation: str) -> str:
    """Return the instance id of a machine."""
    selector = f'last_over_time(instance_info{{instance="{INSTANCES[situation]}"}}[10m])'
    return str(fleet.rig.prometheus.query(selector)[0]["metric"]["instance_id"])
