"""Transport that prints CloudWatch requests instead of sending them."""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate

from neuron_exporter.output import QueuedOutput
from neuron_exporter.sinks.cloudwatch.datums import Datum, count_metrics
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict


class PrintingTransport:
    """Transport that counts requests and prints their metrics."""

    def __init__(self) -> None:
        self.requests = 0
        self.datums = 0
        self.metrics: set[str] = set()
        self._output = QueuedOutput(1)

    def send(self, request: PutMetricDataRequest) -> Outcome:
        """Print the metrics of one request."""
        self.requests += 1
        datums = request.items
        self.datums += len(datums)
        self.metrics |= {datum["MetricName"] for datum in datums}
        stamp = datums[0]["Timestamp"].strftime("%H:%M:%S")
        rows = [
            f"\n{stamp} UTC, namespace {request.namespace}: 1 request, {len(datums)} datums, "
            f"{count_metrics(datums)} metrics",
            f"  {'':30}{'unit':>8}{'readings':>10}{'average':>14}{'p99':>14}{'maximum':>14}",
        ]
        for (name, unit), readings in _pooled(datums).items():
            count = sum(n for _, n in readings)
            average = sum(value * n for value, n in readings) / count
            rows.append(
                f"  {name:30}{unit:>8}{count:>10.0f}{average:>14.6g}"
                f"{_percentile(readings, 99):>14.6g}{max(readings)[0]:>14.6g}"
            )
        self.print("\n".join(rows))
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def print(self, text: str) -> None:
        """Print a text; drop it if standard output is full and not read."""
        self._output.write(f"{text}\n".encode())

    def finish(self) -> None:
        """Wait until all is printed, for a limited time.

        Raises:
            OSError: standard output could not be written.
        """
        self._output.finish()
        if self._output.error is not None:
            raise self._output.error


Readings = list[tuple[float, float]]


def _pooled(datums: list[Datum]) -> dict[tuple[str, str], Readings]:
    """Return the readings of each metric and unit with their counts, from all of its datums."""
    pooled: dict[tuple[str, str], Readings] = defaultdict(list)
    for datum in datums:
        values = datum.get("Values", [datum.get("Value")])
        counts = datum.get("Counts", [1.0] * len(values))
        pooled[datum["MetricName"], datum["Unit"]] += zip(values, counts, strict=True)
    return pooled


def _percentile(readings: Readings, percent: float) -> float:
    """Return the smallest reading that at least `percent` percent of the readings do not exceed."""
    target = sum(count for _, count in readings) * percent / 100
    ordered = sorted(readings)
    reached = accumulate(count for _, count in ordered)
    return next(v for (v, _), n in zip(ordered, reached, strict=True) if n >= target)
