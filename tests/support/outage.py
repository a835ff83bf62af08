"""An exporter whose time a test moves: the real parts, one window a line of standard input.

    python -m tests.support.outage SPOOL URL START

For each line it takes one report with as many executions as the line says, lets a minute pass, and
says what its sink did, as JSON: the end of input is an orderly stop. With `stop` in place of a
number it stops at once.
"""

from __future__ import annotations

import json
import sys

from neuron_exporter.config import Given, load
from neuron_exporter.log import configure
from neuron_exporter.model import Moment
from neuron_exporter.pipeline.build import build
from tests.support.reports import executions, report, runtime

MINUTE = 60.0


def outage(spool: str, url: str, start: float) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "tests.support.outage", spool, url, str(start)]


def main(spool: str, url: str, start: str) -> None:
    """Run until the end of input."""
    configure("error")
    # A machine has its turn at some time in the minute after a window: at its end it has had it.
    begin, now = float(start), [float(start)]
    settings = {
        "cloudwatch.enabled": True,
        "cloudwatch.endpoint_url": url,
        "cloudwatch.region": "us-east-1",
        "cloudwatch.spool.path": spool,
        "cloudwatch.dimension_sets": [["ClusterName"]],
        "identity.cluster": "here",
        "source.kind": "stdin",
    }
    flags = [Given("test", key, value) for key, value in settings.items()]
    parts = build(load(None, {}, flags), environment={}, clock=lambda: now[0])
    sink = parts.cloudwatch
    assert sink is not None
    for number, line in enumerate(sys.stdin):
        opened = begin + number * MINUTE
        document = report(runtime(execution_stats=executions(float(line))), instance_info=None)
        parts.intake.line(memoryview(json.dumps(document).encode()), Moment(opened + 1, opened + 1))
        now[0] = opened + 2 * MINUTE - 1
        sink.step()
        registry = parts.telemetry.registry
        ambiguous = registry.get_sample_value(
            "neuron_exporter_sink_ambiguous_requests_total", {"sink": "cloudwatch"}
        )
        said = {"now": now[0], "queued": sink.status()["queued requests"], "ambiguous": ambiguous}
        print(json.dumps(said), flush=True)
    sink.start()
    assert sink.close(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
