"""A CloudWatch sink with the exporter's real parts and a clock that the test moves.

    python -m tests.support.outage SPOOL URL START

For each line of standard input, the program processes one report with that number of executions,
advances the clock by a minute, runs the sink and prints its state as JSON. At the end of the input
it stops in order.
"""

from __future__ import annotations

import json
import sys

from neuron_exporter.config import Override, load
from neuron_exporter.log import configure
from neuron_exporter.model import Timestamp
from neuron_exporter.pipeline.build import build
from tests.support.reports import executions, report, runtime

MINUTE = 60.0


def outage(spool: str, url: str, start: float) -> list[str]:
    """Return the command line of the program."""
    return [sys.executable, "-m", "tests.support.outage", spool, url, str(start)]


def main(spool: str, url: str, start: str) -> None:
    """Run until the end of the input."""
    configure("error")
    # A machine sends within the minute after a window: at the end of the minute it has sent.
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
    flags = [Override("test", key, value) for key, value in settings.items()]
    parts = build(load(None, {}, flags), environment={}, clock=lambda: now[0])
    sink = parts.cloudwatch
    assert sink is not None
    for number, line in enumerate(sys.stdin):
        opened = begin + number * MINUTE
        document = report(runtime(execution_stats=executions(float(line))), instance_info=None)
        parts.processor.on_line(
            memoryview(json.dumps(document).encode()), Timestamp(opened + 1, opened + 1)
        )
        now[0] = opened + 2 * MINUTE - 1
        sink.run_once()
        registry = parts.telemetry.registry
        ambiguous = registry.get_sample_value(
            "neuron_exporter_sink_ambiguous_requests_total", {"sink": "cloudwatch"}
        )
        state = {"now": now[0], "queued": sink.status()["queued requests"], "ambiguous": ambiguous}
        print(json.dumps(state), flush=True)
    sink.start()
    assert sink.close(120)


if __name__ == "__main__":
    main(*sys.argv[1:])
