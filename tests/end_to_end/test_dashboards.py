"""Every panel's query is asked of a real Prometheus, on machines on which all sorts of things go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support import dashboards
from tests.support.dashboard_rig import BROKEN, DEAD, LIVING, SCRAPE, SHOWN, Rig, rig

pytestmark = pytest.mark.usefixtures("needs_prometheus")

EVERYWHERE = LIVING | {BROKEN, DEAD}
BUSY = LIVING - {"idle", "compile", "given"}
SOME_END = BUSY - {"hang"}
WITH_PODS = {"pods", "given"}

FILLED: Mapping[str, Mapping[str, frozenset[str] | set[str]]] = {
    "fleet": {
        "Exporters down": EVERYWHERE,
        "Sources down": EVERYWHERE,
        "Given but idle": WITH_PODS,
        "Given but idle, an hour": WITH_PODS,
        "CloudWatch, a month": LIVING | {BROKEN},
        "Share that failed": SOME_END,
        "Slowest machines": SOME_END,
        "Sources that give nothing": {BROKEN},
        "Exporters that do not answer": {DEAD},
    },
}
"""Where a panel has data that does not have it on all machines that live, and only there."""

FILES = [path.stem for path in dashboards.files("prometheus")]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """All machines, and a Prometheus that has scraped them for a while."""
    with rig(tmp_path_factory.mktemp("dashboards"), {}) as started:
        yield started


def opened(rig: Rig, document: Mapping[str, Any], **chosen: str) -> dict[str, str]:
    """The variables of a dashboard that somebody opens."""
    builtin = dashboards.builtin(SCRAPE, SHOWN)
    return dashboards.asked(document, rig.prometheus, {**builtin, **chosen})


def answer(rig: Rig, target: Mapping[str, Any], values: dashboards.Values) -> list[float]:
    """All values that a query gives."""
    expression = dashboards.resolve(target["expr"], values)
    if target["instant"]:
        return [float(each["value"][1]) for each in rig.prometheus.query(expression)]
    found = rig.prometheus.over(expression, SHOWN, 1)
    return [float(value) for each in found for _, value in each["values"]]


@pytest.mark.parametrize("name", FILES)
def test_every_panel_has_data_where_it_should_and_nowhere_else(machines: Rig, name: str) -> None:
    """On each machine in turn, each panel shows what there is, and nothing where there is nothing;
    no query stays empty on all machines."""
    document = dashboards.load(dashboards.FOLDER / f"{name}.json")
    filled: dict[str, set[str]] = {}
    answered: dict[str, bool] = {}
    for job in EVERYWHERE:
        values = opened(machines, document, job=job)
        for panel in dashboards.panels(document):
            for target in panel.targets:
                has_data = bool(answer(machines, target, values))
                key = f"{panel.title}, {target['refId']}"
                answered[key] = answered.get(key, False) or has_data
                if has_data:
                    filled.setdefault(panel.title, set()).add(job)
    wanted = FILLED.get(name, {})
    titles = [panel.title for panel in dashboards.panels(document)]
    assert wanted.keys() <= set(titles)
    assert {title: filled.get(title, set()) for title in titles} == {
        title: set(wanted.get(title, LIVING)) for title in titles
    }
    assert [key for key, seen in answered.items() if not seen] == []
