"""Schema of the configuration: every key with its type, limits, default and description.

Names of metrics and dimensions are checked in `pipeline/`.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from neuron_exporter.config.otlp import OtlpConfig
from neuron_exporter.config.section import ConfigSection, declare
from neuron_exporter.config.spool import SpoolConfig
from neuron_exporter.config.values import (
    NAMES_PROGRAM,
    WHOLE_SECONDS,
    Addresses,
    Dimension,
    Duration,
    HostName,
    Name,
    Patterns,
    ProcessLabels,
    Region,
    Size,
    Switch,
    SwitchOrPath,
    Variables,
    between,
    distinct,
    min_bytes,
)

IdentityLabel = Literal[
    "instance_name",
    "instance_id",
    "instance_type",
    "availability_zone",
    "region",
    "subnet_id",
    "ultraserver_id",
]
"""Labels that AWS's script sets on every series."""


class ReplayConfig(ConfigSection):
    """Replay of a file of reports."""

    speed: Annotated[float, Field(ge=0, le=1000)] = declare(
        1, "Replay speed relative to the recording, up to 1000; 0 is as fast as possible."
    )
    at_end: Literal["exit", "repeat"] = declare(
        "exit", "Whether to exit at the end of the file or to start again."
    )


class SourceConfig(ConfigSection):
    """Source of the reports."""

    kind: Literal["neuron-monitor", "stdin", "file", "simulator"] = declare(
        "neuron-monitor", "Where reports come from."
    )
    command: Annotated[list[str], Field(min_length=1), NAMES_PROGRAM] = declare(
        ["neuron-monitor"], "Program and arguments for `kind: neuron-monitor`."
    )
    environment: Variables = declare(
        {},
        "Variables for neuron-monitor, beside those that it always gets; null passes the "
        "exporter's value.",
    )
    path: str | None = declare(
        None, "File with one report per line, plain or gzip; required for `kind: file`."
    )
    period: Annotated[Duration, between(1, 3600), WHOLE_SECONDS] = declare(
        "5s", "Time between two reports of neuron-monitor, 1s to 1h in whole seconds."
    )
    max_line: Annotated[Size, min_bytes(1024)] = declare(
        "16MiB", "Longest line that is read, at least 1KiB; longer lines are skipped and counted."
    )
    replay: ReplayConfig = ReplayConfig()

    def variables(self) -> dict[str, str | None]:
        """Return `environment` with the secret values in it."""
        return {
            name: value if value is None else value.get_secret_value()
            for name, value in self.environment.items()
        }


class CountersConfig(ConfigSection):
    """Interpretation of ambiguous readings."""

    ecc: Literal["reset_aware", "tally", "level"] = declare(
        "reset_aware",
        "ECC readings are totals that can reset (`reset_aware`), counts per period (`tally`), or "
        "totals of which only rises count (`level`).",
    )
    generic: Literal["ignore", "level"] = declare(
        "ignore", "`level` counts rises of the `generic` errors that SDKs of 2022 report."
    )


class PrometheusConfig(ConfigSection):
    """Prometheus endpoint, and the address of the HTTP server."""

    enabled: bool = declare(True, "Serve `/metrics`.")
    listen: Addresses = declare(
        ":9415",
        "Address or list of addresses of the HTTP server; an empty host is every IPv6 and IPv4 "
        "address.",
    )
    web_config_file: str | None = declare(
        None,
        "File with TLS and passwords, in the format of Prometheus' own exporters.",
        reloadable=True,
    )
    allowed_hosts: list[HostName] = declare(
        [],
        "Host names by which the page's data is served without authentication, beside the known "
        "ones; `*.NAME` is every name below NAME.",
    )
    layout: Literal["core", "aws"] = declare(
        "core", "One series per NeuronCore, or the series of AWS's script."
    )
    preset: Literal["none", "minimal", "standard", "full"] = declare(
        "full", "Metrics to publish; `none` publishes only those of `include`.", reloadable=True
    )
    include: Patterns = declare([], "Metrics to publish beyond the preset.", reloadable=True)
    exclude: Patterns = declare(
        [], "Metrics not to publish; takes precedence over `include`.", reloadable=True
    )
    labels: dict[str, str] = declare({}, "Labels with fixed values, added to every series.")
    identity_labels: Annotated[list[IdentityLabel], distinct(str, "a label")] = declare(
        [*get_args(IdentityLabel)],
        "Labels of the machine on every series of the hardware; `instance_info` always has all.",
    )
    runtime_labels: Annotated[
        list[Literal["runtime_tag", "pid"]], Field(min_length=1), distinct(str, "a label")
    ] = declare(
        ["runtime_tag"], "Labels of runtimes; runtimes with equal labels are one series (summed)."
    )


class BudgetConfig(ConfigSection):
    """Limit of CloudWatch's cost for one machine, at the first price tier."""

    max_metrics: Annotated[int, Field(ge=1)] | None = declare(
        100, "Highest number of CloudWatch metrics; null is no limit.", reloadable=True
    )
    max_monthly_usd: Annotated[float, Field(gt=0)] | None = declare(
        None, "Highest monthly price of the metrics in USD; null is no limit.", reloadable=True
    )
    keep: Patterns = declare([], "Metrics that the budget never drops.", reloadable=True)


