"""The exporter's own instruments, in a registry that is passed in."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Info,
    Metric,
    PlatformCollector,
    ProcessCollector,
    Summary,
    disable_created_metrics,
)

from neuron_exporter import __version__

SCHEMA_VERSION = "1"
"""Rises when a metric is renamed or changes its meaning."""


class Telemetry:
    """Every instrument of the exporter itself.

    One object for one daemon: counters live as long as the process does. `states` is the closed
    list of what the source can be doing, first the one that it begins with.
    """

    def __init__(
        self, states: Iterable[str] = (), registry: CollectorRegistry | None = None
    ) -> None:
        self.registry = registry = CollectorRegistry() if registry is None else registry
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nobody asked for
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        build = Info("neuron_exporter_build", "Which exporter this is.", registry=registry)
        build.info(
            {
                "version": __version__,
                "schema": SCHEMA_VERSION,
                "python": platform.python_version(),
            }
        )

        self.up = Gauge(
            "neuron_exporter_up",
            "1 while reports arrive from a source that finds its hardware, else 0.",
            registry=registry,
        )
        self.source_state = Gauge(
            "neuron_exporter_source_state",
            "1 for the state that the source is in, 0 for the others.",
            ["state"],
            registry=registry,
        )
        self.report_timestamp = Gauge(
            "neuron_exporter_last_report_timestamp_seconds",
            "When the last report was read, in Unix seconds; 0 before the first.",
            registry=registry,
        )
        self.report_period = Gauge(
            "neuron_exporter_report_period_seconds",
            "The period that reports are taken to cover.",
            registry=registry,
        )
        self.reports = Counter(
            "neuron_exporter_reports_total", "Reports that were read.", registry=registry
        )
        self.source_bytes = Counter(
            "neuron_exporter_source_bytes_total",
            "Bytes of the lines that the source gave, skipped ones included.",
            registry=registry,
        )
        self.report_errors = Counter(
            "neuron_exporter_report_errors_total",
            "What of the stream could not be used: whole lines (not_json, not_a_report, too_deep, "
            "too_many_values, too_long), single readings (reading), and runtimes "
            "(too_many_runtimes).",
            ["reason"],
            registry=registry,
        )
        self.unknown_fields = Counter(
            "neuron_exporter_unknown_fields_total",
            "Fields of reports that this version does not know, each counted once.",
            registry=registry,
        )
        self.series = Gauge(
            "neuron_exporter_series",
            "Series of each hardware metric, those without a value now included.",
            ["metric"],
            registry=None,  # written only when it changes, by `series_counts`
        )
        self.scrape_seconds = Summary(
            "neuron_exporter_scrape_seconds", "Time to write a scrape.", registry=registry
        )
        self.series_dropped = Counter(
            "neuron_exporter_series_dropped_total",
            "Values that were left out of reports because there were too many series.",
            registry=registry,
        )
        self.log_lines_dropped = Counter(
            "neuron_exporter_log_lines_dropped_total",
            "Lines that were left out of the log because there were too many in a second.",
            registry=registry,
        )
        self.decode_seconds = Summary(
            "neuron_exporter_decode_seconds", "Time to decode a report.", registry=registry
        )
        self.collect_seconds = Summary(
            "neuron_exporter_collect_seconds",
            "Time to make series of a report.",
            registry=registry,
        )
        self.group_errors = Counter(
            "neuron_exporter_group_errors_total",
            "Groups of reports that neuron-monitor marked with an error.",
            ["group"],
            registry=registry,
        )
        self.restarts = Counter(
            "neuron_exporter_source_restarts_total",
            "How often the source was started again, by the reason.",
            ["reason"],
            registry=registry,
        )
        self.stderr_lines = Counter(
            "neuron_exporter_source_stderr_lines_total",
            "Lines that the source wrote to its standard error.",
            registry=registry,
        )
        self.sink_up = Gauge(
            "neuron_exporter_sink_up",
            "1 while the sink delivers, 0 while it cannot.",
            ["sink"],
            registry=registry,
        )
        self.sink_requests = Counter(
            "neuron_exporter_sink_requests_total",
            "Requests of the sink by outcome: delivered, retried (failed for now) or rejected "
            "(never accepted).",
            ["sink", "outcome"],
            registry=registry,
        )
        self.sink_errors = Counter(
            "neuron_exporter_sink_errors_total",
            "Errors of the sink by their code.",
            ["sink", "code"],
            registry=registry,
        )
        self.sink_last_success = Gauge(
            "neuron_exporter_sink_last_success_timestamp_seconds",
            "When the sink last delivered, in Unix seconds; 0 before the first time.",
            ["sink"],
            registry=registry,
        )
        self.sink_queue = Gauge(
            "neuron_exporter_sink_queue_requests",
            "Requests of the sink that wait for another attempt.",
            ["sink"],
            registry=registry,
        )
        self.sink_dropped = Counter(
            "neuron_exporter_sink_dropped_requests_total",
            "Requests of the sink that were given up, and windows that never became requests, by "
            "the reason.",
            ["sink", "reason"],
            registry=registry,
        )
        self.sink_ambiguous = Counter(
            "neuron_exporter_sink_ambiguous_requests_total",
            "Requests of which nobody knows whether they arrived: each may count twice.",
            ["sink"],
            registry=registry,
        )
        self.spool_bytes = Gauge(
            "neuron_exporter_spool_bytes",
            "Bytes of the requests that wait for another attempt, in memory and on disk.",
            registry=registry,
        )
        self.spool_oldest = Gauge(
            "neuron_exporter_spool_oldest_timestamp_seconds",
            "The stamp of the oldest request that waits, in Unix seconds; 0 while none does.",
            registry=registry,
        )
        self.spool_on_disk = Gauge(
            "neuron_exporter_spool_on_disk",
            "1 while requests wait on disk, 0 while a kill would lose them.",
            registry=registry,
        )
        self.config_good = Gauge(
            "neuron_exporter_config_last_reload_successful",
            "0 while the configuration in use is not the newest, since that was refused.",
            registry=registry,
        )
        self.config_good.set(1)
        self.config_timestamp = Gauge(
            "neuron_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration was last taken, in Unix seconds; first at the start.",
            registry=registry,
        )
        self.config_timestamp.set_to_current_time()
        self.config_reloads = Counter(
            "neuron_exporter_config_reloads_total",
            "Reloads of the configuration by outcome: taken or refused.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("taken", "refused"):
            self.config_reloads.labels(outcome)
        self.web_config_good = Gauge(
            "neuron_exporter_web_config_last_reload_successful",
            "0 while the web configuration in use is not the newest, since that cannot be used.",
            registry=registry,
        )
        self.web_config_good.set(1)
        self.published_metrics = Gauge(
            "neuron_exporter_cloudwatch_metrics",
            "Metrics (name and dimensions) that the last window held: what CloudWatch bills.",
            registry=registry,
        )
        self.wanted_metrics = Gauge(
            "neuron_exporter_cloudwatch_wanted_metrics",
            "Metrics that would be published without a budget, at the most in the last day.",
            registry=registry,
        )
        self.budget_dropped = Gauge(
            "neuron_exporter_cloudwatch_budget_dropped_metrics",
            "Metrics that are not published since the budget does not allow them.",
            registry=registry,
        )
        self.dropped_dimension_sets = Gauge(
            "neuron_exporter_cloudwatch_dropped_dimension_sets",
            "Dimension sets that are not sent because this machine lacks one of their fields.",
            registry=registry,
        )

        self._states = {state: self.source_state.labels(state) for state in states}
        self.set_source_state(next(iter(self._states), ""))

    def series_counts(self, counts: Mapping[str, int]) -> Metric:
        """How many series each metric has, those of `counts` alone."""
        (family,) = self.series.describe()
        for name, count in counts.items():
            family.add_sample(family.name, {"metric": name}, float(count))
        return family

    def set_source_state(self, state: str) -> None:
        """Show `state` as 1 and every other state as 0."""
        for each, shown in self._states.items():
            shown.set(each == state)
