"""A sink that sends, with the exporter's real parts and a clock that the test moves.

    python -m tests.support.outage SINK SPOOL URL START

For each line of standard input, the program processes one report with that number of executions,
advances the clock by a minute, runs the sink and prints its state as JSON. At the end of the input
it stops in order.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuron_exporter.config import Override, load
from neuron_exporter.log import configure
from neuron_exporter.model import Timestamp
from neuron_exporter.pipeline.build import build
from tests.support.exporter import clean_environment
from tests.support.fleet import CREDENTIALS
from tests.support.reports import executions, report, runtime

MINUTE = 60.0


class Run:
    """One run of the exporter, from a start to a stop or a kill."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def minute(self, completed: int) -> dict[str, Any]:
        """Let a minute with this many executions pass; return the sink's metrics."""
        self.begin(completed)
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def begin(self, completed: int) -> None:
        """Begin with a minute."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{completed}\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """Kill the exporter as the out-of-memory killer does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop the exporter in its usual order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0


@contextmanager
def running(sink: str, spool: Path, url: str, start: float) -> Iterator[Run]:
    """Run an exporter that starts at this time, with one sink that sends to this URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.outage", sink, str(spool), url, str(start)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(**CREDENTIALS),
    )
    try:
        yield Run(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


def _settings(sink: str, url: str) -> dict[str, object]:
    if sink == "otlp":
        return {"otlp.endpoint": url, "identity.instance_id": "i-1"}
    return {
        "cloudwatch.endpoint_url": url,
        "cloudwatch.region": "us-east-1",
        "cloudwatch.dimension_sets": [["ClusterName"]],
        "identity.cluster": "here",
    }


def main(name: str, spool: str, url: str, start: str) -> None:
    """Run until the end of the input."""
    configure("error")
    # A machine sends within the minute after a window: at the end of the minute it has sent.
    begin, now = float(start), [float(start)]
    settings = {
        **_settings(name, url),
        f"{name}.enabled": True,
        f"{name}.spool.path": spool,
        "source.kind": "stdin",
    }
    flags = [Override("test", key, value) for key, value in settings.items()]
    parts = build(load(None, {}, flags), environment={}, clock=lambda: now[0])
    (sink,) = parts.senders
    for number, line in enumerate(sys.stdin):
        opened = begin + number * MINUTE
        document = report(runtime(execution_stats=executions(float(line))), instance_info=None)
        at = Timestamp(opened + MINUTE - 1, opened + MINUTE - 1)  # is still fresh at the end
        parts.processor.on_line(memoryview(json.dumps(document).encode()), at)
        now[0] = opened + 2 * MINUTE - 1
        sink.run_once()
        registry = parts.telemetry.registry
        ambiguous = registry.get_sample_value(
            "neuron_exporter_sink_ambiguous_requests_total", {"sink": name}
        )
        state = {"now": now[0], "queued": sink.status()["queued requests"], "ambiguous": ambiguous}
        print(json.dumps(state), flush=True)
    sink.start()
    assert sink.close(120)


if __name__ == "__main__":
    main(*sys.argv[1:])
