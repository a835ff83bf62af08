"""Exporter: the exporters' own state, delivery, published metrics and resource usage."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards_src import colors, common, panels, tables, variables
from grafana.dashboards_src.exporter_delivery import delivery
from grafana.dashboards_src.exporters import exporters_worst_first
from grafana.dashboards_src.layout import LINKS, dashboard
from grafana.dashboards_src.panels import Panel, Target, query
from grafana.dashboards_src.queries import (
    EXPORTER,
    TARGET,
    age,
    highest,
    increase,
    named,
    rate,
    select,
)
from grafana.dashboards_src.tables import table_query

_STALE = (colors.UNKNOWN, colors.Step(0, "green"), colors.Step(15, "red"))
"""With periods of up to 5 s, hardware series end when the last report is older than 15 s."""

_OTLP_BYTES = select("neuron_exporter_otlp_bytes", EXPORTER)
_LAST_REPORT = select("neuron_exporter_last_report_timestamp_seconds", EXPORTER)


def exporter() -> Dashboard:
    """Return the dashboard."""
    choices = [
        *variables.prometheus(),
        variables.from_label(
            "instance",
            "Exporter",
            'label_values(up{cluster=~"$cluster", job=~"$job"}, instance)',
            "Targets of the jobs, by address.",
        ),
    ]
    return dashboard(
        "neuron-exporter-exporter",
        "Exporter",
        "The exporters themselves: freshness of reports, delivery, published metrics, resources.",
        choices,
        {
            "": [*_overview(), exporters_worst_first()],
            "Reading": _reading(),
            "Delivery": delivery(),
            "Published": _published(),
            "Resources": _resources(),
            "Versions and configurations": _drift(),
        },
    )


def _select(metric: str) -> str:
    return select(metric, EXPORTER)


def _rate(metric: str) -> str:
    return rate(metric, EXPORTER)


def _total(metric: str) -> str:
    return increase(metric, EXPORTER)


def _overview() -> list[Panel]:
    return [
        common.exporters_down(EXPORTER, width=6),
        common.sources_down(EXPORTER, width=6),
        panels.stat(
            "Restarts of sources",
            "Times that neuron-monitor ended and was started again in the time shown. One that "
            "ends again and again reports in between and is not down.",
            query(f"sum({_total('neuron_exporter_source_restarts_total')})", instant=True),
            steps=colors.ORANGE_FROM_1,
            decimals=0,
            no_value="none",
            width=6,
        ),
        panels.stat(
            "Oldest report",
            "Age of the last report, for the exporter with the oldest one.",
            query(f"max({age(_LAST_REPORT)})"),
            unit="s",
            steps=_STALE,
            no_value="no report",
            width=6,
        ),
        common.count_zero(
            "Sinks down",
            "Sinks, such as CloudWatch or OTLP, that cannot deliver.",
            "neuron_exporter_sink_up",
            EXPORTER,
            no_value="no sinks",
            width=6,
        ),
        panels.stat(
            "Over budget",
            "Metrics that are not published because they exceed the budget of CloudWatch or OTLP.",
            query(
                f"sum({_select('neuron_exporter_cloudwatch_budget_dropped_metrics')}) + "
                f"(sum({_select('neuron_exporter_otlp_budget_dropped_metrics')}) or vector(0))"
            ),
            steps=colors.ORANGE_FROM_1,
            width=6,
        ),
        panels.stat(
            "Dropped requests",
            "Requests that a sink gave up in the time shown; their metrics are lost.",
            query(f"sum({_total('neuron_exporter_sink_dropped_requests_total')})", instant=True),
            steps=colors.RED_FROM_1,
            decimals=0,
            no_value="none",
            width=6,
        ),
        common.count_zero(
            "Rejected configurations",
            "Exporters that run with an older configuration than the one in their file.",
            "neuron_exporter_config_last_reload_successful",
            EXPORTER,
            width=6,
        ),
    ]


def _reading() -> list[Panel]:
    return [
        panels.graph(
            "Age of the last report",
            "By exporter. A regular sawtooth is normal.",
            query(age(_LAST_REPORT), "{{instance}}"),
            unit="s",
            steps=_STALE,
        ),
        panels.graph(
            "Source states",
            "Number of exporters by state of their source.",
            query(f"sum by (state) ({_select('neuron_exporter_source_state')})", "{{state}}"),
            stacked=True,
            names=colors.STATES,
        ),
        panels.graph(
            "Restarts",
            "Restarts of sources since the exporters started, by reason.",
            query(
                f"sum by (reason) ({_select('neuron_exporter_source_restarts_total')})",
                "{{reason}}",
            ),
            stacked=True,
            names=colors.STATES,
        ),
        panels.graph(
            "Reports",
            "Reports per second.",
            query(f"sum({_rate('neuron_exporter_reports_total')})", "reports"),
            unit="ops",
        ),
        panels.rates(
            "Report errors",
            "Reports and fields per second that could not be used, by reason.",
            query(
                f"sum by (reason) ({_rate('neuron_exporter_report_errors_total')})", "{{reason}}"
            ),
            hue="orange",
        ),
        panels.rates(
            "Groups with errors",
            "Groups per second that neuron-monitor marked with an error. They are not exported, so "
            "their metrics are absent rather than 0.",
            query(f"sum by (group) ({_rate('neuron_exporter_group_errors_total')})", "{{group}}"),
            hue="orange",
        ),
        panels.graph(
            "Dropped and unknown",
            "Values and log lines per second that were dropped because there were too many, and "
            "the total of report fields that this version does not know.",
            query(f"sum({_rate('neuron_exporter_series_dropped_total')})", "values/s"),
            query(f"sum({_rate('neuron_exporter_log_lines_dropped_total')})", "log lines/s"),
            query(f"sum({_select('neuron_exporter_unknown_fields_total')})", "unknown fields"),
            width=24,
            height=7,
        ),
    ]


def _published() -> list[Panel]:
    def cloudwatch(name: str, legend: str) -> Target:
        return query(f"sum({_select(f'neuron_exporter_cloudwatch_{name}')})", legend)

    return [
        panels.graph(
            "CloudWatch metrics",
            "Metrics of the last window, which CloudWatch bills, and the metrics that would be "
            "published without a budget.",
            cloudwatch("metrics", "published"),
            cloudwatch("wanted_metrics", "without budget"),
            cloudwatch("budget_dropped_metrics", "over budget"),
            cloudwatch("dropped_dimension_sets", "incomplete dimension sets"),
        ),
        tables.table(
            "Prometheus series",
            "Series of each metric now; every series takes memory in Prometheus.",
            {"metric": "Metric", "Value": "Series"},
            table_query(f"sum by (metric) ({_select('neuron_exporter_series')}) > 0"),
            sort={"Series": True},
        ),
        panels.graph(
            "OTLP points",
            "Data points of the last interval, and points per second that endpoints rejected.",
            query(f"sum({_select('neuron_exporter_otlp_points')})", "sent"),
            query(f"sum({_rate('neuron_exporter_otlp_rejected_points_total')})", "rejected/s"),
            no_value="no OTLP",
        ),
        panels.graph(
            "OTLP bytes",
            "Bytes of the last interval before compression, by machine; the ten highest now.",
            query(named(highest(_OTLP_BYTES, TARGET)), "{{machine}}"),
            unit="bytes",
            no_value="no OTLP",
        ),
    ]


def _resources() -> list[Panel]:
    def average(name: str, legend: str) -> Target:
        total, count = (_rate(f"neuron_exporter_{name}_seconds_{end}") for end in ("sum", "count"))
        return query(f"sum({total}) / sum({count})", legend)

    return [
        panels.graph(
            "CPU",
            "CPUs that each exporter uses, without neuron-monitor; 0.01 is 1 % of one CPU.",
            query(_rate("process_cpu_seconds_total"), "{{instance}}"),
            width=8,
        ),
        panels.graph(
            "Memory",
            "Resident memory of each exporter, without neuron-monitor.",
            query(_select("process_resident_memory_bytes"), "{{instance}}"),
            unit="bytes",
            width=8,
        ),
        panels.graph(
            "Time per report and per scrape",
            "Averages of all exporters.",
            average("decode", "decode a report"),
            average("collect", "collect a report"),
            average("scrape", "write a scrape"),
            unit="s",
            width=8,
        ),
    ]


def _drift() -> list[Panel]:
    build, machine = _select("neuron_exporter_build_info"), _select("instance_info")
    configuration = (
        f"label_replace({_select('neuron_exporter_config_info')}, "
        '"configuration", "$1", "sha256", "(.{8}).*")'
    )
    described = f"{build} * on ({TARGET}) group_left (configuration) {configuration}"
    return [
        panels.graph(
            "Exporters by version",
            "Number of exporters. More than one version is normal during a rollout only.",
            query(f"count by (version) ({build})", "{{version}}"),
            stacked=True,
        ),
        panels.graph(
            "Configurations by job",
            "Number of different settings in use. More than expected is a rollout that did not "
            "reach every exporter. The table below has those of each.",
            query(
                "count by (job) (count by (job, sha256) "
                f"({_select('neuron_exporter_config_info')}))",
                "{{job}}",
            ),
        ),
        tables.table(
            "Versions",
            "Version, configuration and machine of each exporter. Exporters with the same settings "
            "have the same first digits of their SHA-256. Click a machine to open it.",
            {
                "instance": "Exporter",
                "instance_id": "Machine",
                "version": "Version",
                "configuration": "Configuration",
                "schema": "Schema",
                "python": "Python",
            },
            table_query(
                f"{described} * on ({TARGET}) group_left (instance_id) {machine} "
                f"or {described} unless on ({TARGET}) {machine}"
            ),
            links={"Machine": LINKS["Machine"]},
            sort={"Exporter": False},
            width=24,
            height=10,
        ),
    ]
