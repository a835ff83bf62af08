"""Generate the dashboards: `python -m grafana.build`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.dashboards_src.cloudwatch import cloudwatch_fleet, cloudwatch_machine
from grafana.dashboards_src.exporter import exporter
from grafana.dashboards_src.fleet import fleet
from grafana.dashboards_src.machine import machine
from grafana.dashboards_src.workload import workload

DASHBOARDS = Path(__file__).parent / "dashboards"


def documents() -> Mapping[str, str]:
    """Return the JSON text of each dashboard by file name."""
    dashboards = {
        "cloudwatch-fleet": cloudwatch_fleet(),
        "cloudwatch-machine": cloudwatch_machine(),
        "exporter": exporter(),
        "fleet": fleet(),
        "machine": machine(),
        "workload": workload(),
    }
    return {
        f"{name}.json": JSONEncoder(sort_keys=True, indent=2).encode(dashboard) + "\n"
        for name, dashboard in dashboards.items()
    }


def main() -> None:
    """Write all dashboards and delete files that are no longer generated."""
    generated = documents()
    DASHBOARDS.mkdir(exist_ok=True)
    for path in DASHBOARDS.glob("*.json"):
        if path.name not in generated:
            path.unlink()
    for name, text in generated.items():
        (DASHBOARDS / name).write_text(text)


if __name__ == "__main__":
    main()
