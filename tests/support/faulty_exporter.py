"""An exporter with a fault that a test turns on and off, fed through its standard input."""

from __future__ import annotations

from tests.support.children import LINE
from tests.support.endpoint import Endpoint
from tests.support.exporter import RunningExporter
from tests.support.injected_fault import InjectedFault
from tests.support.waiting import wait_for

EXECUTIONS_IN_A_LINE = 3


class FaultyExporter:
    """An exporter fed through stdin, the fault in it, and the endpoint that receives its
    windows."""

    def __init__(self, exporter: RunningExporter, fault: InjectedFault, endpoint: Endpoint) -> None:
        self.exporter = exporter
        self.fault = fault
        self.endpoint = endpoint
        self.fed = 0

    def feed(self) -> None:
        """Write one report to the exporter's stdin."""
        assert self.exporter.process.stdin is not None
        self.exporter.process.stdin.write(LINE)
        self.exporter.process.stdin.flush()
        self.fed += 1

    def end(self) -> int:
        """Close the exporter's stdin and return its exit status."""
        assert self.exporter.process.stdin is not None
        self.exporter.process.stdin.close()
        return self.exporter.wait()

    @property
    def delivered(self) -> float:
        """Number of reports whose executions CloudWatch has received."""
        return self.endpoint.total("ExecutionsCompleted") / EXECUTIONS_IN_A_LINE

    def deliver(self) -> None:
        """Feed a report, then wait until CloudWatch has received all reports so far."""
        self.feed()
        wait_for(lambda: self.delivered == self.fed)

    def show(self) -> None:
        """Feed a report, then wait until a scrape counts all reports so far."""
        self.feed()
        self.exporter.wait_for_value(
            "neuron_executions_total", self.fed * EXECUTIONS_IN_A_LINE, status_type="completed"
        )

    def errors(self, sink: str, code: str = "RuntimeError") -> float:
        """Return how often a sink failed with this error code."""
        return self.exporter.value("neuron_exporter_sink_errors_total", sink=sink, code=code) or 0

    def is_healthy(self) -> bool:
        """Return whether /healthz answers 200."""
        return self.exporter.get("/healthz")[0] == 200

    def logged_events_only(self) -> bool:
        """Return whether every line on stderr is a log event."""
        return len(self.exporter.raw_log) == len(self.exporter.log)
