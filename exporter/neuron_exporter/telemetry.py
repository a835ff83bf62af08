"""Metrics of the exporter itself."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterable, Mapping
from functools import partial

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
from neuron_exporter.build_info import revision

SCHEMA_VERSION = "3"
"""Incremented when a metric, a label or a label value is renamed or changes its meaning."""

OWN_LABELS = frozenset(
    {
        *("version", "revision", "schema", "python", "sha256"),
        *("code", "group", "metric", "outcome", "provider", "reason", "sink", "state"),
        *("generation", "implementation", "major", "minor", "patchlevel"),
    }
)
"""Labels of the exporter's own metrics, which no other label may replace."""


class OptionalGauge(Gauge):
    """Gauge that is absent while its value is NaN, which it is at first."""

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry) -> None:
        super().__init__(name, documentation, registry=registry)
        self.set(math.nan)

    def collect(self) -> Iterable[Metric]:
        """Return the metric, or nothing."""
        families = list(super().collect())
        return [each for each in families if not math.isnan(each.samples[0].value)]


class Telemetry:
    """All metrics of the exporter itself, one object per process.

    `states` lists all states of the source, the initial one first. Each of `restart_reasons` starts
    at 0, since Prometheus does not see the increase with which a series begins.
    """

    def __init__(self, states: Iterable[str] = (), restart_reasons: Iterable[str] = ()) -> None:
        self.registry = registry = CollectorRegistry()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series of counters
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        build = Info(
            "neuron_exporter_build",
            "Version of the exporter, the revision that it was built from, and the versions of its "
            "metric schema and of Python.",
            registry=registry,
        )
        build.info(
            {
                "version": __version__,
                "revision": revision(),
                "schema": SCHEMA_VERSION,
                "python": platform.python_version(),
            }
        )

        gauge = partial(Gauge, registry=registry)
        counter = partial(Counter, registry=registry)
        summary = partial(Summary, registry=registry)
        optional = partial(OptionalGauge, registry=registry)

        self.up = gauge(
            "neuron_exporter_up",
            "1 while reports arrive and the source finds its hardware, otherwise 0.",
        )
        self.source_state = gauge(
            "neuron_exporter_source_state",
            "1 for the current state of the source, 0 for all others.",
            ["state"],
        )
        self.source_simulated = gauge(
            "neuron_exporter_source_simulated",
            "1 if the reports are simulated or replayed from a file, 0 if they are measured.",
        )
        self.report_timestamp = gauge(
            "neuron_exporter_last_report_timestamp_seconds",
            "Unix time at which the last report was read; 0 before the first.",
        )
        self.report_period = gauge(
            "neuron_exporter_report_period_seconds",
            "Period covered by a report, as measured or configured.",
        )
        self.reports = counter("neuron_exporter_reports_total", "Reports received.")
        self.source_bytes = counter(
            "neuron_exporter_source_bytes_total",
            "Bytes received from the source, including skipped lines.",
        )
        self.report_errors = counter(
            "neuron_exporter_report_errors_total",
            "Invalid input by reason: lines (not_json, not_a_report, too_deep, too_many_values, "
            "too_long), fields (reading) and runtimes above the limit (too_many_runtimes).",
            ["reason"],
        )
        self.unknown_fields = counter(
            "neuron_exporter_unknown_fields_total",
            "Unknown fields, statuses and error types in reports, such as those of a newer SDK. "
            "Each is counted once.",
        )
        self.series = Gauge(
            "neuron_exporter_series",
            "Series per hardware metric, including those without a current value.",
            ["metric"],
            registry=None,  # exposed by `series_counts`, which is called only on a change
        )
        self.scrape_seconds = summary("neuron_exporter_scrape_seconds", "Time to render a scrape.")
        self.series_dropped = counter(
            "neuron_exporter_series_dropped_total", "Values dropped because of the limit on series."
        )
        self.series_evicted = counter(
            "neuron_exporter_series_evicted_total",
            "Series of exited runtimes that ended early because there were too many of them.",
        )
        self.log_lines_dropped = counter(
            "neuron_exporter_log_lines_dropped_total",
            "Log lines dropped: more than 100 a second, or standard error full and not read.",
        )
        self.decode_seconds = summary("neuron_exporter_decode_seconds", "Time to decode a report.")
        self.collect_seconds = summary(
            "neuron_exporter_collect_seconds", "Time to convert a report into series."
        )
        self.group_errors = counter(
            "neuron_exporter_group_errors_total",
            "Groups that neuron-monitor reported with an error.",
            ["group"],
        )
        self.owner_lookup_up = gauge(
            "neuron_exporter_owner_lookup_up",
            "1 if the last lookup of owners by the provider had no error, otherwise 0.",
            ["provider"],
        )
        self.memory_limit = optional(
            "neuron_exporter_memory_limit_bytes",
            "Memory limit of the exporter's control group at its start; absent without a limit.",
        )
        self.memory_used = optional(
            "neuron_exporter_memory_used_bytes",
            "Memory that all processes of the exporter's control group use, neuron-monitor among "
            "them, without inactive file cache; absent without a limit.",
        )
        self.sysfs_up = optional(
            "neuron_exporter_sysfs_up",
            "1 while the driver's files below /sys are read, otherwise 0; absent if they are not "
            "to be read, and with `hardware.sysfs: auto` until they exist.",
        )
        self.sysfs_read_seconds = optional(
            "neuron_exporter_sysfs_read_seconds",
            "CPU time of the last pass over the driver's files below /sys.",
        )
        self.sysfs_errors = counter(
            "neuron_exporter_sysfs_errors_total",
            "Problems with the driver's files below /sys by reason: hanging (no answer in time), "
            "invalid (no valid value), unclear (not understood), unreadable and vanished.",
            ["reason"],
        )
        self.kernel_log_errors = counter(
            "neuron_exporter_kernel_log_errors_total",
            "Problems with the kernel's log by reason: overrun (lines were lost), unclear (a line "
            "about an error names no device) and unreadable.",
            ["reason"],
        )
        self.restarts = counter(
            "neuron_exporter_source_restarts_total", "Restarts of the source by reason.", ["reason"]
        )
        for reason in restart_reasons:
            self.restarts.labels(reason)
        self.stderr_lines = counter(
            "neuron_exporter_source_stderr_lines_total",
            "Lines written by the source to its standard error.",
        )
        self.sink_up = gauge(
            "neuron_exporter_sink_up", "1 while the sink delivers, otherwise 0.", ["sink"]
        )
        self.sink_requests = counter(
            "neuron_exporter_sink_requests_total",
            "Requests of the sink by outcome: delivered, retried (temporary failure) or rejected "
            "(permanent failure).",
            ["sink", "outcome"],
        )
        self.sink_errors = counter(
            "neuron_exporter_sink_errors_total", "Errors of the sink by code.", ["sink", "code"]
        )
        self.sink_last_success = gauge(
            "neuron_exporter_sink_last_success_timestamp_seconds",
            "Unix time of the last successful delivery; 0 before the first.",
            ["sink"],
        )
        self.sink_queue = gauge(
            "neuron_exporter_sink_queue_requests", "Requests waiting for another attempt.", ["sink"]
        )
        self.sink_dropped = counter(
            "neuron_exporter_sink_dropped_requests_total",
            "Requests that were dropped, and windows that never became requests, by reason.",
            ["sink", "reason"],
        )
        self.sink_ambiguous = counter(
            "neuron_exporter_sink_ambiguous_requests_total",
            "Requests with an unknown result. Each may have been counted twice.",
            ["sink"],
        )
        self.spool_bytes = gauge(
            "neuron_exporter_spool_bytes",
            "Size of the spool of the sink: requests in memory, and its database with the log, "
            "which takes up to 512 KiB while nothing waits.",
            ["sink"],
        )
        self.spool_oldest = gauge(
            "neuron_exporter_spool_oldest_timestamp_seconds",
            "Unix time of the oldest waiting request of the sink; 0 if there is none.",
            ["sink"],
        )
        self.spool_on_disk = gauge(
            "neuron_exporter_spool_on_disk",
            "1 while the spool of the sink is on disk, 0 while it is in memory and a kill would "
            "lose it.",
            ["sink"],
        )
        self.spool_others = gauge(
            "neuron_exporter_spool_other_requests",
            "Requests in the sink's spool files for another namespace, endpoint or region, which "
            "are not sent.",
            ["sink"],
        )
        self.host_boot = gauge(
            "neuron_exporter_host_boot_timestamp_seconds", "Unix time at which the machine booted."
        )
        self.host_boot.set(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))
        self.config_reload_successful = gauge(
            "neuron_exporter_config_last_reload_successful",
            "0 after a rejected reload, while an older configuration is in use; otherwise 1.",
        )
        self.config_reload_successful.set(1)
        self.config_timestamp = gauge(
            "neuron_exporter_config_last_reload_success_timestamp_seconds",
            "Unix time of the last successful load of the configuration, at start or reload.",
        )
        self.config_timestamp.set_to_current_time()
        self.config = Info(
            "neuron_exporter_config",
            "SHA-256 of the settings in use, from file, variables and flags, that differ from the "
            "defaults.",
            registry=registry,
        )
        self.set_config("")
        self.config_reloads = counter(
            "neuron_exporter_config_reloads_total",
            "Reloads of the configuration by outcome: success or failure.",
            ["outcome"],
        )
        for outcome in ("success", "failure"):
            self.config_reloads.labels(outcome)
        self.web_config_reload_successful = gauge(
            "neuron_exporter_web_config_last_reload_successful",
            "0 after a rejected reload, while an older web configuration is in use; otherwise 1.",
        )
        self.web_config_reload_successful.set(1)
        self.web_certificate_expiry = optional(
            "neuron_exporter_web_certificate_expiry_timestamp_seconds",
            "Unix time at which the first certificate of the web server's chain expires; absent "
            "without TLS.",
        )
        self.published_metrics = gauge(
            "neuron_exporter_cloudwatch_metrics",
            "Metrics (name and dimensions) in the last window, which is what CloudWatch bills.",
        )
        self.wanted_metrics = gauge(
            "neuron_exporter_cloudwatch_wanted_metrics",
            "Maximum number of metrics in the last day that would be published without a budget.",
        )
        self.budget_dropped = gauge(
            "neuron_exporter_cloudwatch_budget_dropped_metrics",
            "Metrics that are not published because of the budget.",
        )
        self.dropped_dimension_sets = gauge(
            "neuron_exporter_cloudwatch_dropped_dimension_sets",
            "Dimension sets that are not published because a field of the machine is unknown.",
        )
        # Exposed by `show_otlp`: a series without the sink would look like one that sends nothing.
        self.otlp_points = Gauge(
            "neuron_exporter_otlp_points",
            "Data points in the last interval; absent without OTLP.",
            registry=None,
        )
        self.otlp_bytes = Gauge(
            "neuron_exporter_otlp_bytes",
            "Bytes of the requests of the last interval before compression; absent without OTLP.",
            registry=None,
        )
        self.otlp_rejected_points = Counter(
            "neuron_exporter_otlp_rejected_points_total",
            "Data points that the endpoint rejected from requests that it accepted in part; absent "
            "without OTLP.",
            registry=None,
        )
        self.otlp_budget_dropped = Gauge(
            "neuron_exporter_otlp_budget_dropped_metrics",
            "Metrics that are not sent because of the budget; absent without OTLP.",
            registry=None,
        )

        self._states = {state: self.source_state.labels(state) for state in states}
        self.set_source_state(next(iter(self._states), ""))

    def show_otlp(self) -> None:
        """Expose the metrics of the OTLP sink, which is on."""
        for each in (
            self.otlp_points,
            self.otlp_bytes,
            self.otlp_rejected_points,
            self.otlp_budget_dropped,
        ):
            self.registry.register(each)

    def set_config(self, digest: str) -> None:
        """Show the SHA-256 of the configuration in use."""
        self.config.info({"sha256": digest})

    def series_counts(self, counts: Mapping[str, int]) -> Metric:
        """Return a metric family with the number of series of each metric."""
        (family,) = self.series.describe()
        for name, count in counts.items():
            family.add_sample(family.name, {"metric": name}, float(count))
        return family

    def set_source_state(self, state: str) -> None:
        """Set `state` to 1 and every other state to 0."""
        for each, gauge in self._states.items():
            gauge.set(each == state)
