"""Print the processor time that the queries of each dashboard take.

`python -m tests.preview.query_times PROMETHEUS [FOLDER]` asks the queries of the dashboards in
FOLDER, by default the committed ones, over the last 25 minutes, of a Prometheus such as that of
`python -m tests.preview fifty`. Its scrapes and rules take processor time, too.
"""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import dashboards
from tests.support.grafana_intervals import builtin_values, interval
from tests.support.servers import Prometheus

RANGE = 1500.0
SCRAPE = 15.0
POINTS_PER_COLUMN = 50
"""Points that a panel draws for each of the 24 columns on a screen of 1,280 pixels."""


def processor_seconds(prometheus: Prometheus) -> float:
    """Return the processor time of a Prometheus since its start."""
    with urllib.request.urlopen(f"{prometheus.url}/metrics", timeout=60) as response:  # noqa: S310
        text = response.read().decode()
    found = re.search(r"^process_cpu_seconds_total (\S+)$", text, re.MULTILINE)
    assert found
    return float(found[1])


def times(prometheus: Prometheus, document: dict[str, Any]) -> Iterator[tuple[float, str]]:
    """Yield the processor time of each query of a dashboard, and the title of its panel."""
    whole = builtin_values(interval(RANGE, 24 * POINTS_PER_COLUMN, SCRAPE), RANGE)
    variables = dashboards.initial_values(document, prometheus, whole)
    for panel in dashboards.panels(document):
        points = panel.document["gridPos"]["w"] * POINTS_PER_COLUMN
        for target in panel.targets:
            found = interval(RANGE, points, SCRAPE, target.get("interval", ""))
            filled = {**variables, **builtin_values(found, RANGE)}
            expression = dashboards.resolve(target["expr"], filled)
            begin = processor_seconds(prometheus)
            if target["instant"]:
                prometheus.query(expression)
            else:
                prometheus.over(expression, RANGE, found.step)
            yield processor_seconds(prometheus) - begin, panel.title


def main(url: str, folder: str = str(dashboards.FOLDER)) -> None:
    """Print a line for each dashboard."""
    prometheus = Prometheus(url)
    for path in sorted(Path(folder).glob("*.json")):
        document = dashboards.load(path)
        if dashboards.datasource_kind(document) == "prometheus":
            found = sorted(times(prometheus, document), reverse=True)
            total = sum(seconds for seconds, _ in found)
            print(f"{path.stem}: {found[0][0]:.2f} s ({found[0][1]}), in all {total:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