class CloudWatchConfig(ConfigSection):
    """Publishing to CloudWatch."""

    enabled: bool = declare(False, "Publish to CloudWatch.")
    transport: Literal["api", "emf"] = declare(
        "api", "Send with PutMetricData, or write embedded metric format to standard output."
    )
    namespace: str = declare("NeuronExporter", "CloudWatch namespace of the metrics.")
    region: Region | None = declare(None, "AWS region; null is the region of the machine.")
    endpoint_url: str | None = declare(
        None, "URL of the CloudWatch endpoint; null is the endpoint of the region."
    )
    allow_simulated: bool = declare(
        False, "Publish simulated or replayed values to AWS, which is refused otherwise."
    )
    scope: Literal["machine", "task"] = declare(
        "machine",
        "Publish the whole machine, or only what the exporter's own ECS task or pod uses.",
    )
    preset: Literal["none", "minimal", "standard", "full"] = declare(
        "standard", "Metrics to publish; `none` publishes only those of `include`.", reloadable=True
    )
    include: Patterns = declare([], "Metrics to publish beyond the preset.", reloadable=True)
    exclude: Patterns = declare(
        [], "Metrics not to publish; takes precedence over `include`.", reloadable=True
    )
    flush_interval: Annotated[Duration, between(1, 3600), WHOLE_SECONDS] = declare(
        "60s", "Length of a window, 1s to 1h in whole seconds; each window is one datum per metric."
    )
    dimension_sets: Annotated[
        list[list[Dimension]], Field(min_length=1), distinct(frozenset, "a set of dimensions")
    ] = declare(
        [["InstanceId", "InstanceType"]],
        "Sets of dimensions; every metric is published once per set.",
        reloadable=True,
    )
    extra_dimensions: dict[str, str] = declare(
        {}, "Dimensions with fixed values, added to every set.", reloadable=True
    )
    budget: BudgetConfig = BudgetConfig()
    spool: SpoolConfig = SpoolConfig()


class IdentityConfig(ConfigSection):
    """Identity of the machine and owners of its cores. Values take precedence over lookups."""

    instance_id: Name | None = declare(None, "Instance ID; null is looked up.")
    instance_type: Name | None = declare(None, "Instance type; null is looked up.")
    region: Region | None = declare(None, "Region of the machine; null is looked up.")
    cluster: Name | None = declare(
        None, "Name of the ECS or Kubernetes cluster; null is looked up."
    )
    auto_scaling_group: Name | None = declare(None, "Auto Scaling group; null is looked up.")
    imds: bool = declare(True, "Query the EC2 instance metadata service.")
    ecs: bool = declare(True, "Query ECS task metadata and the ECS agent.")
    ecs_services: bool = declare(
        False, "Look up the service of other tasks with `ecs:DescribeTasks`; needs `ecs`."
    )
    kubernetes: Switch = declare(
        "auto", "Look up the pods of cores; `auto` does so in a pod or beside a kubelet."
    )
    pod_labels: Patterns = declare(
        [], "Names or globs of pod labels to add to the series of the pod's cores."
    )
    process_labels: ProcessLabels = declare(
        {},
        "Labels with the variables of a runtime's process that they show, such as "
        "`job_id: SLURM_JOB_ID`; at most 8.",
    )


class HardwareConfig(ConfigSection):
    """Readings of the hardware beside neuron-monitor's reports."""

    sysfs: SwitchOrPath = declare(
        "auto",
        "Read the driver's files below `/sys/devices/virtual/neuron_device`, or below another "
        "absolute path; `auto` does so where they exist.",
        reloadable=True,
    )
    kernel_log: bool = declare(
        False,
        "Count the hardware errors in the kernel's log (`/dev/kmsg`), which needs the capability "
        "`CAP_SYSLOG`.",
    )


class WebPageConfig(ConfigSection):
    """Web page of the exporter."""

    page: bool = declare(True, "Serve the page, the snapshot API and `/debug`.")


class LogConfig(ConfigSection):
    """Log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = declare(
        "info", "Lowest level that is logged.", reloadable=True
    )
    format: Literal["auto", "console", "json", "logfmt"] = declare(
        "auto", "Log format; `auto` is `console` on a terminal and `json` otherwise."
    )


class Config(ConfigSection):
    """Configuration of neuron-exporter. Every key has a default."""

    source: SourceConfig = SourceConfig()
    counters: CountersConfig = CountersConfig()
    prometheus: PrometheusConfig = PrometheusConfig()
    cloudwatch: CloudWatchConfig = CloudWatchConfig()
    otlp: OtlpConfig = OtlpConfig()
    identity: IdentityConfig = IdentityConfig()
    hardware: HardwareConfig = HardwareConfig()
    web: WebPageConfig = WebPageConfig()
    log: LogConfig = LogConfig()
