"""Alerts on what the exporter delivers to CloudWatch."""

from __future__ import annotations

from grafana.rules_src.alerts.fragments import COUNT
from grafana.rules_src.expressions import sink_failing
from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import SPOOL_AGE_SECONDS, SPOOL_BYTES, TARGET, WINDOW

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
        summary="The backlog of {{ $labels.instance }} is too old or too large.",
        description="Requests of the exporter on {{ $labels.instance }} have waited for more than "
        f"a day, or occupy more than {SPOOL_BYTES >> 20} MiB. Beyond cloudwatch.spool.max_age and "
        "max_bytes, the exporter drops the oldest requests.",
        rationale="No metric exposes the configured limits; the thresholds are below the defaults.",
    ),
    Alert(
        name="NeuronSpoolInMemory",
        expr=(
            f"max_over_time(neuron_exporter_spool_on_disk[{WINDOW}]) == 0\n"
            f"and on ({TARGET}) last_over_time("
            f'neuron_exporter_sink_up{{sink="cloudwatch"}}[{WINDOW}])'
        ),
        for_="15m",
        severity="info",
        summary="The spool of {{ $labels.instance }} is in memory.",
        description="The exporter on {{ $labels.instance }} keeps requests that were not delivered "
        "in memory, where a kill loses them: its file cannot be used, or none is configured.",
        rationale="The metric is 0 without CloudWatch, too. Nothing is lost while CloudWatch "
        "accepts every request.",
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
        expr=f"min_over_time(neuron_exporter_cloudwatch_budget_dropped_metrics[{WINDOW}]) > 0",
        for_="15m",
        severity="info",
        summary="{{ $labels.instance }} leaves out {{ $value }} metrics because of its budget.",
        description="The exporter on {{ $labels.instance }} does not publish {{ $value }} metrics "
        "to CloudWatch because they exceed cloudwatch.budget.",
        rationale="The budget works as configured, but missing metrics should not be a surprise.",
    ),
)
