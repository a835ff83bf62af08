"""Alerts on what the exporter delivers to CloudWatch and over OTLP."""

from __future__ import annotations

from grafana.rules_src.alerts.fragments import COUNT
from grafana.rules_src.expressions import sink_failing
from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import SPOOL_AGE_SECONDS, SPOOL_BYTES, WINDOW


def _over_budget(sink: str) -> str:
    """Return the number of metrics that a sink leaves out, with its name as a label."""
    dropped = f"min_over_time(neuron_exporter_{sink}_budget_dropped_metrics[{WINDOW}]) > 0"
    return f'label_replace({dropped}, "sink", "{sink}", "", "")'


ALERTS = (
    Alert(
        name="NeuronPublishFailing",
        expr=sink_failing(WINDOW),
        for_="10m",
        severity="warning",
        summary="{{ $labels.instance }} cannot deliver to {{ $labels.sink }}.",
        description="The sink {{ $labels.sink }} of the exporter on {{ $labels.instance }} has "
        "delivered nothing for 15 minutes. Its requests wait in the spool.",
        rationale="The spool keeps two weeks by default, so no data is lost yet. A window may be "
        "an hour long, and the first one ends an hour after the start.",
    ),
    Alert(
        name="NeuronPublishLoss",
        expr=(
            "sum without (reason) (\n"
            "  increase(neuron_exporter_sink_dropped_requests_total[1h]) > 0\n"
            "  or (neuron_exporter_sink_dropped_requests_total unless\n"
            "    last_over_time(neuron_exporter_sink_dropped_requests_total[10m] offset 1h))\n"
            ") > 0"
        ),
        for_="0m",
        severity="warning",
        summary="{{ $labels.instance }} has lost data for {{ $labels.sink }}.",
        description="The sink {{ $labels.sink }} of the exporter on {{ $labels.instance }} dropped "
        f"about {COUNT} requests in the last hour. Their data is lost.",
        rationale="A reason's series starts with its first loss, which `increase` does not see. "
        "The 10 minutes make sure that a missed scrape an hour ago does not count as a new series. "
        "One loss is enough, so there is no `for` period.",
    ),
    Alert(
        name="NeuronSpoolFilling",
        expr=(
            f"max_over_time(neuron_exporter_spool_bytes[{WINDOW}]) > {SPOOL_BYTES}\n"
            "or (time() - "
            f"(min_over_time(neuron_exporter_spool_oldest_timestamp_seconds[{WINDOW}]) > 0)\n"
            f"  > {SPOOL_AGE_SECONDS})"
        ),
        for_="15m",
        severity="warning",
        summary="The backlog of {{ $labels.instance }} for {{ $labels.sink }} is too old or too "
        "large.",
        description="Requests of the sink {{ $labels.sink }} of the exporter on "
        "{{ $labels.instance }} have waited for more than a day, or occupy more than "
        f"{SPOOL_BYTES >> 20} MiB. Beyond its spool.max_age and max_bytes, the exporter drops the "
        "oldest requests.",
        rationale="No metric exposes the configured limits; the thresholds are below the defaults.",
    ),
    Alert(
        name="NeuronSpoolInMemory",
        expr=f"max_over_time(neuron_exporter_spool_on_disk[{WINDOW}]) == 0",
        for_="15m",
        severity="info",
        summary="The spool of {{ $labels.instance }} for {{ $labels.sink }} is in memory.",
        description="The sink {{ $labels.sink }} of the exporter on {{ $labels.instance }} keeps "
        "requests that were not delivered in memory, where a kill loses them: its file cannot be "
        "used, or none is configured.",
        rationale="Nothing is lost while the endpoint accepts every request.",
    ),
    Alert(
        name="NeuronDimensionSetsDropped",
        expr=(f"min_over_time(neuron_exporter_cloudwatch_dropped_dimension_sets[{WINDOW}]) > 0"),
        for_="15m",
        severity="warning",
        summary="{{ $labels.instance }} leaves out {{ $value }} of its dimension sets in "
        "CloudWatch.",
        description="The exporter on {{ $labels.instance }} does not publish {{ $value }} of "
        "cloudwatch.dimension_sets because a field of the machine is unknown. Alarms and "
        "dashboards on them do not see this machine.",
        rationale="A machine learns its identity within minutes of its start.",
    ),
    Alert(
        name="NeuronOverBudget",
        expr=(f"{_over_budget('cloudwatch')}\nor {_over_budget('otlp')}"),
        for_="15m",
        severity="info",
        summary="{{ $labels.instance }} leaves out {{ $value }} metrics because of its budget.",
        description="The sink {{ $labels.sink }} of the exporter on {{ $labels.instance }} does "
        "not publish {{ $value }} metrics because they exceed {{ $labels.sink }}.budget.",
        rationale="The budget works as configured, but missing metrics should not be a surprise.",
    ),
)
