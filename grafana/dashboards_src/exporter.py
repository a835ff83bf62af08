"""Exporter: does it read, does it deliver, what does it publish, what does it take."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.frame import choice, dashboard, prometheus_variables
from grafana.source.panels import (
    ANY_IS_BAD,
    ANY_IS_ODD,
    About,
    Panel,
    Step,
    columns,
    lines,
    number,
    query,
    rows,
)
from grafana.source.queries import EXPORTER, pick, rate

_STALE = (Step(None, "green"), Step(15, "red"))
"""Seconds: with periods of 5 s and less, what is older is not shown any more."""


def exporter() -> Dashboard:
    """The dashboard."""
    variables = [
        *prometheus_variables(),
        choice(
            "instance",
            "Exporter",
            'label_values(up{cluster=~"$cluster", job=~"$job"}, instance)',
            "The targets of the jobs, by address.",
        ),
    ]
    return dashboard(
        "neuron-exporter-exporter",
        "Exporter",
        "The exporters themselves: is what they say new, does it arrive, what do they take.",
        variables,
        {
            "": _numbers(),
            "Reading": _reading(),
            "Delivery": _delivery(),
            "Published": _published(),
            "Itself": _itself(),
        },
    )


def _age(metric: str) -> str:
    """Seconds since a time; nothing where it is 0, which means never."""
    return f"time() - ({pick(metric, EXPORTER)} > 0)"


def _numbers() -> list[Panel]:
    return [
        number(
            About("Do not answer", "Exporters that Prometheus cannot scrape.", "none", 4, 4),
            query(f"count({pick('up', EXPORTER)} == 0) or vector(0)"),
            steps=ANY_IS_BAD,
        ),
        number(
            About("Do not read", "Exporters whose source gives no reports.", "none", 4, 4),
            query(f"count({pick('neuron_exporter_up', EXPORTER)} == 0) or vector(0)"),
            steps=ANY_IS_BAD,
        ),
        number(
            About(
                "Oldest report",
                "Age of the newest report, of the exporter that is last.",
                "s",
                4,
                4,
            ),
            query(f"max({_age('neuron_exporter_last_report_timestamp_seconds')})"),
            steps=_STALE,
            none="no report",
        ),
        number(
            About(
                "Do not deliver",
                "Sinks, such as CloudWatch, that cannot deliver now.",
                "none",
                4,
                4,
            ),
            query(f"count({pick('neuron_exporter_sink_up', EXPORTER)} == 0) or vector(0)"),
            steps=ANY_IS_BAD,
        ),
        number(
            About(
                "Over budget",
                "Metrics that are not published since cloudwatch.budget does not allow them.",
                "none",
                4,
                4,
            ),
            query(f"sum({pick('neuron_exporter_cloudwatch_budget_dropped_metrics', EXPORTER)})"),
            steps=ANY_IS_ODD,
        ),
        number(
            About(
                "Refused configurations",
                "Exporters that run with an older configuration than the one in their file.",
                "none",
                4,
                4,
            ),
            query(
                f"count({pick('neuron_exporter_config_last_reload_successful', EXPORTER)} == 0)"
                " or vector(0)"
            ),
            steps=ANY_IS_BAD,
        ),
    ]


def _reading() -> list[Panel]:
    return [
        lines(
            About("Age of the newest report", "By exporter; a saw is healthy.", "s"),
            query(_age("neuron_exporter_last_report_timestamp_seconds"), "{{instance}}"),
            steps=_STALE,
        ),
        lines(
            About("States of sources", "How many exporters' source is in which state.", "none"),
            query(f"sum by (state) ({pick('neuron_exporter_source_state', EXPORTER)})"),
            stacked=True,
        ),
        lines(
            About(
                "Restarts",
                "How often sources were started again since the exporters' start, by the reason.",
                "none",
            ),
            query(f"sum by (reason) ({pick('neuron_exporter_source_restarts_total', EXPORTER)})"),
            stacked=True,
        ),
        lines(
            About("Reports", "Reports a second that were read.", "ops"),
            query(f"sum({rate('neuron_exporter_reports_total', EXPORTER)})", "reports"),
        ),
        lines(
            About(
                "Unusable",
                "What of the stream could not be used, a second, by the reason.",
                "ops",
            ),
            query(f"sum by (reason) ({rate('neuron_exporter_report_errors_total', EXPORTER)})"),
            stacked=True,
        ),
        lines(
            About(
                "Groups in error",
                "Groups of reports that neuron-monitor marked with an error, a second: they are "
                "not shown, and absent is not zero.",
                "ops",
            ),
            query(f"sum by (group) ({rate('neuron_exporter_group_errors_total', EXPORTER)})"),
            stacked=True,
        ),
        lines(
            About(
                "Left out",
                "Values and lines of the log that were left out because there were too many, a "
                "second; and fields of reports that this version does not know, so far.",
                "none",
                24,
                7,
            ),
            query(f"sum({rate('neuron_exporter_series_dropped_total', EXPORTER)})", "values/s"),
            query(
                f"sum({rate('neuron_exporter_log_lines_dropped_total', EXPORTER)})", "log lines/s"
            ),
            query(
                f"sum({pick('neuron_exporter_unknown_fields_total', EXPORTER)})", "unknown fields"
            ),
        ),
    ]


def _delivery() -> list[Panel]:
    return [
        lines(
            About("Requests", "Requests a second, by sink and outcome.", "ops"),
            query(
                f"sum by (sink, outcome) ({rate('neuron_exporter_sink_requests_total', EXPORTER)})"
            ),
            stacked=True,
        ),
        lines(
            About("Errors of sinks", "Errors a second, by sink and code.", "ops"),
            query(f"sum by (sink, code) ({rate('neuron_exporter_sink_errors_total', EXPORTER)})"),
            stacked=True,
        ),
        lines(
            About("Since the last delivery", "The longest of any exporter, by sink.", "s"),
            query(f"max by (sink) ({_age('neuron_exporter_sink_last_success_timestamp_seconds')})"),
        ),
        lines(
            About(
                "Requests that wait",
                "For another attempt, by sink; and those that were given up so far.",
                "none",
            ),
            query(
                f"sum by (sink) ({pick('neuron_exporter_sink_queue_requests', EXPORTER)})",
                "{{sink}} waiting",
            ),
            query(
                "sum by (sink, reason) "
                f"({pick('neuron_exporter_sink_dropped_requests_total', EXPORTER)})",
                "{{sink}} given up: {{reason}}",
            ),
        ),
        lines(
            About("Spool", "Bytes that wait for another attempt, in memory and on disk.", "bytes"),
            query(f"sum({pick('neuron_exporter_spool_bytes', EXPORTER)})", "waiting"),
        ),
        lines(
            About("Oldest in the spool", "Age of the oldest request that waits.", "s"),
            query(f"max({_age('neuron_exporter_spool_oldest_timestamp_seconds')})", "oldest"),
        ),
    ]


def _published() -> list[Panel]:
    counted = "neuron_exporter_cloudwatch"
    return [
        lines(
            About(
                "CloudWatch metrics",
                "Metrics that the last window held, which CloudWatch bills, and those that would "
                "be there without a budget.",
                "none",
            ),
            query(f"sum({pick(f'{counted}_metrics', EXPORTER)})", "published"),
            query(f"sum({pick(f'{counted}_wanted_metrics', EXPORTER)})", "wanted"),
            query(f"sum({pick(f'{counted}_budget_dropped_metrics', EXPORTER)})", "over budget"),
            query(
                f"sum({pick(f'{counted}_dropped_dimension_sets', EXPORTER)})",
                "dimension sets that lack a field",
            ),
        ),
        lines(
            About("Series of Prometheus", "The ten metrics that have the most.", "none"),
            query(
                f"topk(10, sum by (metric) ({pick('neuron_exporter_series', EXPORTER)}))",
                "{{metric}}",
            ),
        ),
    ]


def _itself() -> list[Panel]:
    return [
        lines(
            About(
                "CPU", "Share of one core that each takes, without neuron-monitor.", "percentunit"
            ),
            query(f"{rate('process_cpu_seconds_total', EXPORTER)}", "{{instance}}"),
        ),
        lines(
            About("Memory", "Resident memory of each, without neuron-monitor.", "bytes"),
            query(pick("process_resident_memory_bytes", EXPORTER), "{{instance}}"),
        ),
        lines(
            About("Time for a report, for a scrape", "Averages of all exporters.", "s"),
            *(
                query(f"{_total(f'{name}_sum')} / {_total(f'{name}_count')}", said)
                for name, said in (
                    ("neuron_exporter_decode_seconds", "decode a report"),
                    ("neuron_exporter_collect_seconds", "collect a report"),
                    ("neuron_exporter_scrape_seconds", "write a scrape"),
                )
            ),
        ),
        columns(
            About("Versions", "What runs where.", "none"),
            {"instance": "Exporter", "version": "Version", "schema": "Names", "python": "Python"},
            rows(pick("neuron_exporter_build_info", EXPORTER)),
        ),
    ]


def _total(counter: str) -> str:
    return f"sum({rate(counter, EXPORTER)})"
