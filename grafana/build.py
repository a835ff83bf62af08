"""Writes the dashboards anew: `python -m grafana.build`. They are made here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.source.cloudwatch import cloudwatch_fleet, cloudwatch_machine
from grafana.source.exporter import exporter
from grafana.source.fleet import fleet
from grafana.source.machine import machine
from grafana.source.workload import workload

DASHBOARDS = Path(__file__).parent / "dashboards"


def documents() -> Mapping[str, str]:
    """The text of each dashboard, by the name of its file."""
    made = {
        "cloudwatch-fleet": cloudwatch_fleet(),
        "cloudwatch-machine": cloudwatch_machine(),
        "exporter": exporter(),
        "fleet": fleet(),
        "machine": machine(),
        "workload": workload(),
    }
    return {
        f"{name}.json": JSONEncoder(sort_keys=True, indent=2).encode(each) + "\n"
        for name, each in made.items()
    }


def main() -> None:
    """Write what has changed; a file that nothing makes any more goes."""
    written = documents()
    for path in DASHBOARDS.glob("*.json"):
        if path.name not in written:
            path.unlink()
    DASHBOARDS.mkdir(exist_ok=True)
    for name, text in written.items():
        (DASHBOARDS / name).write_text(text)


if __name__ == "__main__":
    main()
