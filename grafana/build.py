"""Generate the dashboards and their variants for import by hand: `python -m grafana.build`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.dashboards_src.cloudwatch import cloudwatch_fleet, cloudwatch_machine
from grafana.dashboards_src.exporter import exporter
from grafana.dashboards_src.fleet import fleet
from grafana.dashboards_src.machine import machine
from grafana.dashboards_src.workload import workload
from grafana.import_variants import import_variant

FOLDER = Path(__file__).parent


def documents() -> Mapping[str, str]:
    """Return the JSON text of each file by its path: provisioned dashboards, and their variants.

    The variants are in a folder of their own, because Grafana provisions subfolders, too.
    """
    dashboards = {
        "cloudwatch-fleet": cloudwatch_fleet(),
        "cloudwatch-machine": cloudwatch_machine(),
        "exporter": exporter(),
        "fleet": fleet(),
        "machine": machine(),
        "workload": workload(),
    }
    texts = {}
    for name, dashboard in dashboards.items():
        text = JSONEncoder(sort_keys=True, indent=2).encode(dashboard)
        variant = import_variant(json.loads(text))
        texts[f"dashboards/{name}.json"] = text + "\n"
        texts[f"import/{name}.json"] = json.dumps(variant, sort_keys=True, indent=2) + "\n"
    return texts


def main() -> None:
    """Write all files, and delete those that are no longer generated."""
    generated = {FOLDER / name: text for name, text in documents().items()}
    for folder in {path.parent for path in generated}:
        folder.mkdir(exist_ok=True)
        for path in set(folder.glob("*.json")) - generated.keys():
            path.unlink()
    for path, text in generated.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
