"""Show the dashboards in a browser of your own until Ctrl-C: `python -m tests.preview [fifty]`.

GRAFANA_FRONT_END names the folder with Grafana's built front end.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.preview.fleet_of_fifty import fleet_of_fifty
from tests.preview.server import preview_server
from tests.preview.situations import SCRAPE, situations


def main(which: str) -> None:
    """Run the machines, Prometheus and the preview."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        front_end = Path(os.environ["GRAFANA_FRONT_END"])
        if which == "fifty":
            prometheus = stack.enter_context(fleet_of_fifty(folder))
            server = preview_server(front_end, prometheus.url, 15)
        else:
            fleet = stack.enter_context(situations(folder))
            prometheus = fleet.rig.prometheus
            server = preview_server(front_end, prometheus.url, SCRAPE, fleet.published)
        preview = stack.enter_context(server)
        print(f"{preview.url}d/neuron-exporter-fleet over {prometheus.url}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main(sys.argv[1] if len(sys.argv) > 1 else "situations")
